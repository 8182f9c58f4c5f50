"""Files inside a zip or a tar, read where they lie: `pets.zip/cats/1.jpg` is a path like any other.

Of an archive is kept where each file's bytes begin, in arrays: a million files take some megabytes, nothing is unpacked, and
threads and forked workers read side by side. Names that lead out of the archive ("..", absolute ones) and links are never followed.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import DataError
from lamina.data.memory import free_bytes
from lamina.data.paths import Paths

ZIPS, TARS = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SUFFIXES = (*ZIPS, *TARS)
LARGEST = 1 << 30  # bytes of one file: no picture and no table of annotations is larger
_MOST_FOLD = 1000  # deflate makes at most 1,032 bytes of one: what comes near is a bomb, beyond some megabytes
_HARMLESS = 64 << 20
_LOCAL = 30  # bytes of a zip's local header, before the name
_ENCRYPTED = 0x1
_PLACED = re.compile(r"@(\d+)\+(\d+)/")

_Member = tuple[str, int, int, int, int]


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of a zip or a tar."""
    return os.fspath(path).lower().endswith(SUFFIXES)


def inside(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """(archive, name in it) for a path that leads into an archive; None for any other."""
    whole = os.fspath(path)
    folded = whole.lower().replace(os.sep, "/")
    for suffix in SUFFIXES:
        at = folded.find(f"{suffix}/")
        while at >= 0:
            archive = whole[: at + len(suffix)]
            if os.path.isfile(archive):
                return archive, whole[at + len(suffix) + 1 :].replace(os.sep, "/")
            at = folded.find(f"{suffix}/", at + 1)
    return None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """What is in a file, on the disk or in an archive. Raises OSError, and DataError for a damaged archive."""
    place = inside(path)
    if place is None:
        with open(path, "rb", buffering=0) as stream:
            return stream.read()
    span = placed(*place)
    return opened(place[0]).read(place[1]) if span is None else _span(place[0], *span)


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file, on the disk or in an archive."""
    place = inside(path)
    if place is None:
        return os.path.isfile(path)
    span = placed(*place)
    return place[1] in opened(place[0]) if span is None else sum(span) <= os.path.getsize(place[0])


def time_and_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """When a file was changed, in nanoseconds (of one in an archive: the archive), and its bytes. Raises OSError."""
    place = inside(path)
    if place is None:
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size
    span = placed(*place)
    size = opened(place[0]).size(place[1]) if span is None else span[1]
    return os.stat(place[0]).st_mtime_ns, size


def placed(archive: str, name: str) -> tuple[int, int] | None:
    """(start, bytes) for a file of a tar whose path tells where it lies, `shard.tar/@START+BYTES/NAME`: it needs no index."""
    told = _PLACED.match(name) if archive.lower().endswith(".tar") else None
    return None if told is None else (int(told[1]), int(told[2]))


def _span(path: str, start: int, count: int) -> bytes:
    with open(path, "rb", buffering=0) as stream:  # opened each time: threads and forks share no position
        stream.seek(start)
        content = bytearray()
        while len(content) < count and (more := stream.read(count - len(content))):
            content += more
    if len(content) < count:
        raise DataError(
            f"{path} cannot be read (it ends in the middle).",
            "A whole zip or tar was expected.",
            "Copy or download it again.",
        )
    return bytes(content)


class Archive:
    """Where the files of one zip or tar lie. Raises DataError for one that is damaged, locked, or would fill the memory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self.left_out: list[str] = []  # names that lead out of the archive, and links
        self._plain: bytes | None = None  # of a compressed tar, which can only be read from its beginning
        try:
            members = list(self._zip() if self.path.lower().endswith(ZIPS) else self._tar())
        except DataError:
            raise
        except (
            OSError,
            EOFError,
            ValueError,
            zlib.error,
            lzma.LZMAError,
            zipfile.BadZipFile,
            tarfile.TarError,
        ) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise self._damaged(str(error)) from error
        self._where = np.array([member[1:] for member in members], dtype=np.int64).reshape(-1, 4)
        self._names = Paths([member[0] for member in members])
        hashes = np.array([_hash(member[0]) for member in members], dtype=np.uint64)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    @property
    def names(self) -> list[str]:
        """The names of the files, in the archive's order."""
        return [self._names.name(row) for row in range(len(self._names))]

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def size(self, name: str) -> int:
        """The bytes of a file, unpacked. Raises FileNotFoundError."""
        return int(self._where[self._row(name), 2])

    def place(self, name: str) -> tuple[int, int] | None:
        """Where a file's bytes begin in the archive, and how many they are; None where they are compressed."""
        start, stored, size, method = map(int, self._where[self._row(name)])
        if method or self._plain is not None:
            return None
        return (self._data(start, stored) if self.path.lower().endswith(ZIPS) else start), size

    def read(self, name: str) -> bytes:
        """What is in a file. Raises FileNotFoundError, and DataError where it is damaged or larger than it says."""
        start, stored, size, method = map(int, self._where[self._row(name)])
        if size > LARGEST or (size > _HARMLESS and size > _MOST_FOLD * max(stored, 1)):
            raise DataError(
                f"{self.path}/{name} says that it unpacks {stored:,} bytes to {size:,}.",
                "No picture, and no table of annotations, does.",
                "It may be a zip bomb: take it out, or unpack the archive yourself.",
            )
        if self._plain is not None:
            return self._plain[start : start + size]
        if not self.path.lower().endswith(ZIPS):
            return self._bytes(start, size)
        packed = self._bytes(self._data(start, stored), stored)
        try:
            content = _unpacked(packed, method, size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise self._damaged(f"{name}: {error}") from error
        if len(content) != size:
            raise self._damaged(f"{name} has {len(content):,} bytes, and its entry says {size:,}")
        return content

    def _row(self, name: str) -> int:
        row = self._find(name)
        if row is None:
            raise FileNotFoundError(2, "There is no such file in the archive", f"{self.path}/{name}")
        return row

    def _find(self, name: str) -> int | None:
        """Its row: of files of one name the last, which is the one that was written over the others."""
        wanted = np.uint64(_hash(name))
        first, last = (int(np.searchsorted(self._hashes, wanted, side)) for side in ("left", "right"))
        rows = (int(row) for row in reversed(self._order[first:last]))
        return next((row for row in rows if self._names.name(row) == name), None)

    def _zip(self) -> Iterator[_Member]:
        """(name, where its local header is, bytes there, bytes unpacked, method) of each file."""
        with zipfile.ZipFile(self.path) as archive:
            entries = archive.infolist()
        for entry in entries:
            if entry.is_dir() or not self._keeps(
                entry.filename, link=(entry.external_attr >> 16) & 0o170000 == 0o120000
            ):
                continue
            if entry.flag_bits & _ENCRYPTED:
                raise DataError(
                    f"{self.path} is locked by a password ({entry.filename}).",
                    "An open archive was expected.",
                    "Unpack it.",
                )
            name = entry.filename.replace("\\", "/")  # some older tools of Windows write these
            if name.endswith("/"):
                continue
            yield name, entry.header_offset, entry.compress_size, entry.file_size, entry.compress_type

    def _tar(self) -> Iterator[_Member]:
        if not self.path.lower().endswith(".tar"):
            self._plain = _decompressed(self.path)
        whole = None if self._plain is None else io.BytesIO(self._plain)  # which does not copy it
        with tarfile.open(self.path, "r:", fileobj=whole) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined] # or it keeps an object for each
                if member.isdir() or not self._keeps(member.name, link=not member.isreg()):
                    continue
                yield member.name.removeprefix("./"), member.offset_data, member.size, member.size, 0

    def _keeps(self, name: str, *, link: bool) -> bool:
        unsafe = name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":"
        if link or unsafe:
            self.left_out.append(name)
        return not (link or unsafe)

    def _data(self, header: int, stored: int) -> int:
        """Where the bytes of an entry begin: its local header may have other extra fields than the directory says."""
        head = self._bytes(header, _LOCAL)
        if head[:4] != b"PK\x03\x04":
            raise self._damaged("an entry is not where the directory says")
        name, extra = struct.unpack("<HH", head[26:30])
        return header + _LOCAL + int(name) + int(extra)

    def _bytes(self, start: int, count: int) -> bytes:
        return _span(self.path, start, count)

    def _damaged(self, how: str) -> DataError:
        return DataError(
            f"{self.path} cannot be read ({how}).", "A whole zip or tar was expected.", "Copy or download it again."
        )


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


@functools.lru_cache(maxsize=16)
def _known(path: str, changed: int, size: int) -> Archive:
    del changed, size  # they tell one version of the file from the next
    return Archive(path)


def opened(path: str | os.PathLike[str]) -> Archive:
    """The archive at a path, indexed once for each version of the file. Raises OSError and DataError."""
    status = os.stat(path)
    return _known(os.path.abspath(path), status.st_mtime_ns, status.st_size)


def _unpacked(packed: bytes, method: int, size: int) -> bytes:
    """At most a byte more than `size`: what says it is small and is not shall not fill the memory."""
    if method == zipfile.ZIP_STORED:
        return packed
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15).decompress(packed, size + 1)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, size + 1)
    raise ValueError(f"it is packed by method {method}, and stored, deflate and bzip2 are known")


def _decompressed(path: str) -> bytes:
    """The whole of a compressed tar. Raises DataError where it does not fit into a quarter of the memory."""
    openers: dict[str, Callable[..., Any]] = {"gz": gzip.open, "tgz": gzip.open, "bz2": bz2.open, "tbz2": bz2.open}
    opener = openers.get(path.lower().rpartition(".")[2], lzma.open)
    room, parts = free_bytes() // 4, []
    with opener(path, "rb") as stream:
        while part := stream.read(1 << 24):
            parts.append(part)
            room -= len(part)
            if room < 0:
                raise DataError(
                    f"{Path(path).name} unpacks to more than a quarter of the memory that is free.",
                    "A compressed tar can only be read from its beginning, so it is held in memory.",
                    f"Unpack it: tar xf {Path(path).name}; or make it a .tar or .zip, which are read where they lie.",
                )
    return b"".join(parts)
