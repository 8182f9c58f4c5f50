"""From the bytes of a picture file to the pixels that the model takes; what a header says is judged before anything is decoded."""

from __future__ import annotations

import functools
import io
import re

import numpy as np
import numpy.typing as npt
from PIL import Image

from lamina.core.errors import DataError
from lamina.data.preprocess import Preprocess
from lamina.serve.limits import Limits
from lamina.serve.refusals import Refused

# What Pillow reads by itself, in its own process: EPS would start Ghostscript, others are kept by nobody.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")
_ALWAYS_FIRST = ("JPEG", "MPO", "PNG", "GIF", "BMP", "PPM")  # Pillow tries these before all others
_SLOW = ("ppm_plain", "bmp_rle")  # decoders in Python, a hundred times slower than others
_SLOW_BYTES = 1_000_000
_SCANS = 100  # of a JPEG; cameras and programs write some ten. Each goes over all its pixels, and may have no bytes
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # of those that bring their length, and the end (d9)


def pixels(
    content: bytes, name: str, preprocess: Preprocess, limits: Limits
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """The picture (C H W) as `predict` reads it, upright, of animations the first frame; and its own (height, width).

    Raises Refused.
    """
    check(content, name, limits)
    try:
        picture, size = preprocess.from_bytes_sized(content, name)
    except DataError as error:
        raise Refused("unreadable", error.came, error.expected, error.remedy) from None
    return np.asarray(picture.numpy()), size


def check(content: bytes, name: str, limits: Limits) -> None:
    """Raises Refused for a file that is empty, too large, of no known format, or of too many pixels by its header."""
    if not content:
        raise Refused("empty", f"{name} has no bytes.", "A picture file was expected.", "Choose another.")
    if len(content) > limits.picture_bytes:
        raise Refused(
            "picture_too_large",
            f"{name} has {len(content) / 1e6:,.1f} MB.",
            f"A picture has at most {limits.picture_bytes / 1e6:g} MB.",
            "Make it smaller: the model sees it small anyway.",
        )
    try:
        with Image.open(io.BytesIO(content), formats=_readers()) as opened:
            kind, (width, height) = opened.format, opened.size
            slow = [tile[0] for tile in opened.tile[:1] if tile[0] in _SLOW]
        if kind not in _ALWAYS_FIRST:  # what is read later is opened with no list: is it the same thing then?
            with Image.open(io.BytesIO(content)) as opened:
                kind = opened.format
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(f"{name} has too many pixels ({error}).", limits) from None
    except Exception:  # Pillow raises nearly anything on damaged bytes
        raise _unreadable(name, "is no picture of a kind that is taken, or a damaged one") from None
    if kind not in FORMATS:
        raise _unreadable(name, f"is a file of the kind {kind}")
    if width * height > limits.pixels:
        raise _too_many_pixels(f"{name} has {width:,} x {height:,} pixels.", limits)
    if slow and len(content) > _SLOW_BYTES:
        raise _unreadable(name, f"is a {kind} of more than {_SLOW_BYTES / 1e6:g} MB in its slowest form ({slow[0]})")
    if kind in ("JPEG", "MPO") and _scans(content) > _SCANS:
        raise _unreadable(name, f"is a JPEG that goes over its pixels more than {_SCANS} times")


@functools.cache
def _readers() -> list[str]:
    """Those formats that this Pillow has a reader for; MPO is read as JPEG, HEIF where somebody installed it."""
    Image.init()
    return [kind for kind in FORMATS if kind in Image.OPEN]


def _scans(content: bytes) -> int:
    """How often a JPEG goes over its pixels. What stands behind its end, as a phone's short film does, is not looked at."""
    at, scans = 2, 0
    while (found := _MARKER.search(content, at)) is not None and scans <= _SCANS:
        place, marker = found.start(), content[found.start() + 1]
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        at = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return scans


def _too_many_pixels(came: str, limits: Limits) -> Refused:
    return Refused(
        "too_many_pixels", came, f"At most {limits.max_megapixels:g} megapixels are taken.", "Make the picture smaller."
    )


def _unreadable(name: str, what: str) -> Refused:
    return Refused(
        "unreadable",
        f"{name} {what}.",
        f"One of {', '.join(FORMATS)} was expected.",
        "Open it in a viewer, and save it as JPEG or PNG.",
    )
