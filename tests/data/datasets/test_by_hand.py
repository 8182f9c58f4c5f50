"""What a person has to fetch, what is at hand, and MATLAB files."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest

from lamina import data
from lamina.core.errors import DataError
from lamina.data import datasets
from lamina.data.matlab import arrays


def test_what_a_person_has_to_fetch_is_said_exactly(served, tmp_path):
    with pytest.raises(DataError) as told:
        data.load("imagenet")
    text = str(told.value)
    assert "imagenet is not at hand" in text
    assert "https://image-net.org/download-images" in text
    assert "not commercial" in text
    assert str(tmp_path / "home" / "datasets" / "imagenet") in text
    assert "LAMINA_HOME" in text


def test_a_set_that_was_brought_by_hand_is_opened_packed_or_not(served, tmp_path):
    home = tmp_path / "home" / "datasets"
    files = {
        f"hymenoptera_data/{part}/{kind}/1.jpg": served.picture()
        for part in ("train", "val")
        for kind in ("ants", "bees")
    }
    home.mkdir(parents=True)
    (home / "hymenoptera.zip").write_bytes(served.packed(files, ".zip"))
    assert data.load("hymenoptera").classes == ("ants", "bees")
    (home / "hymenoptera.zip").unlink()
    (home / "hymenoptera").mkdir()
    with pytest.raises(DataError, match="hymenoptera is not at hand"):  # an empty folder is nothing
        data.load("hymenoptera")
    (home / "hymenoptera" / "hymenoptera_data.zip").write_bytes(served.packed(files, ".zip"))
    assert len(data.load("hymenoptera").validation) == 2
    (home / "hymenoptera" / "hymenoptera_data.zip").unlink()
    for name, content in files.items():
        (home / "hymenoptera" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "hymenoptera" / name).write_bytes(content)
    assert len(data.load("hymenoptera").train) == 2


def test_celeba_is_joined_from_what_lies_in_its_folder_and_checked(served, tmp_path):
    folder = tmp_path / "home" / "datasets" / "celeba"
    folder.mkdir(parents=True)
    lines = "".join(f"00000{number}.jpg {number % 2 * 2 - 1} -1\n" for number in (1, 2, 3))
    contents = {
        "img_align_celeba.zip": served.packed(
            {f"img_align_celeba/00000{n}.jpg": served.picture(n) for n in (1, 2, 3)}, ".zip"
        ),
        "list_attr_celeba.txt": f"3\nSmiling Young\n{lines}".encode(),
        "list_bbox_celeba.txt": b"3\nimage_id x_1 y_1 width height\n"
        + b"".join(b"00000%d.jpg 1 1 5 5\n" % n for n in (1, 2, 3)),
        "list_landmarks_align_celeba.txt": b"3\n"
        + b"lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y\n"
        + b"".join(b"00000%d.jpg 1 1 2 1 2 2 1 3 2 3\n" % n for n in (1, 2, 3)),
        "list_eval_partition.txt": b"000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n",
    }
    import dataclasses

    files = [
        dataclasses.replace(file, digest="md5:" + hashlib.md5(contents[file.file]).hexdigest())
        for file in datasets._TABLE["celeba"].files
    ]
    served.replace("celeba", files=tuple(files))
    for name, content in list(contents.items())[:3]:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r"lacks list_landmarks_align_celeba\.txt, list_eval_partition\.txt"):
        data.load("celeba")
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    splits = data.load("celeba")
    assert splits.classes == ("Smiling", "Young")
    assert splits.train.labels.tolist() == [[1, 0]]
    assert (len(splits.validation), len(splits.test)) == (1, 1)
    (folder / "list_attr_celeba.txt").write_bytes(contents["list_attr_celeba.txt"] + b" ")
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt has another hash than the published file"):
        data.load("celeba")


def test_the_list_says_what_is_at_hand(served):
    served.offer("kmnist", *served.idx_files())
    listed = {entry["name"]: entry for entry in datasets.described()}
    assert list(listed) == data.names()
    assert listed["mnist"]["at_hand"]
    assert not listed["kmnist"]["at_hand"]
    assert listed["celeba"]["by_hand"]
    data.load("kmnist")
    assert {entry["name"]: entry for entry in datasets.described()}["kmnist"]["at_hand"]


# As scipy 1.17 writes {"y": np.array([[10], [1]], np.uint8), "n": np.array([[1.0, 300.0]])}, compressed.
WRITTEN = (
    "0f00000028000000789ce36360603000623620e600624e06086085f2998098118c19192ac17c26062ea0000018c500f0"
    "0f0000002e000000789ce36360607000623620e680d220c00ae533023113986664c803d29c402cc000031fecc1d48122"
    "07003a01039d"
)


def test_matlab_files_that_others_write_are_read():
    held = arrays(bytes(124) + b"\x00\x01IM" + bytes.fromhex(WRITTEN), "x.mat")
    assert held["y"].tolist() == [[10], [1]]
    assert held["y"].dtype == np.uint8
    assert held["n"].tolist() == [[1.0, 300.0]]
    assert held["n"].dtype == np.float64


@pytest.mark.parametrize("cut", [0, 100, 130, 140, -3])
def test_a_damaged_matlab_file_is_told(cut):
    whole = bytes(124) + b"\x00\x01IM" + bytes.fromhex(WRITTEN)
    with pytest.raises(DataError, match=r"x\.mat cannot be read"):
        arrays(whole[:cut], "x.mat")


def test_a_matlab_file_cannot_fill_the_memory(monkeypatch):
    from lamina.data import matlab

    monkeypatch.setattr(matlab, "_MOST", 1000)
    packed = zlib.compress(bytes(100_000))
    bomb = bytes(124) + b"\x00\x01IM" + (15).to_bytes(4, "little") + len(packed).to_bytes(4, "little") + packed
    with pytest.raises(DataError, match="unpacks to more than 1,000 bytes"):
        arrays(bomb, "x.mat")
