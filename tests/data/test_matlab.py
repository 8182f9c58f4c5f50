"""MATLAB files that are damaged or hostile are refused in words."""

import struct
import zlib

import pytest

from lamina.core.errors import DataError
from lamina.data.matlab import structures

HEADER = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8 if kind != 15 else 0)


def test_compressed_in_compressed_is_refused_before_it_goes_deep():
    content = element(14, b"")
    for _ in range(2000):
        content = element(15, zlib.compress(content))
    with pytest.raises(DataError, match=r"x\.mat cannot be read \(what is compressed is compressed again"):
        structures(HEADER + content, "x.mat")


def test_a_structure_without_fields_is_passed_over():
    flags = element(6, struct.pack("<II", 2, 0))
    parts = flags + element(5, struct.pack("<ii", 1, 1)) + element(1, b"synsets\0") + element(5, struct.pack("<i", 8))
    assert structures(HEADER + element(14, parts), "x.mat") == {}


def test_what_unpacks_to_very_much_is_refused():
    with pytest.raises(DataError, match=r"unpacks to more than 33,554,432 bytes"):
        structures(HEADER + element(15, zlib.compress(bytes(40 << 20))), "x.mat")
