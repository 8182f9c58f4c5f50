"""CIFAR's binary form from a folder and from archives."""

import pytest
import torch

from lamina import data
from lamina.core.errors import DataError
from lamina.data.formats.cifar_binary import records


def record(*labels, red=7):
    return bytes(labels) + bytes([red]) * 1024 + bytes([1]) * 1024 + bytes([2]) * 1024


def test_ten_classes_from_batches(tmp_path, packed):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number in (1, 2, 10):
        (folder / f"data_batch_{number}.bin").write_bytes(record(number % 10, red=number) * 2)
    (folder / "test_batch.bin").write_bytes(record(3))
    (folder / "batches.meta.txt").write_text(
        "\n".join(["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]) + "\n\n"
    )
    splits = data.open(packed(folder))
    assert splits.format == "cifar_binary"
    assert splits.train.labels.tolist() == [1, 1, 2, 2, 0, 0]
    assert splits.train.images[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 10, 10]
    assert splits.train.images[0, :, 31, 31].tolist() == [1, 1, 2]
    assert splits.classes[3] == "cat"
    assert len(splits.test) == 1


def test_of_a_hundred_classes_the_fine_ones_are_labels(tmp_path):
    (tmp_path / "train.bin").write_bytes(record(1, 4) + record(0, 2))
    (tmp_path / "test.bin").write_bytes(record(1, 3))
    (tmp_path / "fine_label_names.txt").write_text("a\nb\nc\nd\ne\n")
    splits = data.open(tmp_path)
    assert splits.train.labels.tolist() == [4, 2]
    assert splits.classes == tuple("abcde")
    assert records([("train.bin", (tmp_path / "train.bin").read_bytes())], labels=2)[1].tolist() == [[1, 4], [0, 2]]
    (tmp_path / "fine_label_names.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"names 2 classes.*go up to 4"):
        data.open(tmp_path)


def test_a_batch_that_is_cut_off_is_named(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(record(1)[:-1])
    with pytest.raises(DataError, match=r"data_batch_1\.bin has 3,072 bytes.*3,073"):
        data.open(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(b"")
    with pytest.raises(DataError, match="has 0 bytes"):
        data.open(tmp_path)


@pytest.mark.parametrize("names", [("data_batch_1", "batches.meta"), ("train", "test", "meta")])
def test_pickles_are_never_opened(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(DataError, match=r"pickled.*never opened here.*binary\.tar\.gz"):
        data.open(tmp_path)


def test_a_format_that_is_named_and_not_there_says_what_it_looks_for(tmp_path):
    with pytest.raises(DataError, match=r"data_batch_1\.bin"):
        data.open(tmp_path, "cifar_binary")
    assert torch.is_tensor(records([("x", record(1))])[0])
