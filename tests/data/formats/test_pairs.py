"""Pictures for translation: side by side, in two folders, and without pairs."""

import numpy as np
import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError


def plant(root, *names, size=(4, 4), shade=0):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, shade + number).save(root / name)


def test_two_squares_side_by_side_are_a_pair(tmp_path, packed):
    root = tmp_path / "facades"
    for name in ("train/1.png", "train/2.png", "val/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat(np.array([[10, 20]], dtype=np.uint8), 4, axis=1).repeat(4, axis=0)).save(root / name)
    splits = data.open(packed(root))
    assert splits.format == "pairs"
    assert splits.task == "translation"
    picture, annotation = splits.train[0]
    assert picture.shape == annotation.other.shape == (1, 4, 4)
    assert (picture.unique().tolist(), annotation.other.unique().tolist()) == ([10], [20])
    assert len(splits.validation) == 1
    again = splits.train.subset([1]).limit(1)
    assert again[0][0].shape == (1, 4, 4)


def test_other_shapes_side_by_side_want_to_be_named(tmp_path):
    plant(tmp_path, "train/1.png", "test/1.png", size=(6, 2))
    with pytest.raises(DataError):
        data.open(tmp_path)
    assert data.open(tmp_path, "pairs").train[0][1].other.shape == (1, 2, 3)
    plant(tmp_path, "train/1.png", size=(5, 2))
    with pytest.raises(DataError, match="5 pixels wide"):
        data.open(tmp_path, "pairs").train[0]


@pytest.mark.parametrize(
    "folders", [("trainA", "trainB"), ("train_A", "train_B"), ("A/train", "B/train"), ("input/train", "target/train")]
)
def test_equal_names_in_two_folders_are_pairs(tmp_path, packed, folders):
    first, second = folders
    root = tmp_path / "set"
    plant(root, f"{first}/1.png", f"{first}/2.png")
    plant(root, f"{second}/1.jpg", f"{second}/2.jpg", shade=100)
    splits = data.open(packed(root))
    assert splits.format == "pairs"
    assert "pictures of the same name are pairs" in splits.recognised
    assert [int(splits.train[1][0][0, 0, 0]), int(splits.train[1][1].other[0, 0, 0])] == [1, 101]
    assert dict(splits.others) == {}


def test_plain_a_and_b_may_be_classes_and_want_to_be_named(tmp_path):
    plant(tmp_path, "A/1.png", "B/1.png")
    assert data.open(tmp_path).format == "image_folder"
    assert data.open(tmp_path, "pairs").train[0][1].other is not None


def test_domains_without_pairs_are_labels_and_parts(tmp_path, packed):
    root = tmp_path / "horse2zebra"
    plant(root, "trainA/h1.png", "trainA/h2.png")
    plant(root, "trainB/z1.png", "trainB/z2.png", "trainB/z3.png", shade=100)
    plant(root, "testA/h9.png")
    plant(root, "testB/z9.png")
    splits = data.open(packed(root))
    assert splits.train.classes == ("A", "B")
    assert [splits.train[index][1].labels.tolist() for index in range(5)] == [[0], [0], [1], [1], [1]]
    assert splits.train.counts().tolist() == [2, 3]
    assert {name: len(part) for name, part in splits.others.items()} == {
        "trainA": 2,
        "trainB": 3,
        "testA": 1,
        "testB": 1,
    }
    assert int(splits["trainB"][0][0][0, 0, 0]) == 100
    assert len(splits.test) == 2


def test_three_domains_have_no_pairs_whatever_their_names(tmp_path):
    plant(tmp_path, "trainA/1.png", "trainB/1.png", "trainC/1.png")
    assert data.open(tmp_path).train.classes == ("A", "B", "C")


def test_pictures_without_a_partner_are_told(tmp_path):
    names = [f"{number}.png" for number in range(20)]
    plant(tmp_path, *(f"trainA/{name}" for name in names), *(f"trainB/{name}" for name in names[:19]))
    with pytest.warns(UserWarning, match=r"1 pictures .*trainA/19\.png"):
        assert len(data.open(tmp_path).train) == 19


def test_an_empty_domain_and_none_at_all_are_errors(tmp_path):
    plant(tmp_path, "trainA/1.png")
    (tmp_path / "trainB").mkdir()
    with pytest.raises(DataError, match="trainB holds no pictures"):
        data.open(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="trainA and trainB"):
        data.open(tmp_path / "empty", "pairs")
