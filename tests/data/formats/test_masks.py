"""Folders of pictures and masks, by every common name, with whatever values."""

import numpy as np
import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import FORMATS
from lamina.data.tree import Tree


def mask(root, name, pixels, *, mode=None):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    array = np.array(pixels)
    Image.fromarray(array.astype(np.uint16 if array.max() > 255 else np.uint8), mode).save(root / name)


def picture(root, name, size=(2, 1)):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(root / name)


def both(root, pixels, *, pictures="images", masks="masks", ending="", name="1"):
    picture(root, f"{pictures}/{name}.jpg", (len(pixels[0]), len(pixels)))
    mask(root, f"{masks}/{name}{ending}.png", pixels)


@pytest.mark.parametrize(
    ("pictures", "masks", "ending"),
    [
        ("images", "masks", ""),
        ("JPEGImages", "labels", "_mask"),
        ("imgs", "annotations", "_gt"),
        ("images/train", "masks/train", ""),
        ("train/images", "train/masks", ""),
        ("train", "train_masks", "_mask"),
        ("photos", "gt", "_L"),
        ("all", "all", "_mask"),
        ("train/a", "train/a", "-mask"),
    ],
)
def test_masks_are_told_from_pictures_by_folders_and_endings(tmp_path, packed, pictures, masks, ending):
    both(tmp_path / "set", [[0, 1]], pictures=pictures, masks=masks, ending=ending)
    both(tmp_path / "set", [[2, 1]], pictures=pictures, masks=masks, ending=ending, name="2")
    splits = data.open(packed(tmp_path / "set"))
    assert splits.format == "masks"
    assert splits.classes == ("0", "1", "2")
    assert [splits.train[index][1].class_map.tolist() for index in range(2)] == [[[0, 1]], [[2, 1]]]
    assert [path.suffix for path in splits.train.paths] == [".jpg", ".jpg"]


def test_split_folders_are_splits(tmp_path):
    for split in ("train", "val", "test"):
        both(tmp_path, [[0, 1]], pictures=f"{split}/images", masks=f"{split}/masks")
    assert list(data.open(tmp_path).parts()) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("pixels", "classes", "maps", "said"),
    [
        ([[0, 255]], ("background", "foreground"), [[0, 1]], "[0, 255]"),
        ([[0, 1, 255]], ("0", "1"), [[0, 1, 255]], "0, 1, 255"),
        ([[0, 128, 255]], ("0", "128", "255"), [[0, 1, 2]], "grey values 0, 128, 255"),
        ([[1, 2, 3]], ("0", "1", "2", "3"), [[1, 2, 3]], "1, 2, 3"),
        ([[0, 1000, 65535]], ("0", "1000", "65535"), [[0, 1, 2]], "1000"),
        ([[[0, 0, 0], [255, 0, 0]]], ("#000000", "#ff0000"), [[0, 1]], "2 colours"),
        ([[[3, 3, 3], [0, 0, 0]]], ("0", "1", "2", "3"), [[3, 0]], "numbers (0, 1, 2, 3)"),
    ],
)
def test_what_the_values_mean_is_told_by_a_look(tmp_path, pixels, classes, maps, said):
    both(tmp_path, pixels)
    both(tmp_path, [pixels[0][::-1]], name="2")
    if np.array(pixels).tolist() == [[[3, 3, 3], [0, 0, 0]]]:
        both(tmp_path, [[[1, 1, 1], [2, 2, 2]]], name="3")
    splits = data.open(tmp_path)
    assert splits.classes == classes
    assert splits.train[0][1].class_map.tolist() == maps
    assert said in splits.recognised


def test_classes_that_differ_in_case_alone_are_refused(tmp_path):
    both(tmp_path, [[0, 1]])
    (tmp_path / "classes.txt").write_text("road\nRoad\n")
    with pytest.raises(DataError, match="has the classes road and Road"):
        data.open(tmp_path)


