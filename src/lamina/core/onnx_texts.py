"""The texts in the metadata of an ONNX file, read without a library: of all its fields those alone are looked at.

An ONNX file is one protobuf message, a ModelProto: fields, each with its number and its kind, one behind another. Its texts are
field 14 (metadata_props), each a message of a key (1) and a value (2); weights and graph are stepped over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

_TEXTS, _KEY, _VALUE = 14, 1, 2
_VARINT, _EIGHT_BYTES, _MESSAGE, _FOUR_BYTES = 0, 1, 2, 5  # protobuf's kinds of fields
_LONGEST = 1 << 24  # bytes of a text; more is damage


def read(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts by key. Raises OSError for a file that cannot be read, ValueError for one that is no ONNX file."""
    size = os.path.getsize(path)
    found = {}
    with open(path, "rb") as stream:
        for number, length in _fields(stream, size):
            if number != _TEXTS:
                stream.seek(length, os.SEEK_CUR)
                continue
            if length > _LONGEST:
                raise ValueError("a text is longer than any")
            pair = _pair(stream.read(length))
            found[pair.get(_KEY, "")] = pair.get(_VALUE, "")
    return found


def _pair(message: bytes) -> dict[int, str]:
    stream = BytesIO(message)
    return {number: stream.read(length).decode() for number, length in _fields(stream, len(message))}


def _fields(stream: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Number and length of each field that has a length, at which the stream then stands; the caller reads it or steps over."""
    if size == 0:
        raise ValueError("it is empty")
    while stream.tell() < size:
        tag = _varint(stream)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _varint(stream)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            stream.seek(8 if kind == _EIGHT_BYTES else 4, os.SEEK_CUR)
        elif kind == _MESSAGE:
            length = _varint(stream)
            if stream.tell() + length > size:
                raise ValueError("a field reaches beyond its end")
            yield number, length
        else:
            raise ValueError(f"it has a field of the kind {kind}")


def _varint(stream: BinaryIO) -> int:
    """A whole number in groups of seven bits, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("it ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number has more than 64 bits")
