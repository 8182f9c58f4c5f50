"""Finding the picture that an annotation means."""

import pytest

from lamina.data.formats.gathered import split_of
from lamina.data.formats.named_pictures import NamedPictures, stem
from lamina.data.tree import Tree


@pytest.fixture
def pictures(tmp_path):
    for name in ("train/1.jpg", "val/1.jpg", "masks/1.png", "a/x.v2.jpg", "a/y.png", "a/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return NamedPictures(Tree(tmp_path), apart=("masks",))


@pytest.mark.parametrize(
    ("name", "near", "found"),
    [
        ("train/1.jpg", "", "train/1.jpg"),
        ("C:\\data\\val\\1.jpg", "", "val/1.jpg"),
        ("./val/1.jpg", "", "val/1.jpg"),
        ("1.xml", "notes/val/1.xml", "val/1.jpg"),
        ("1", "train/1.txt", "train/1.jpg"),
        ("x.v2", "", "a/x.v2.jpg"),
        ("y.png", "", "a/y.png"),
        ("y.JPG", "", "a/y.jpg"),
        ("2.jpg", "", None),
    ],
)
def test_finds_it_by_name_then_by_folders(pictures, name, near, found):
    assert pictures.find(name, near=near) == found


def test_the_stem_keeps_what_is_no_ending():
    assert [stem(name) for name in ("a/b.jpg", "b.v2", "b.rf.1.xml", "b")] == ["b", "b.v2", "b.rf.1", "b"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a/valid/images/1.jpg", "validation"),
        ("2.Validation/x/1.jpg", "validation"),
        ("val2017/1.jpg", "validation"),
        ("Training/1.jpg", "train"),
        ("cats/1.jpg", "train"),
        ("test.jpg", "train"),
    ],
)
def test_folders_tell_the_part(name, part):
    assert split_of(name) == part