def test_a_palette_holds_classes_and_not_colours(tmp_path):
    picture(tmp_path, "images/1.jpg", (3, 1))
    image = Image.fromarray(np.array([[0, 2, 255]], dtype=np.uint8), "L")
    image.putpalette([17, 80, 3] * 256)
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks" / "1.png")
    assert data.open(tmp_path).train[0][1].class_map.tolist() == [[0, 2, 255]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "void 0 0 0\nroad 128 64 128\ncar 0 0 142\n"),
        ("class_dict.csv", "name,r,g,b\nvoid,0,0,0\nroad,128,64,128\ncar,0,0,142\n"),
        ("label_colors.txt", "0 0 0\t\tvoid\n128 64 128\troad\n0 0 142\tcar\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nvoid:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\n"),
    ],
)
def test_colours_are_named_by_a_text(tmp_path, name, text):
    both(tmp_path, [[[0, 0, 142], [0, 0, 0], [128, 64, 128]]])
    both(tmp_path, [[[0, 0, 0], [0, 0, 0], [0, 0, 0]]], name="2")
    (tmp_path / name).write_text(text)
    splits = data.open(tmp_path)
    assert splits.classes == ("road", "car")
    assert splits.train[0][1].class_map.tolist() == [[1, 255, 0]]
    assert splits.train[1][1].class_map.tolist() == [[255, 255, 255]]


def test_numbers_are_named_by_a_text_and_more_than_it_names_is_an_error(tmp_path):
    both(tmp_path, [[0, 2]])
    (tmp_path / "classes.txt").write_text("sky\nroad\nunlabelled\n")
    splits = data.open(tmp_path)
    assert splits.classes == ("sky", "road")
    assert splits.train[0][1].class_map.tolist() == [[0, 255]]
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(DataError, match=r"values up to 2\. 2 classes are named"):
        data.open(tmp_path)


def test_values_and_sizes_that_do_not_fit_are_errors_at_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(FORMATS["masks"], "_LOOKED_AT", 1)
    both(tmp_path, [[0, 1]], name="1")
    both(tmp_path, [[0, 7]], name="2")
    both(tmp_path, [[0, 1]], name="3")
    picture(tmp_path, "images/3.jpg", (4, 4))
    (tmp_path / "masks" / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    picture(tmp_path, "images/4.jpg")
    train = data.open(tmp_path).train
    for index, words in ((1, "holds the value 7"), (2, "2 x 1 pixels, and its picture 4 x 4"), (3, "cannot be read")):
        with pytest.raises(DataError, match=words):
            train[index]


def test_jpeg_masks_of_black_and_white_are_cut_in_the_middle(tmp_path):
    picture(tmp_path, "images/1.png", (64, 64))
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[20:50, 13:37] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(pixels).save(tmp_path / "masks" / "1.jpg", quality=60)
    splits = data.open(tmp_path)
    assert splits.classes == ("background", "foreground")
    assert (splits.train[0][1].class_map.numpy() == (pixels > 127)).all()


def test_pictures_without_masks_are_told_and_two_masks_for_one_are_an_error(tmp_path):
    both(tmp_path, [[0, 1]])
    picture(tmp_path, "images/2.jpg")
    with pytest.warns(UserWarning, match=r"1 of 2 .*images/2\.jpg has no mask"):
        assert len(data.open(tmp_path).train) == 1
    mask(tmp_path, "masks/1.bmp", [[0, 1]])
    with pytest.raises(DataError, match="would belong to one picture"):
        data.open(tmp_path)


def test_two_classes_of_pictures_are_no_masks(tmp_path):
    for name in ("cats/1.jpg", "dogs/1.jpg", "train/x/1.jpg"):
        picture(tmp_path, name)
    (tmp_path / "train" / "x" / "1.jpg").unlink()
    assert FORMATS["masks"].matches(Tree(tmp_path)) == ""
