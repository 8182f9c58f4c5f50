"""The samples of a shard one after the other, as their bytes come: nothing is sought, unpacked or kept.

Each file's header is looked at where it comes (POSIX tar with the extensions of pax and GNU). Python's tarfile would take a damaged
header in the middle for the end; here a tar has to end with its mark, or it is cut short.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from lamina.core.errors import DataError
from lamina.core.transfer import TransferError
from lamina.data import shard_samples
from lamina.data.archive import LARGEST
from lamina.data.formats.image_folder import is_picture
from lamina.data.formats.shards import class_of, key_of
from lamina.data.tar_bytes import Bytes, Stop, opened, unreachable
from lamina.data.tree import printable

_BLOCK = 512  # bytes; files in a tar begin at multiples of it
_LONGEST_NAME = 1 << 20  # bytes of a header that holds a name
_LABELS = ("cls", "json")
_WITHOUT_CONTENT = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
Label = int | tuple[int, ...]


class Sample(NamedTuple):
    """A picture's file and its class, or its classes; `name` says where it lies."""

    name: str
    picture: bytes
    label: Label


class _TarError(Exception):
    """What is wrong with a tar."""


def samples(place: str, stop: Stop, *, pictures: bool = True) -> Generator[Sample | str, None, None]:
    """The samples of a shard in their order; in the place of one without picture or label its key.

    Without `pictures`, only headers and labels are read. Raises DataError, naming the shard and its last whole sample, where it is
    cut short, no tar, or of another task; DownloadError where its server gives it up.
    """
    last, key, files = "", "", dict[str, bytes]()
    try:
        with contextlib.closing(opened(place, stop)) as stream:
            for name, content in _members(stream, lambda name: _wanted(name, pictures=pictures)):
                named, ending = key_of(name)
                if files and named != key:
                    yield _sample(place, key, files)
                    last, files = key, {}
                key = named
                files[ending] = content
            if files:
                yield _sample(place, key, files)
    except _TarError as error:
        raise DataError(
            f"{place} is cut short or damaged ({error}){_after(last, key, files)}.",
            "A whole tar was expected.",
            "Copy it again.",
        ) from error
    except TransferError as failure:
        raise unreachable(place, failure, _after(last, key, files)) from failure
    except OSError as error:
        raise DataError(
            f"{place} cannot be read ({error.strerror or error}){_after(last, key, files)}.",
            "A tar was expected.",
            "Check the path and the disk.",
        ) from error


def _after(last: str, key: str, files: dict[str, bytes]) -> str:
    whole = key if any(map(_is_picture, files)) and any(label in files for label in _LABELS) else last
    return f"; its last whole sample is {printable(whole)}" if whole else "; no sample is whole"


def _wanted(name: str, *, pictures: bool) -> bool:
    ending = key_of(name)[1]
    return ending in _LABELS or (pictures and _is_picture(ending))


def _is_picture(ending: str) -> bool:
    return "." not in ending and is_picture(f"x.{ending}")


def _sample(place: str, key: str, files: dict[str, bytes]) -> Sample | str:
    picture = next(filter(_is_picture, files), None)
    label = next((ending for ending in _LABELS if ending in files), None)
    if picture is None or label is None:
        if picture is not None and "txt" in files:
            raise _other_task(f"{place} has captions")
        return key
    name = printable(f"{place}/{key}.{picture}")
    if label == "cls":
        return Sample(name, files[picture], class_of(files[label], printable(f"{place}/{key}.cls")))
    return Sample(name, files[picture], _several(files[label], printable(f"{place}/{key}.json"), place))


def _several(content: bytes, name: str, place: str) -> tuple[int, ...]:
    told = shard_samples.parsed(content, name)
    if others := sorted(told.keys() & shard_samples.OTHER_THAN_LABELS):
        raise _other_task(f"{place} has {others[0]}")
    labels = told.get("labels")
    if not isinstance(labels, list) or not all(type(label) is int and label >= 0 for label in labels):
        raise DataError(
            f"{name} has no labels: {content[:60]!r}.",
            '{"labels": [0, 2]} was expected, the numbers of classes.',
            "Write the shard again, or leave it out.",
        )
    return tuple(labels)


def _other_task(what: str) -> DataError:
    return DataError(
        f"{what}.",
        "A stream is of pictures and their classes.",
        "Open such shards with data.open, which reads them all.",
    )


def _members(stream: Bytes, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each file, empty bytes where it is not wanted. A name is a text: no file is made of it."""
    name, size = "", -1
    while True:
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            raise _TarError("it ends without the mark of a tar's end")
        if not any(block):
            return
        try:
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _TarError(str(error)) from error
        if entry.size < 0:
            raise _TarError("a file of fewer than no bytes")
        if entry.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            if entry.size > _LONGEST_NAME:
                raise _TarError(f"a name of {entry.size:,} bytes")
            content = _content(stream, entry.size)
            if entry.type == tarfile.GNUTYPE_LONGNAME:
                name = content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            else:
                told = _records(content)
                name, size = told.get("path", name), _number(told.get("size", "-1"))
            continue
        name, size = name or entry.name, entry.size if size < 0 else size
        if entry.type in tarfile.REGULAR_TYPES:
            if entry.type == tarfile.GNUTYPE_SPARSE:
                raise _TarError(f"{printable(name)} is a sparse file")
            keep = wanted(name)
            if keep and size > LARGEST:
                raise _TarError(f"{printable(name)} has {size:,} bytes")
            yield name, _content(stream, size) if keep else _passed(stream, size)
        elif entry.type not in _WITHOUT_CONTENT:
            _passed(stream, size)
        if entry.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            name, size = "", -1


def _content(stream: Bytes, size: int) -> bytes:
    content, padding = stream.read(size), -size % _BLOCK
    if len(content) < size or len(stream.read(padding)) < padding:
        raise _TarError("it ends in the middle of a file")
    return content


def _passed(stream: Bytes, size: int) -> bytes:
    if not stream.skip(size + -size % _BLOCK):
        raise _TarError("it ends in the middle of a file")
    return b""


def _records(content: bytes) -> dict[str, str]:
    """What a pax header tells: lines "LENGTH KEY=VALUE"."""
    told, at = dict[str, str](), 0
    while at < len(content) and content[at]:
        digits, space, _ = content[at : at + 20].partition(b" ")
        length = _number(digits.decode("ascii", "replace"))
        key, equals, value = content[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if not space or not equals or length > len(content) - at:
            raise _TarError("a header that tells of the next one is damaged")
        told[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return told


def _number(text: str) -> int:
    if text != "-1" and not text.isdecimal():
        raise _TarError(f"a header has {text[:20]!r} for a number")
    return int(text)
