"""Pictures decoded once: a memory-mapped file of uint8 pixels, each with the time and size of the file that it was decoded from.

    magic, length of the description, description (JSON), padding to a page
    N x 3 int64    the file's time (ns) and size (bytes), and a sum of the pixels; zeros where nothing was decoded yet
    N x H W C      the pixels

Pixels are written before their stamp, and their sum is in it: a picture that a kill or a power cut left half written is
decoded anew. Several processes may fill one file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import mmap
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.core.files import creating
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.paths import Paths
from lamina.data.preprocess import Preprocess

_MAGIC = b"lamina decoded 1"
_STAMP = 3
_PIXELS = 2  # goes up when the same file and geometry give other pixels than before
_SEEKS = threading.Lock()
_GEOMETRY = ("channels", "size", "resize", "crop", "interpolation")


class DecodedCache:
    """The decoded pictures of `paths` as `preprocess` makes them, kept in the file `path`, or in a file of the folder `path`.

    A file that was cut short, holds other pictures or other sizes, or is no such file, is made anew, with a warning; one
    that a person may want back, of another kind, is a DataError. DataError too where the disk is too small.
    """

    def __init__(self, path: Path, paths: Paths, preprocess: Preprocess) -> None:
        self.shape = (*preprocess.size, preprocess.channels)
        names = hashlib.blake2b(digest_size=16)
        for part in paths.digest_parts():
            names.update(part)
        settings = preprocess.to_dict()
        self._description: dict[str, Any] = {
            "count": len(paths),
            "paths": names.hexdigest(),
            "pixels": _PIXELS,
            "geometry": {name: settings[name] for name in _GEOMETRY},
        }
        digest = hashlib.blake2b(_head(self._description), digest_size=6).hexdigest()
        self.path = path / f"{digest}.decoded" if path.is_dir() or not path.suffix else path
        self._open()

    def picture(self, row: int, path: str, decode: Callable[[str], Tensor]) -> UInt8[Tensor, "H W C"]:
        """The pixels of a file, from the cache where the file has not changed since, else by `decode`, and then kept."""
        try:
            changed_ns, length = archive.time_and_size(path)
        except (OSError, DataError):
            return decode(path)  # which says what is wrong
        time, size, total = self._stamps[row]
        if time == changed_ns and size == length:
            pixels = self._pixels[row].copy()  # before it is summed up: another process may write there
            if total == _sum(pixels):
                return torch.from_numpy(pixels)
        decoded = decode(path)
        array = np.ascontiguousarray(decoded.numpy())
        stamp = np.array([changed_ns, length, _sum(array)], dtype=np.int64)
        self._keep(row, array, stamp)
        return decoded

    def filled(self) -> int:
        """How many pictures are kept."""
        return int(self._stamps.any(axis=1).sum())

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "shape": self.shape, "_description": self._description}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        head = _head(self._description)
        count, size = self._description["count"], int(np.prod(self.shape))
        self._stamps_at = len(head)
        self._pixels_at = _whole_pages(self._stamps_at + count * _STAMP * 8)
        length = self._pixels_at + count * size
        fault = self._fault(head, length)
        if fault is not None:
            self._make(head, length, fault)
        self._file, self._full = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0)), False
        weakref.finalize(self, os.close, self._file)
        self._map = mmap.mmap(self._file, length, access=mmap.ACCESS_READ)
        self._stamps: npt.NDArray[np.int64] = np.frombuffer(
            self._map, dtype=np.int64, count=count * _STAMP, offset=self._stamps_at
        ).reshape(count, _STAMP)
        self._pixels: npt.NDArray[np.uint8] = np.frombuffer(
            self._map, dtype=np.uint8, count=count * size, offset=self._pixels_at
        ).reshape(count, *self.shape)

    def _fault(self, head: bytes, length: int) -> str | None:
        """What is wrong with the file that is there; empty where there is none, None where nothing is."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as stream:
            found = stream.read(len(head))
        if found == head:
            whole = self.path.stat().st_size
            return None if whole == length else f"was cut short ({whole:,} of {length:,} bytes)"
        if found.startswith(_MAGIC):
            return "was made from other files, or for pictures of another size"
        if found:
            raise DataError(
                f"{self.path} is no cache of decoded pictures.",
                "The name of a new file, or of a cache made before, was expected.",
                "Pass another path: what is in this file would be lost.",
            )
        return "is empty"

    def _make(self, head: bytes, length: int, fault: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        there = shutil.disk_usage(self.path.parent).free
        if there < length:
            raise DataError(
                f"The decoded pictures take {length / 1e9:,.1f} GB, and {self.path.parent} has {there / 1e9:,.1f} GB left.",
                "They have to fit on the disk.",
                "Pass another path to cached(), or train without a cache.",
            )
        if fault:
            warn(f"The decoded cache {self.path} {fault}. It is made anew.")
        with creating(self.path) as temporary:
            with temporary.open("r+b") as stream:
                stream.write(head)
                stream.truncate(length)  # a hole: it takes room as pictures come in
            if fault:
                with _alone(self.path.parent):
                    if self._fault(head, length):  # another process that began with this one may have made it by now
                        self.path.unlink()

    def _keep(self, row: int, pixels: npt.NDArray[np.uint8], stamp: npt.NDArray[np.int64]) -> None:
        """Writes a picture, and behind it its stamp. Where there is no room any more, training goes on without."""
        if self._full:
            return
        try:
            self._write(self._pixels_at + row * pixels.nbytes, pixels)
            self._write(self._stamps_at + row * stamp.nbytes, stamp)
        except OSError as error:
            self._full = True
            warn(
                f"The decoded cache {self.path} cannot be written ({error.strerror or error}). What it lacks is decoded "
                "each time. It takes room for every picture: make room on the disk, or pass another path to cached()."
            )

    def _write(self, offset: int, values: npt.NDArray[Any]) -> None:
        """At a place of its own, for forked processes share one position in the file. Not through the map: a full disk would kill."""
        if hasattr(os, "pwrite"):
            os.pwrite(self._file, values.tobytes(), offset)
        else:  # on Windows, where nothing is forked
            with _SEEKS:
                os.lseek(self._file, offset, os.SEEK_SET)
                os.write(self._file, values.tobytes())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, where the system and the disk know locks of folders."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ImportError):
            locks: Any = importlib.import_module("fcntl")
            held = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, held)  # which ends the lock
            locks.flock(held, locks.LOCK_EX)
        yield


def _head(description: dict[str, Any]) -> bytes:
    text = json.dumps(description, sort_keys=True).encode()
    head = _MAGIC + len(text).to_bytes(8, "little") + text
    return head.ljust(_whole_pages(len(head)), b" ")


def _whole_pages(length: int) -> int:
    return -(-length // 4096) * 4096


def _sum(pixels: npt.NDArray[np.uint8]) -> int:
    """Tells whole pixels from half-written ones, in a tenth of the time of a hash; never 0, which means nothing was kept."""
    flat = pixels.reshape(-1)
    words = flat[: flat.size // 8 * 8].view(np.int64).sum(dtype=np.int64)
    return int(words ^ flat[flat.size // 8 * 8 :].sum(dtype=np.int64)) or 1
