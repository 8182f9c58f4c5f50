"""A file is the old one or the new one."""

import os
from pathlib import Path

import pytest

from lamina.core.files import creating, remove_leftovers, replacing


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


def test_keeps_the_one_before_where_asked(tmp_path):
    target, previous = tmp_path / "file.txt", tmp_path / "previous.txt"
    for text in ("one", "two", "three"):
        with replacing(target, previous=previous) as temporary:
            temporary.write_text(text)
    assert (target.read_text(), previous.read_text()) == ("three", "two")
    assert sorted(os.listdir(tmp_path)) == ["file.txt", "previous.txt"]


def test_a_failure_leaves_both_where_they_were(tmp_path, monkeypatch):
    target, previous = tmp_path / "file.txt", tmp_path / "previous.txt"
    target.write_text("two")
    previous.write_text("one")

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"), replacing(target, previous=previous) as temporary:
        temporary.write_text("three")
    assert (target.read_text(), previous.read_text()) == ("two", "one")
    assert sorted(os.listdir(tmp_path)) == ["file.txt", "previous.txt"]


def test_file_and_folder_are_synced_and_the_file_before_it_gets_its_name(tmp_path, monkeypatch):
    seen = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append("fsync") or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda old, new: seen.append(f"to {Path(new).name}") or replace(old, new))
    (tmp_path / "file").write_text("old")
    with replacing(tmp_path / "file", previous=tmp_path / "previous") as temporary:
        temporary.write_text("new")
    assert seen == ["fsync", "to previous", "to file", "fsync"] if os.name == "posix" else ["fsync", "to file"]


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    keep = [".file.txt.tmp", "file.txt", ".other.txt.0a1b.tmp"]
    for name in [*keep, ".file.txt.0a1b2c.tmp"]:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "file.txt")
    assert sorted(os.listdir(tmp_path)) == sorted(keep)


def test_of_several_who_create_a_file_the_first_one_s_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with creating(path) as mine:
        mine.write_text("mine")
        with creating(path) as theirs:
            theirs.write_text("theirs")
    assert path.read_text() == "theirs"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
