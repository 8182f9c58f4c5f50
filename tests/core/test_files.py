"""A file is the old one or the new one."""

import os

import pytest

from lamina.core.files import replacing


def test_replaces_a_file_when_the_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with replacing(target) as temporary:
        temporary.write_text("one")
    with replacing(target) as temporary:
        temporary.write_text("two")
    assert target.read_text() == "two"
    assert os.listdir(target.parent) == ["file.txt"]


def test_keeps_the_old_file_when_the_block_fails(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail():
        with replacing(target) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_leaves_the_permissions_that_an_ordinary_file_has(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    with replacing(tmp_path / "replaced") as temporary:
        temporary.write_text("")
    assert (tmp_path / "replaced").stat().st_mode == ordinary.stat().st_mode
