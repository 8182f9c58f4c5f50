"""YOLO: data.yaml as it comes from many tools and other people's machines, Darknet's files, and every kind of line."""

import pytest
import torch
from PIL import Image

from lamina import data
from lamina.core.errors import DataError


def picture(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


YAML = "train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


@pytest.fixture
def coco8(tmp_path):
    root = tmp_path / "coco8"
    for part, name in (("train", "a"), ("train", "b"), ("val", "a")):
        picture(root / f"images/{part}/{name}.jpg")
    write(root / "labels/train/a.txt", "1 0.5 0.5 0.5 0.4\n\n0 0.1 0.1 0.2 0.2\n")
    write(root / "labels/val/a.txt", "0 0.5 0.5 1 1")
    write(root / "data.yaml", YAML)
    return root


def counts(splits):
    return {name: len(part) for name, part in splits.parts().items()}


def test_reads_parts_and_boxes_from_a_folder_a_zip_and_a_tar(coco8, packed):
    splits = data.open(packed(coco8))
    assert splits.format == "yolo"
    assert counts(splits) == {"train": 2, "validation": 1}
    assert splits.classes == ("cat", "dog")
    annotation = splits.train[0][1]
    assert annotation.labels.tolist() == [1, 0]
    assert torch.allclose(annotation.boxes_xyxy, torch.tensor([[5.0, 3, 15, 7], [0, 0, 4, 2]]), atol=1e-5)
    assert annotation.masks is None
    assert len(splits.train[1][1]) == 0  # without a text it shows nothing
    assert splits.validation[0][1].boxes_xyxy.tolist() == [[0, 0, 20, 10]]
    assert splits.train.origin(0).endswith("a.txt")


@pytest.mark.parametrize(
    "text",
    [
        "path: ../datasets/coco8\n" + YAML,
        "path: coco8\n" + YAML,
        "train: ../images/train\nval: ../images/val\nnc: 2\nnames: ['cat', 'dog']\n",
        "train: [images/train]\nval: [./images/val]\nnames: [cat, dog]",
        "train: images/train/\nval: images/val\ntest:\nnames: [cat, dog]",
        "train: /content/coco8/images/train\nval: C:\\data\\images\\val\nnames: [cat, dog]",
    ],
)
def test_every_way_of_naming_the_folders_is_understood(coco8, text):
    write(coco8 / "data.yaml", text)
    splits = data.open(coco8)
    assert counts(splits) == {"train": 2, "validation": 1}
    assert splits.classes == ("cat", "dog")


def test_a_stale_path_falls_back_to_the_folder_of_the_file_with_a_note(coco8):
    write(coco8 / "data.yaml", "path: /home/somebody/datasets/coco8\n" + YAML)
    with pytest.warns(UserWarning, match=r"path: /home/somebody/datasets/coco8, which is not there"):
        assert counts(data.open(coco8)) == {"train": 2, "validation": 1}


def test_an_absolute_path_that_is_there_is_followed(coco8, tmp_path):
    write(tmp_path / "only/data.yaml", f"path: {coco8}\n{YAML}")
    assert counts(data.open(tmp_path / "only")) == {"train": 2, "validation": 1}


def test_a_missing_part_does_not_become_the_pictures_of_another(coco8):
    write(coco8 / "data.yaml", "train: images/train\nval: valid/images\nnames: [cat, dog]")
    with pytest.raises(DataError, match=r"data\.yaml names val: 'valid/images', and no picture is there"):
        data.open(coco8)


def test_a_missing_test_part_is_warned_of(coco8):
    write(coco8 / "data.yaml", YAML + "test: ../test/images\n")
    with pytest.warns(UserWarning, match="The test part is left out"):
        assert counts(data.open(coco8)) == {"train": 2, "validation": 1}


def test_lists_of_pictures_are_read_whatever_machine_they_are_from(coco8):
    write(coco8 / "train.txt", "./images/train/a.jpg\n/home/x/images/train/b.jpg\n")
    write(coco8 / "val.txt", "data/coco8/images/val/a.jpg\nimages/val/gone.jpg\n")
    write(coco8 / "data.yaml", "train: train.txt\nval: val.txt\nnames: [cat, dog]")
    with pytest.warns(UserWarning, match=r"val\.txt cannot be used: line 2: images/val/gone\.jpg is not there"):
        splits = data.open(coco8)
    assert counts(splits) == {"train": 2, "validation": 1}
    assert splits.validation.paths[0].parent.name == "val"


def test_classes_that_yaml_takes_for_truth_and_numbers_keep_their_names(coco8):
    write(coco8 / "data.yaml", "train: images/train\nnames: [no, 007]")
    assert data.open(coco8).classes == ("no", "007")


def test_outlines_are_masks_and_the_boxes_around_them(coco8):
    write(coco8 / "labels/train/a.txt", "0 0.25 0.2 0.75 0.2 0.75 0.6 0.25 0.6\n1 0.5 0.5 0.5 0.4\n")
    annotation = data.open(coco8).train[0][1]
    assert torch.allclose(annotation.boxes_xyxy, torch.tensor([[5.0, 2, 15, 6], [5, 3, 15, 7]]), atol=1e-5)
    assert annotation.masks.shape == (2, 10, 20)
    assert annotation.masks.sum(dim=(1, 2)).tolist() == [40, 40]
    assert annotation.masks[0, 2:6, 5:15].all()


@pytest.mark.parametrize("width", [2, 3])
def test_keypoints_come_in_pixels(coco8, width):
    points = "0.5 0.5 0 0" if width == 2 else "0.5 0.5 1 0 0 0"
    write(coco8 / "data.yaml", YAML + f"kpt_shape: [2, {width}]\nkpt_names:\n  0: [nose, tail]\n")
    write(coco8 / "labels/train/a.txt", f"0 0.5 0.5 0.5 0.4 {points}\n1 0.1 0.1 0.2 0.2\n")
    write(coco8 / "labels/val/a.txt", f"0 0.5 0.5 1 1 {points}")
    splits = data.open(coco8, task="keypoints")
    assert splits.task == "keypoints"
    assert splits.train.point_names == ("nose", "tail")
    seen = 1 if width == 3 else 2
    assert splits.train[0][1].keypoints.tolist() == [[[10, 5, seen], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert splits.validation[0][1].keypoints[0, 0].tolist() == [10, 5, seen]


def test_keypoints_that_are_not_there_are_not_made_up(coco8):
    with pytest.raises(DataError, match=r"has no keypoints.*kpt_shape"):
        data.open(coco8, task="keypoints")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2", r"a\.txt, line 21: '0 0\.5 0\.5 0\.2' is not a class and at least four numbers"),
        ("cat 0.5 0.5 0.2 0.2", "is not a class"),
        ("0 nan 0.5 0.2 0.2", "is not a class"),
        ("2 0.5 0.5 0.2 0.2", "the class is 2, and there are 2, from 0 on"),
        ("-1 0.5 0.5 0.2 0.2", "the class is -1"),
        ("0.5 0.5 0.5 0.2 0.2", r"the class is 0\.5"),
        ("0 100 50 20 20", "100 is no share"),
        ("0 0.5 0.5 0.2 0.2 0.9", "5 numbers follow the class"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "7 numbers follow the class"),
    ],
)
def test_few_wrong_lines_are_left_out_and_named_and_many_are_an_error(coco8, line, words):
    good = "0 0.5 0.5 0.2 0.2\n" * 20
    write(coco8 / "labels/train/a.txt", f"{good}{line}\n")
    with pytest.warns(UserWarning, match=f"1 of 22 lines of labels.*{words}"):
        assert len(data.open(coco8).train[0][1]) == 20
    write(coco8 / "labels/train/a.txt", f"{good}{line}\n{line}\n{line}\n{line}\n")
    with pytest.raises(DataError, match=f"4 of 25 lines of labels.*{words}"):
        data.open(coco8)


def test_labels_of_other_pictures_are_named_and_are_an_error_where_there_are_no_others(coco8):
    write(coco8 / "labels/train/elsewhere.txt", "0 0.5 0.5 0.2 0.2")
    write(coco8 / "labels/train/empty.txt", "\n")
    write(coco8 / "images/train/notes.txt", "taken in spring")
    write(coco8 / "anchors.txt", "1 2 3 4 5 6")
    (coco8 / "labels/train/notizen.txt").write_bytes("in Köln".encode("latin-1"))
    with pytest.warns(
        UserWarning, match=r"1 of 3 files of labels cannot be used: .*elsewhere\.txt: no picture is called elsewhere"
    ):
        assert counts(data.open(coco8)) == {"train": 2, "validation": 1}
    for part in ("train", "val"):
        (coco8 / f"labels/{part}/a.txt").unlink()
    with pytest.raises(DataError, match="1 of 1 files of labels cannot be used"):
        data.open(coco8)


def test_rounding_beyond_the_edge_is_no_fault(coco8):
    write(coco8 / "labels/val/a.txt", "0 0.5 0.5 1.001 1.0004")
    assert data.open(coco8).validation[0][1].boxes_xyxy[0, 2] > 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: images/train\nnames: [cat,\nval: x", r"data\.yaml, line 3: this is no YAML"),
        ("train: images/train\nnames: {0: cat, 2: dog}", r"data\.yaml numbers its classes \['0', '2'\]"),
        ("train: images/train\nnc: 3\nnames: [cat, dog]", "says nc: 3, and names 2 classes"),
        ("train: images/train\nnames: cat", "has the names 'cat'"),
        ("train: images/train\nnames: [cat, Cat]", "classes cat and Cat"),
        ("train: images/train\nnames: [[cat], dog]", "has the names"),
        (YAML + "kpt_shape: [17]", r"kpt_shape: \['17'\]"),
        ("train: {a: b}\nnames: [cat]", "names train: .*no picture is there"),
        ("train: ../../../etc\nnames: [cat]", "no picture is there"),
    ],
)
def test_a_bad_yaml_is_named_with_what_is_wrong(coco8, text, words):
    write(coco8 / "data.yaml", text)
    with pytest.raises(DataError, match=words):
        data.open(coco8)


