"""A server of stand-in archives, and a named data set that asks it."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamina.core import transfer
from lamina.data import datasets

Files = Mapping[str, bytes | str]


def picture(number: int = 0, kind: str = "JPEG", size: tuple[int, int] = (12, 8)) -> bytes:
    """A small picture in one colour that tells its number."""
    made = io.BytesIO()
    Image.new("RGB", size, (number * 16 % 256, 90, 30)).save(made, kind)
    return made.getvalue()


def idx(array: np.ndarray) -> bytes:
    """A gzipped IDX file."""
    shape = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes())


def idx_files(counts: tuple[int, ...] = (5, 3), classes: int = 10) -> Iterator[bytes]:
    """Pictures and labels of each part, as MNIST and its kin have them."""
    for count in counts:
        yield idx(np.arange(count * 28 * 28).reshape(count, 28, 28) % 251)
        yield idx(np.arange(count) % classes)


def packed(files: Files, ending: str) -> bytes:
    """An archive of these files: ".zip", ".tar", ".tar.gz", ".tgz"."""
    made = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(made, "w") as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
    else:
        with tarfile.open(fileobj=made, mode="w" if ending == ".tar" else "w:gz") as tar:
            for name, content in files.items():
                raw = content.encode() if isinstance(content, str) else content
                entry = tarfile.TarInfo(name)
                entry.size = len(raw)
                tar.addfile(entry, io.BytesIO(raw))
    return made.getvalue()


def matlab(**held: np.ndarray) -> bytes:
    """A MATLAB 5 file of arrays of uint8 or float64, written by the format's description, not compressed."""
    kinds = {"uint8": (9, 2), "float64": (6, 9)}

    def element(kind: int, data: bytes) -> bytes:
        return kind.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data + bytes(-len(data) % 8)

    content = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    for name, array in held.items():
        of_class, stored = kinds[str(array.dtype)]
        inner = element(6, of_class.to_bytes(4, "little") + bytes(4))
        inner += element(5, np.array(array.shape, np.int32).tobytes())
        inner += element(1, name.encode()) + element(stored, array.tobytes(order="F"))
        content += element(14, inner)
    return content


class Served:
    """What the server has, and what was asked for; and how stand-ins are made."""

    picture, packed, matlab = staticmethod(picture), staticmethod(packed), staticmethod(matlab)
    idx_files = staticmethod(idx_files)

    def __init__(self, folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.address, self.asked = folder, address, list[str]()
        self._monkeypatch = monkeypatch

    def offer(self, name: str, *contents: bytes, **changes: Any) -> None:
        """The files of the data set `name` are these bytes, with their hashes; they are fetched here."""
        named = datasets._TABLE[name]
        files = []
        for remote, content in zip(named.files, contents, strict=True):
            (self.folder / remote.file).write_bytes(content)
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            url = f"{self.address}/{remote.file}"
            files.append(dataclasses.replace(remote, url=url, digest=digest, size=len(content), mirrors=()))
        self.replace(name, files=tuple(files), **changes)

    def replace(self, name: str, **changes: Any) -> None:
        """The data set is described otherwise."""
        table = {**datasets._TABLE, name: dataclasses.replace(datasets._TABLE[name], **changes)}
        self._monkeypatch.setattr(datasets, "_TABLE", table)

    def close(self) -> None:
        """No file is there any more: who asks for one fails."""
        for path in self.folder.iterdir():
            path.unlink()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    """A local server, and a cache of this test alone, `tmp_path / "home"`."""
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(transfer, "WAITS_S", ())
    folder = tmp_path / "served"
    folder.mkdir()
    asked: list[str] = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    offering = Served(folder, f"http://127.0.0.1:{server.server_port}", monkeypatch)
    offering.asked = asked
    yield offering
    server.shutdown()
    thread.join()
    server.server_close()
