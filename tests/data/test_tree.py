"""The files of a folder or an archive."""

import os
import zipfile

import pytest

from lamina.core.errors import DataError, UnknownNameError
from lamina.data.checking import check
from lamina.data.formats import open_path
from lamina.data.tree import Tree, natural, nearest, printable

NAMES = ("b/10.txt", "b/9.txt", "B/x/deep.TXT", "a/1.json", "top.csv", ".hidden", "__MACOSX/a", "a/.git/config")
SEEN = ["a/1.json", "b/9.txt", "b/10.txt", "B/x/deep.TXT", "top.csv"]


@pytest.fixture(params=["folder", "zip"])
def tree(request, tmp_path):
    root = tmp_path / "data"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\xef\xbb\xbf  first \n\n second\n")
    if request.param == "folder":
        return Tree(root)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as made:
        for name in NAMES:
            made.write(root / name, name)
    return Tree(tmp_path / "data.zip")


def test_lists_what_is_not_hidden_in_natural_order(tree):
    assert tree.names == SEEN
    assert tree.name == "data"
    assert len(tree) == 5
    assert "a/1.json" in tree
    assert ".hidden" not in tree


def test_tells_folders_and_files_one_by_one(tree):
    assert tree.folders() == ["a", "B", "b"]
    assert tree.folders("B") == ["x"]
    assert tree.folders("b/") == []
    assert tree.files() == ["top.csv"]
    assert tree.files("b") == ["b/9.txt", "b/10.txt"]
    assert tree.files("B/x", suffixes=[".txt"]) == ["B/x/deep.TXT"]
    assert tree.files("b", suffixes=[".json"]) == []
    assert tree.matching("*/*.txt") == ["b/9.txt", "b/10.txt", "B/x/deep.TXT"]


def test_below_a_folder_names_are_relative_to_it(tree):
    inner = tree.below("B")
    assert inner.names == ["x/deep.TXT"]
    assert inner.path("x/deep.TXT") == tree.path("B/x/deep.TXT")
    assert inner.name == "B"
    assert inner.below("x").text("deep.TXT") == "  first \n\n second\n"


def test_lines_have_numbers_and_no_mark_in_front(tree):
    assert list(tree.lines("top.csv")) == [(1, "first"), (3, "second")]


def test_what_cannot_be_read_is_named(tree, tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt cannot be read"):
        tree.read("gone.txt")
    (tmp_path / "data/top.csv").write_bytes(b"a\nb\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"top\.csv, line 3: .*UTF-8"):
        Tree(tmp_path / "data").text("top.csv")


def test_empty_folders_of_a_disk_are_folders(tmp_path):
    (tmp_path / "cats/inner").mkdir(parents=True)
    tree = Tree(tmp_path)
    assert tree.names == []
    assert tree.folders() == ["cats"]
    assert tree.below("cats").folders() == ["inner"]
    assert tree.digest() == "cats/"


def test_linked_folders_are_entered_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/1.txt").write_text("x")
    (tmp_path / "data/inner").mkdir(parents=True)
    (tmp_path / "data/link").symlink_to(tmp_path / "real")
    (tmp_path / "data/inner/loop").symlink_to(tmp_path / "data")
    assert Tree(tmp_path / "data").names == ["link/1.txt"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_name_that_is_no_utf_8_is_listed_and_can_be_printed(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb") as stream:
        stream.write(b"x")
    tree = Tree(tmp_path)
    assert tree.read(tree.names[0]) == b"x"
    assert printable(tree.names[0]) == "caf\\xe9.txt"
    assert tree.digest() == "caf\\xe9.txt"


def test_numbers_are_sorted_by_value():
    assert sorted(["x10", "X9", "x1b", "x1a"], key=natural) == ["x1a", "x1b", "X9", "x10"]


def test_a_folder_and_its_files_are_sorted_as_whole_paths_are(tmp_path):
    names = ["a10/2.txt", "a9/10.txt", "a9/2.txt", "a 9/1.txt", "a09/3.txt", "A9b/1.txt", "a/1.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert Tree(tmp_path).names == sorted(names, key=natural)


def test_numbers_of_any_length_are_sorted_by_their_value():
    names = ["1" * 5000, "2" * 4999, "٣", "2", "00"]
    assert sorted(names, key=natural) == ["00", "2", "٣", "2" * 4999, "1" * 5000]


def test_a_path_that_is_not_there_is_compared_with_what_is(tmp_path, monkeypatch):
    for name in ("pets/train", "cells", ".pest"):
        (tmp_path / "data" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert nearest("data/pest/train") == f"The nearest in data{os.sep}: pets."
    assert nearest(tmp_path / "data/pets/trian") == f"The nearest in {tmp_path / 'data/pets'}{os.sep}: train."
    assert nearest("data/xyz") == f"data{os.sep} holds cells, pets."
    assert nearest("dat") == f"The nearest in .{os.sep}: data."
    assert nearest("xyz") == ""
    (tmp_path / "file").write_text("")
    assert nearest("file/inner") == ""
    for path in ("data/pest/train", "data/pest/labels.csv"):
        with pytest.raises(DataError, match=r"is not there.*The nearest in data.: pets"):
            open_path(path)
    with pytest.raises(UnknownNameError, match=r"The nearest in ..: data"):
        check("dat")
