"""Paths that lead into a zip or a tar."""

import io
import os
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.data.pictures import read

CONTENT = {"a/one.txt": b"1" * 5000, "a/b/two.bin": bytes(range(256)) * 40, "three": b""}


def packed(path, content=CONTENT, **how):
    """An archive of these files; the kind is told by its name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", how.get("compression", zipfile.ZIP_DEFLATED)) as made:
            for name, data in content.items():
                made.writestr(name, data)
        return path
    with tarfile.open(path, {"tar": "w"}.get(path.suffix[1:], f"w:{path.suffix[1:]}")) as made:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_reads_each_file_where_it_lies(tmp_path, name):
    path = packed(tmp_path / name)
    for inner, data in CONTENT.items():
        assert archive.read_bytes(path / inner) == data
        assert archive.is_file(path / inner)
        assert archive.time_and_size(path / inner) == (path.stat().st_mtime_ns, len(data))
    assert sorted(archive.opened(path).names) == sorted(CONTENT)
    assert not archive.is_file(path / "a")
    with pytest.raises(FileNotFoundError, match="no such file in the archive"):
        archive.read_bytes(path / "four")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_reads_what_a_zip_stores_in_either_way(tmp_path, compression):
    path = packed(tmp_path / "x.zip", compression=compression)
    assert archive.read_bytes(path / "a/b/two.bin") == CONTENT["a/b/two.bin"]
    stored = archive.opened(path).place("a/b/two.bin")
    if compression == zipfile.ZIP_STORED:
        start, size = stored
        assert path.read_bytes()[start : start + size] == CONTENT["a/b/two.bin"]
    else:
        assert stored is None


def test_the_place_in_a_tar_is_where_the_bytes_are(tmp_path):
    path = packed(tmp_path / "x.tar")
    start, size = archive.opened(path).place("a/b/two.bin")
    assert path.read_bytes()[start : start + size] == CONTENT["a/b/two.bin"]


def test_paths_outside_archives_are_files_of_the_disk(tmp_path):
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "folder.zip/one").write_bytes(b"x")
    assert archive.inside(tmp_path / "folder.zip/one") is None
    assert archive.read_bytes(tmp_path / "folder.zip/one") == b"x"
    packed(tmp_path / "x.zip")
    assert archive.inside(tmp_path / "x.zip") is None
    assert archive.inside(tmp_path / "x.zip/a/one.txt") == (str(tmp_path / "x.zip"), "a/one.txt")


def test_a_picture_in_an_archive_is_read_as_the_same_file_on_the_disk(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    path = packed(tmp_path / "x.zip", {"in/p.png": (tmp_path / "p.png").read_bytes()})
    assert (np.asarray(read(path / "in/p.png")) == pixels).all()
    with pytest.raises(DataError, match=r"x\.zip/in/q\.png is not a file"):
        read(path / "in/q.png")


def test_of_two_files_of_one_name_the_later_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("a", b"old")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a", b"new")
    assert archive.read_bytes(tmp_path / "x.zip/a") == b"new"


def test_a_changed_archive_is_indexed_anew(tmp_path):
    path = packed(tmp_path / "x.zip", {"a": b"1"})
    assert archive.read_bytes(path / "a") == b"1"
    packed(path, {"b": b"22"})
    os.utime(path, ns=(1, 1))
    assert archive.read_bytes(path / "b") == b"22"
    assert not archive.is_file(path / "a")


def test_names_with_backslashes_are_read_as_folders(tmp_path):
    path = packed(tmp_path / "x.zip", {"cats\\1.txt": b"x", "cats\\": b""})
    assert archive.opened(path).names == ["cats/1.txt"]
    assert archive.read_bytes(path / "cats/1.txt") == b"x"


def test_names_that_lead_out_and_links_are_left_out(tmp_path):
    evil = {"../up": b"x", "/etc/shadow": b"x", "a/../../up": b"x", "C:\\boot": b"x", "fine/a..b": b"y"}
    for path in (packed(tmp_path / "x.zip", evil), packed(tmp_path / "x.tar", evil)):
        opened = archive.opened(path)
        assert opened.names == ["fine/a..b"]
        assert len(opened.left_out) == 4
    with tarfile.open(tmp_path / "links.tar", "w") as made:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            entry = tarfile.TarInfo(f"link{kind.decode()}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            made.addfile(entry)
    assert archive.opened(tmp_path / "links.tar").names == []
    assert len(archive.opened(tmp_path / "links.tar").left_out) == 2


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = packed(tmp_path / "x.zip", {"bomb.png": bytes(100 << 20)})
    with pytest.raises(DataError, match=r"unpacks [\d,]+ bytes to 104,857,600.*zip bomb"):
        archive.read_bytes(path / "bomb.png")


def test_a_file_that_is_larger_than_its_entry_says_does_not_fill_the_memory(tmp_path):
    path = packed(tmp_path / "x.zip", {"a": bytes(50 << 20)})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a has 1,001 bytes, and its entry says 1,000"):
        archive.read_bytes(path / "a")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.xz"])
def test_an_archive_that_was_cut_short_is_named(tmp_path, name):
    path = packed(tmp_path / name, {"a": os.urandom(100_000), "b": os.urandom(100_000)})
    path.write_bytes(path.read_bytes()[:150_000])
    with pytest.raises(DataError, match=rf"{name} cannot be read"):
        archive.read_bytes(path / "b")


def test_a_password_and_a_foreign_file_are_named(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="A whole zip or tar was expected"):
        archive.opened(tmp_path / "x.zip")
    path = packed(tmp_path / "locked.zip", {"a": b"secret"})
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="locked by a password"):
        archive.opened(path)


def test_threads_read_side_by_side(tmp_path):
    content = {f"{number}": os.urandom(2000) for number in range(200)}
    path = packed(tmp_path / "x.zip", content)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda name: archive.read_bytes(path / name), content)) == list(content.values())


def test_an_index_travels_to_a_worker(tmp_path):
    opened = archive.opened(packed(tmp_path / "x.zip"))
    assert pickle.loads(pickle.dumps(opened)).read("a/one.txt") == CONTENT["a/one.txt"]