def test_a_yaml_of_nested_references_fills_no_memory(coco8):
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    write(coco8 / "data.yaml", f"l0: &l0 [ha, ha]\n{levels}train: *l11\nnames: *l11\n")
    with pytest.raises(DataError, match="has the names"):
        data.open(coco8)


def test_only_the_number_of_classes_is_enough(coco8):
    write(coco8 / "data.yaml", "train: images/train\nnc: 2")
    assert data.open(coco8).classes == ("0", "1")


def test_darknets_files_are_read(tmp_path, packed):
    root = tmp_path / "darknet"
    for name in ("a", "b", "c"):
        picture(root / f"obj_train_data/{name}.jpg")
        write(root / f"obj_train_data/{name}.txt", "0 0.5 0.5 1 1")
    write(root / "obj.names", "cat\ndog\n")
    write(
        root / "obj.data",
        "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n",
    )
    write(root / "train.txt", "data/obj_train_data/a.jpg\ndata/obj_train_data/c.jpg\n")
    write(root / "valid.txt", "data/obj_train_data/b.jpg\n")
    splits = data.open(packed(root))
    assert splits.format == "yolo"
    assert counts(splits) == {"train": 2, "validation": 1}
    assert splits.train[1][1].boxes_xyxy.tolist() == [[0, 0, 20, 10]]


def test_classes_txt_and_texts_beside_the_pictures_are_enough(tmp_path):
    for part in ("train", "valid"):
        picture(tmp_path / f"{part}/a.jpg")
        write(tmp_path / f"{part}/a.txt", f"{int(part == 'valid')} 0.5 0.5 1 1")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    splits = data.open(tmp_path)
    assert counts(splits) == {"train": 1, "validation": 1}
    assert splits.validation[0][1].labels.tolist() == [1]


def test_classes_txt_alone_makes_no_yolo(tmp_path):
    for name in ("cat", "dog"):
        picture(tmp_path / f"{name}/1.jpg")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    assert data.open(tmp_path).format == "image_folder"


def test_darknets_labels_of_the_real_pictures_are_found_by_name(real_data):
    splits = data.open(real_data / "formats/voc2012_24_multi.zip", "yolo")
    assert (len(splits.train), splits.train.counts().sum()) == (24, 51)
