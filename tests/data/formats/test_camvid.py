"""CamVid as SegNet cut it, with numbers and with colours in its maps."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import open_tree
from lamina.data.tree import Tree


def plant(root, maps, *, split="train", size=(2, 1)):
    for name, pixels in maps.items():
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / split / f"{name}.png")
        Image.fromarray(np.array(pixels, dtype=np.uint8)).save(root / f"{split}annot" / f"{name}.png")


def test_a_map_holds_the_eleven_classes_and_255(tmp_path, packed):
    plant(tmp_path / "streets", {"a": [[0, 10]], "b": [[11, 255]]})
    plant(tmp_path / "streets", {"c": [[3, 4]]}, split="val")
    splits = data.open(packed(tmp_path / "streets"))
    assert splits.format == "camvid"
    assert splits.classes[0] == "sky"
    assert len(splits.classes) == 11
    assert [splits.train[index][1].class_map.tolist() for index in range(2)] == [[[0, 10]], [[255, 255]]]
    assert splits.validation[0][1].class_map.tolist() == [[3, 4]]


def test_the_colours_of_the_original_are_gathered_into_the_eleven(tmp_path):
    plant(tmp_path, {"a": [[[128, 0, 192], [64, 128, 64]]], "b": [[[0, 0, 0], [192, 0, 128]]]})
    train = data.open(tmp_path).train
    assert train[0][1].class_map.tolist() == [[3, 9]]
    assert train[1][1].class_map.tolist() == [[255, 1]]


def test_names_can_stand_in_a_file_and_lists_choose_the_pictures(tmp_path):
    plant(tmp_path, {"a": [[0, 1]], "b": [[2, 1]], "c": [[0, 0]]})
    (tmp_path / "classes.txt").write_text("void\nroad\ncar\n")
    (tmp_path / "train.txt").write_text(
        "/SegNet/CamVid/train/c.png /SegNet/CamVid/trainannot/c.png\n/SegNet/CamVid/train/b.png x\n"
    )
    train = data.open(tmp_path).train
    assert train.classes == ("road", "car")
    assert [path.stem for path in train.paths] == ["c", "b"]
    assert train[1][1].class_map.tolist() == [[1, 0]]
    (tmp_path / "train.txt").write_text("a.png\nz.png\n")
    with pytest.warns(UserWarning, match=r"train\.txt, line 2 names z\.png, which is not there"):
        assert len(data.open(tmp_path).train) == 1


def test_a_map_of_another_size_or_with_other_values_is_an_error_at_the_sample(tmp_path):
    plant(tmp_path, {"a": [[0, 1]], "b": [[0, 12]]})
    Image.new("L", (3, 1)).save(tmp_path / "trainannot" / "a.png")
    train = data.open(tmp_path).train
    with pytest.raises(DataError, match=r"trainannot/a\.png has 3 x 1 pixels, and its picture 2 x 1"):
        train[0]
    with pytest.raises(DataError, match=r"trainannot/b\.png holds the value 12"):
        train[1]


def test_maps_that_fit_no_picture_are_an_error(tmp_path):
    plant(tmp_path, {"a": [[0, 1]]})
    (tmp_path / "train" / "a.png").rename(tmp_path / "train" / "z.png")
    with pytest.raises(DataError, match=r"No picture of .*train has a map"):
        data.open(tmp_path)


def test_the_real_pictures_have_the_shares_of_classes_that_are_known_of_them(real_data):
    splits = data.open(real_data / "camvid/camvid_320x240.zip")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [367, 101, 233]
    counts = torch.zeros(256, dtype=torch.int64)
    for index in range(len(splits.train)):
        counts += splits.train.annotation(index, (240, 320)).class_map.flatten().bincount(minlength=256)
    shares = (counts[[*range(11), 255]] / counts.sum()).tolist()
    assert counts[11:255].sum() == 0
    told = [0.1685, 0.2326, 0.0098, 0.3166, 0.0449, 0.0973, 0.0117, 0.0113, 0.0587, 0.0064, 0.0029, 0.0394]
    assert [round(share, 4) for share in shares] == told


def test_the_sample_of_the_true_layout(real_data):
    splits = open_tree(Tree(real_data / "formats/structure_samples.zip").below("camvid"))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1, 1, 2]
    assert set(splits.train[0][1].class_map.unique().tolist()) == {3, 10}
    assert set(splits.validation[0][1].class_map.unique().tolist()) == {9}
