"""MNIST in the package is the genuine one, bit for bit."""

import hashlib
import lzma
from importlib import resources

import pytest
import torch

from lamina import data
from lamina.core.errors import DataError
from lamina.data.datasets import mnist
from lamina.data.datasets.pack_mnist import pack

FOLDER = resources.files("lamina.data.datasets")


@pytest.fixture(scope="module")
def splits():
    return data.load("mnist")


def test_the_four_original_files_come_out_bit_for_bit():
    files = mnist.idx_files()
    assert {name: hashlib.md5(content).hexdigest() for name, content in files.items()} == {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }


def test_the_file_is_small_and_its_licence_lies_beside_it():
    assert len(FOLDER.joinpath("mnist.xz").read_bytes()) <= 9_500_000
    licence = FOLDER.joinpath("MNIST-LICENSE.txt").read_text(encoding="utf-8")
    for words in (
        "Creative Commons Attribution-Share Alike 3.0",
        "Yann LeCun",
        "Corinna Cortes",
        "Christopher J.C. Burges",
    ):
        assert words in licence


def test_the_streams_are_cut_at_their_seams_and_nowhere_else():
    packed = FOLDER.joinpath("mnist.xz").read_bytes()
    streams = mnist.streams(packed)
    assert len(streams) == 4
    assert b"".join(streams) == packed
    assert len({stream[:6] for stream in streams}) == 1


def test_the_splits_have_the_shapes_types_and_counts_that_everybody_knows(splits):
    assert splits.train.images.shape == (60_000, 1, 28, 28)
    assert splits.test.images.shape == (10_000, 1, 28, 28)
    assert splits.train.images.dtype == torch.uint8
    assert splits.train.labels.dtype == torch.int64
    assert splits.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert splits.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert splits.classes == tuple("0123456789")
    assert splits.validation is None
    assert "CC BY-SA 3.0" in splits.licence


def test_mean_and_deviation_are_the_usual_ones(splits):
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = splits.train.images.flatten().bincount(minlength=256) / splits.train.images.numel()
    mean = (values * shares).sum()
    assert mean.item() == pytest.approx(0.1307, abs=5e-5)
    assert ((values - mean).square() * shares).sum().sqrt().item() == pytest.approx(0.3081, abs=5e-5)


def test_a_tenth_can_be_held_out_of_the_real_digits(splits):
    rest, held = splits.train.limit(3000).split(0.1)
    assert len(rest) + len(held) == 3000
    assert len(held) == 300


def truncated(packed: bytes) -> bytes:
    return packed[:-9]


def with_one_bit_flipped(packed: bytes) -> bytes:
    return packed[:5_000_000] + bytes([packed[5_000_000] ^ 1]) + packed[5_000_001:]


@pytest.mark.parametrize("damage", [truncated, with_one_bit_flipped])
def test_a_damaged_file_is_named_as_damaged(monkeypatch, tmp_path, damage):
    (tmp_path / "mnist.xz").write_bytes(damage(FOLDER.joinpath("mnist.xz").read_bytes()))
    monkeypatch.setattr(mnist.resources, "files", lambda _package: tmp_path)
    with pytest.raises(DataError, match="cannot be unpacked"):
        mnist.idx_files()


def test_a_file_of_another_length_is_named_as_damaged(monkeypatch, tmp_path):
    (tmp_path / "mnist.xz").write_bytes(lzma.compress(b"short"))
    monkeypatch.setattr(mnist.resources, "files", lambda _package: tmp_path)
    with pytest.raises(DataError, match="5 bytes came out"):
        mnist.idx_files()


def test_only_the_genuine_files_are_packed(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"not these")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte has the MD5 .* The genuine file has 6bbc9ace"):
        pack(tmp_path, tmp_path / "out.xz")
    assert not (tmp_path / "out.xz").exists()


def test_packing_and_unpacking_are_inverse(monkeypatch, tmp_path):
    contents = {"first": bytes(range(256)) * 40, "second": b"labels"}
    files = [(name, len(content), hashlib.md5(content).hexdigest()) for name, content in contents.items()]
    for module in ("mnist", "pack_mnist"):
        monkeypatch.setattr(f"lamina.data.datasets.{module}.FILES", tuple(files))
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert pack(tmp_path, tmp_path / "mnist.xz") == (tmp_path / "mnist.xz").stat().st_size
    monkeypatch.setattr(mnist.resources, "files", lambda _package: tmp_path)
    assert mnist.idx_files() == contents
