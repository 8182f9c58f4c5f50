"""MATLAB 5 files, as SVHN, Flowers-102 and ImageNet's devkit come (MathWorks, "MAT-File Format", chapter 1).

Only what such files hold is read: real arrays, texts, and structures of these, compressed or not. Cells and objects are passed over.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.core.errors import DataError

_HEADER = 128  # bytes; the last two tell the byte order
_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x0800
_STRUCTURE, _TEXT = 2, 4  # classes
_TEXTS = {2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16"}  # as they are stored; 2 and 4 are single bytes and pairs
_DEEP = 8  # structures in structures
_MOST = 1 << 30  # bytes that one array may unpack to
_MOST_TOLD = 1 << 25  # and one of structures: ImageNet's has less than a megabyte


def arrays(content: bytes, name: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of numbers by their names, with the first axis that of MATLAB's rows. `name` is for messages.

    Raises DataError for what is no MATLAB 5 file, or a damaged one.
    """
    return {key: value for key, value in _read(content, name).items() if isinstance(value, np.ndarray)}


def structures(content: bytes, name: str) -> dict[str, list[dict[str, Any]]]:
    """The arrays of structures by their names: for each entry its fields, which are arrays, texts or structures. As `arrays`."""
    return {key: value for key, value in _read(content, name, most=_MOST_TOLD).items() if isinstance(value, list)}


def _read(content: bytes, name: str, *, most: int | None = None) -> dict[str, Any]:
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
        raise _damaged(name, "it has no header of such a file")
    order = "<" if content[126:128] == b"IM" else ">"
    try:
        return dict(_variables(memoryview(content)[_HEADER:], order, _MOST if most is None else most))
    except (struct.error, zlib.error, ValueError) as error:
        raise _damaged(name, str(error)) from error


def _variables(view: memoryview, order: str, most: int, *, is_inner: bool = False) -> Iterator[tuple[str, Any]]:
    for kind, data in _elements(view, order):
        if kind == _COMPRESSED:
            if is_inner:
                raise ValueError("what is compressed is compressed again")
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(data, most)
            if not unpacker.eof:
                raise ValueError(f"an array is cut short, or unpacks to more than {most:,} bytes")
            yield from _variables(memoryview(plain), order, most, is_inner=True)
        elif kind == _MATRIX:
            found = _array(data, order)
            if found is not None:
                yield found


def _array(view: memoryview, order: str, depth: int = 0) -> tuple[str, Any] | None:
    parts = list(_elements(view, order))
    if len(parts) < 4:
        return None
    flags = struct.unpack_from(f"{order}I", parts[0][1])[0]
    if flags & 0xFF == _STRUCTURE and depth < _DEEP and len(parts) > 4:
        return bytes(parts[2][1]).decode("latin-1"), _entries(parts, order, depth)
    if flags & 0xFF == _TEXT and parts[3][0] in _TEXTS:
        wide = {"<": "-le", ">": "-be"}[order] if _TEXTS[parts[3][0]] == "utf-16" else ""
        return bytes(parts[2][1]).decode("latin-1"), bytes(parts[3][1]).decode(_TEXTS[parts[3][0]] + wide, "replace")
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX or parts[3][0] not in _STORED:
        return None
    shape = np.frombuffer(parts[1][1], dtype=f"{order}i4").tolist()
    stored = np.frombuffer(parts[3][1], dtype=order + _STORED[parts[3][0]])  # small numbers are stored in few bytes
    values = stored.reshape(shape, order="F").astype(_CLASSES[flags & 0xFF], copy=False)
    return bytes(parts[2][1]).decode("latin-1"), values


def _entries(parts: list[tuple[int, memoryview]], order: str, depth: int) -> list[dict[str, Any]]:
    """The entries of an array of structures: behind its name come the width and the names of its fields, then the fields of each."""
    width = max(struct.unpack_from(f"{order}i", parts[3][1])[0], 1)
    told = bytes(parts[4][1])
    names = [told[at : at + width].split(b"\0")[0].decode("latin-1") for at in range(0, len(told), width)]
    values = [_array(data, order, depth + 1) for _, data in parts[5:]]
    return [
        {
            name: None if found is None else found[1]
            for name, found in zip(names, values[at : at + len(names)], strict=False)
        }
        for at in range(0, len(values), max(len(names), 1))
    ]


def _elements(view: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, bytes) of each element; what is small lies in its own tag."""
    at = 0
    while at < len(view):
        kind, count = struct.unpack_from(f"{order}II", view, at)
        if kind >> 16:
            kind, count, start, behind = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            behind = start + count if kind == _COMPRESSED else start + -(-count // 8) * 8
        if start + count > len(view):
            raise ValueError(f"it ends {start + count - len(view):,} bytes too early")
        yield kind, view[start : start + count]
        at = behind


def _damaged(name: str, how: str) -> DataError:
    return DataError(
        f"{name} cannot be read ({how}).",
        "A whole MATLAB 5 file was expected.",
        "Delete it, so that it is fetched again.",
    )
