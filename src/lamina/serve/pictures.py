"""From the bytes of a picture file to the pixels that the model takes; what a header says is judged before anything is decoded."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lamina.core.errors import DataError
from lamina.data.preprocess import Preprocess
from lamina.serve.limits import Limits
from lamina.serve.refusals import Refused

# What Pillow reads by itself, in its own process: EPS would start Ghostscript, others are kept by nobody.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")


def pixels(content: bytes, name: str, preprocess: Preprocess, limits: Limits) -> npt.NDArray[np.uint8]:
    """The picture (C H W) as `predict` reads it: upright, of animations the first frame. Raises Refused."""
    check(content, name, limits)
    try:
        picture: Any = preprocess.from_bytes(content, name).permute(2, 0, 1).contiguous().numpy()
    except DataError as error:
        raise Refused("unreadable", error.came, error.expected, error.remedy) from None
    return np.asarray(picture)


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
        with Image.open(io.BytesIO(content)) as opened:
            kind, (width, height) = opened.format, opened.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(f"{name} has too many pixels ({error}).", limits) from None
    except Exception:  # Pillow raises nearly anything on damaged bytes
        raise _unreadable(name, "is no picture, or a damaged one") from None
    if kind not in FORMATS:
        raise _unreadable(name, f"is a file of the kind {kind}")
    if width * height > limits.pixels:
        raise _too_many_pixels(f"{name} has {width:,} x {height:,} pixels.", limits)


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
