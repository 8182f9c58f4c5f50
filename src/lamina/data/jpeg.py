"""The quick way for the commonest file: a JPEG that needs nothing but decoding.

torchvision and Pillow decode with the same library to the same pixels, but Pillow's have to be copied out of it, which takes
a sixth of the time. What this passes by, `pictures.read` reads.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data import archive

_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # lossless, hierarchical, arithmetic
_EXIF_OR_XMP, _COLOURS = 0xE1, 0xE2
_TURNS = (b"\x01\x12", b"\x12\x01", b"rientation")  # the tag in either byte order, and XMP's word for it


def decode(path: str | os.PathLike[str], channels: int) -> UInt8[Tensor, "H W C"] | None:
    """The pixels of a plain JPEG; None where it is another file, turned, of other colours than sRGB, or damaged."""
    if _decoder() is None or not os.fspath(path).lower().endswith((".jpg", ".jpeg")):
        return None
    try:
        return decode_bytes(archive.read_bytes(path), channels)
    except (OSError, DataError):
        return None


def decode_bytes(content: bytes, channels: int) -> UInt8[Tensor, "H W C"] | None:
    """As `decode`, of a file's bytes."""
    decoder = _decoder()
    if decoder is None:
        return None
    try:
        data = bytearray(content)
        if components(data) not in (channels, 1):  # Pillow knows how colours become grey
            return None
        mode = 3 if channels == 3 else 1  # torchvision.io.ImageReadMode.RGB, GRAY
        return decoder(torch.frombuffer(data, dtype=torch.uint8), mode, False).permute(1, 2, 0)
    except RuntimeError:
        return None


def components(data: bytes | bytearray) -> int:
    """1 (grey) or 3 (colours) for a plain JPEG of 8 bits, 0 for any other file."""
    at = 2
    if data[:2] != b"\xff\xd8":
        return 0
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            return data[at + 9] if data[at + 4] == 8 and data[at + 9] in (1, 3) else 0
        if marker in _OTHER_FRAMES or marker == _COLOURS:
            return 0
        if marker == _EXIF_OR_XMP and any(word in data[at : at + 2 + length] for word in _TURNS):
            return 0
        at += 2 + length
    return 0


@functools.cache
def _decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """torchvision's operator; None where there is none. Imported late: it takes a second.

    The Python function around it is deprecated (torchvision 0.29) and says so at each call; once the operator is gone too,
    Pillow decodes all, to the same pixels.
    """
    try:
        importlib.import_module("torchvision.io")
        decoder: Callable[[Tensor, int, bool], Tensor] = torch.ops.image.decode_jpeg
    except (ImportError, RuntimeError, AttributeError):
        return None
    return decoder
