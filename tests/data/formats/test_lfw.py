"""LFW: persons, and pairs of the same or of two."""

import pytest
from PIL import Image

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats import open_tree
from lamina.data.tree import Tree


def plant(root, people):
    for shade, (name, count) in enumerate(people.items()):
        for number in range(1, count + 1):
            path = root / "lfw" / name / f"{name}_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 10 * shade + number).save(path)


def test_persons_are_classes_and_pairs_are_samples(tmp_path, packed):
    plant(tmp_path / "faces", {"Al_Gore": 2, "Bo": 1})
    (tmp_path / "faces/pairsDevTrain.txt").write_text("1\nAl_Gore\t1\t2\nAl_Gore\t2\tBo\t1\n")
    (tmp_path / "faces/pairs.txt").write_text(
        "2\t1\nAl_Gore\t1\t2\nAl_Gore\t1\tBo\t1\nAl_Gore\t2\t1\nBo\t1\tAl_Gore\t1\n"
    )
    where = packed(tmp_path / "faces")
    people = data.open(where)
    assert people.format == "lfw"
    assert people.classes == ("Al_Gore", "Bo")
    assert people.train.labels.tolist() == [0, 0, 1]
    pairs = data.open(where, task="verification")
    picture, annotation = pairs.train[1]
    assert (int(picture[0, 0, 0]), int(annotation.other[0, 0, 0])) == (2, 11)
    assert not annotation.extras["same"]
    assert pairs.train[0][1].extras["same"]
    assert [int(pairs["folds"][index][1].extras["fold"]) for index in range(4)] == [0, 0, 1, 1]
    assert pairs.train.origin(1).endswith("pairsDevTrain.txt, line 3")


def test_a_pair_that_cannot_be_read_names_its_line_and_missing_pictures_are_told(tmp_path):
    plant(tmp_path, {"A": 2})
    (tmp_path / "pairs.txt").write_text("1\t1\nA\t1\t2\nA\t1\tC\t4\n")
    with pytest.warns(UserWarning, match=r"1 of 2 pairs .*line 3: C_0004 is not there"):
        assert len(data.open(tmp_path, task="verification").test) == 1
    (tmp_path / "pairs.txt").write_text("1\t1\nA\t1\n")
    with pytest.raises(DataError, match=r"pairs\.txt, line 2: 'A\\t1'"):
        data.open(tmp_path, task="verification")


def test_the_sample_of_the_true_layout(real_data):
    tree = Tree(real_data / "formats/structure_samples.zip").below("lfw")
    assert open_tree(tree).test.labels.tolist() == [0, 1, 1]
    pairs = open_tree(tree, task="verification").test
    assert [bool(pairs[index][1].extras["same"]) for index in range(3)] == [True, False, False]
    assert pairs[0][1].other.shape == pairs[0][0].shape
