"""CIFAR-10 from a local server: an archive of the genuine layout, with a few pictures."""

import functools
import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest
import torch

from lamina import data
from lamina.core import transfer
from lamina.core.errors import DataError, DownloadError
from lamina.data.datasets import cifar10

RECORDS = dict.fromkeys((*cifar10.TRAIN, *cifar10.TEST), 10)


def record(number, length=3073):
    """The class, and pixels whose red is the number, whose green is 100, whose blue counts the places."""
    red, green, blue = bytes([number]) * 1024, bytes([100]) * 1024, bytes(range(256)) * 4
    return (bytes([number % 10]) + red + green + blue)[:length]


def archive(path, *, leave_out=(), length=3073):
    with tarfile.open(path, "w:gz") as made:
        for position, (name, count) in enumerate(RECORDS.items()):
            content = b"".join(record(10 * position + index, length) for index in range(count))
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            if name not in leave_out:
                made.addfile(entry, io.BytesIO(content))
    return "md5:" + hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A folder that a server gives to whom asks; what cifar10 asks for is in it."""
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(transfer, "WAITS_S", ())
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(cifar10, "URLS", (f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz",))
    yield folder / "cifar-10-binary.tar.gz"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_splits_are_those_of_the_archive(served, monkeypatch, capsys):
    monkeypatch.setattr(cifar10, "DIGEST", archive(served))
    splits = data.load("cifar10")
    assert splits.train.images.shape == (50, 3, 32, 32)
    assert splits.test.images.shape == (10, 3, 32, 32)
    assert splits.train.images.dtype == torch.uint8
    assert splits.train.labels.tolist() == [*range(10)] * 5
    assert splits.train.images[:, 0, 5, 5].tolist() == list(range(50))
    assert splits.test.images[:, 0, 31, 31].tolist() == list(range(50, 60))
    assert (splits.train.images[:, 1] == 100).all()
    assert np.array_equal(splits.test.images[3, 2].flatten(), np.tile(np.arange(256), 4))
    assert splits.classes == cifar10.CLASSES
    assert (splits.classes[0], splits.classes[9]) == ("airplane", "truck")
    assert splits.validation is None
    assert "Krizhevsky" in splits.licence
    assert "Learning Multiple Layers of Features from Tiny Images, 2009" in capsys.readouterr().err.replace("\n", " ")
    served.unlink()
    assert len(data.load("cifar10").train) == 50  # from the cache


def test_other_bytes_than_the_published_ones_are_never_used(served):
    archive(served)
    with pytest.raises(DownloadError, match="MD5 is c32a1d4ab5d03f1284b67883e8d87530"):
        data.load("cifar10")


@pytest.mark.parametrize(
    ("told", "text"),
    [({"leave_out": ("data_batch_3.bin",)}, r"lacks data_batch_3\.bin"), ({"length": 3000}, "Records of 3,073 bytes")],
)
def test_an_archive_of_another_layout_is_told(served, monkeypatch, told, text):
    monkeypatch.setattr(cifar10, "DIGEST", archive(served, **told))
    with pytest.raises(DataError, match=text):
        data.load("cifar10")


def test_an_archive_that_cannot_be_unpacked_is_told(served, monkeypatch):
    served.write_bytes(b"\x1f\x8b no gzip")
    monkeypatch.setattr(cifar10, "DIGEST", "md5:" + hashlib.md5(served.read_bytes()).hexdigest())
    with pytest.raises(DataError, match="cannot be unpacked"):
        data.load("cifar10")
