"""One picture file: whether it can be read, what has to be converted, and what it looks like."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.data.checking.report import Level
from lamina.data.pictures import read, to_srgb

SMALL_PX = 64  # up to this side a picture has so little detail that its hash alone says little
SIDE, SIDE_SMALL = 32, 16  # of what is kept of a picture, and of a small one to compare
_TINY_PX, _LONG = 8, 10  # a shorter side below this, sides of more than 1 to this: in doubt
_TURNED = 0x0112  # EXIF's orientation
_LUMA = [0.299, 0.587, 0.114]  # of red, green and blue (ITU-R 601), as Pillow weighs them
_CUT = ("truncat", "requires a buffer", "unexpected end", "end of file", "eof", "not enough", "premature", "incomplete")

_PICTURES = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_OTHERS = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip"),
    (b"\x1f\x8b", "gzip"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"{", "JSON"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched"),
)


@dataclass(slots=True)
class Seen:
    """What one picture turned out to be; `size` (height, width), upright, is None where it cannot be read."""

    faults: list[tuple[Level, str, str]] = field(default_factory=list)
    size: tuple[int, int] | None = None
    content: int = 0  # hash of the file's bytes
    pixels: int = 0  # hash of the pixels that training sees
    grey: npt.NDArray[np.uint8] | None = None  # (32, 32)
    detail: npt.NDArray[np.uint8] | None = None  # (16, 16) of a small picture

    def add(self, level: Level, kind: str, what: str) -> None:
        """Takes one fault."""
        self.faults.append((level, kind, what))


def inspect(path: str, *, looks: bool = True) -> Seen:
    """Reads and decodes one picture file, whole, as training does. Without `looks` nothing is kept to compare it by."""
    seen = Seen()
    try:
        size = archive.time_and_size(path)[1]
        if size == 0:
            seen.add("error", "empty file", "it has no bytes")
            return seen
        if size > archive.LARGEST:
            seen.add("error", "too large", f"it has {size:,} bytes, and no picture has more than {archive.LARGEST:,}")
            return seen
        content = archive.read_bytes(path)
    except FileNotFoundError:
        seen.add("error", "missing", "there is no such file")
        return seen
    except DataError as error:
        seen.add("error", "unreadable", error.came)
        return seen
    except OSError as error:
        seen.add("error", "unreadable", str(error.strerror or error))
        return seen
    if looks:
        seen.content = hash_of(content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            _judge(seen, image, path, looks=looks)
    except Image.DecompressionBombError as error:
        seen.add("error", "decompression bomb", _bomb(content) or str(error))
    except UnidentifiedImageError:
        _name_stranger(seen, content, path)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        cause = error.__cause__ or error
        text = str(cause) or type(cause).__name__
        cut = any(word in text.lower() for word in _CUT)
        seen.add("error", "truncated" if cut else "damaged", f"{len(content):,} bytes; {text}")
    return seen


def seen_in_memory(images: UInt8[Tensor, "N C H W"], *, looks: bool = True) -> list[Seen]:
    """The same of pictures that are decoded already, many at a time."""
    found = [Seen(size=(images.shape[2], images.shape[3])) for _ in images]
    if not looks:
        return found
    weights = torch.tensor(_LUMA if images.shape[1] == 3 else [1 / images.shape[1]] * images.shape[1])
    brightness = (images.float() * weights.view(-1, 1, 1)).sum(1)
    height, width = images.shape[2:]
    greys, details = (
        (_boxes(height, side) @ brightness @ _boxes(width, side).T).round().byte().numpy()
        for side in (SIDE, SIDE_SMALL)
    )
    lows, highs = (values.tolist() for values in torch.aminmax(brightness.flatten(1), dim=1))
    is_small = max(height, width) <= SMALL_PX
    for row, seen in enumerate(found):
        seen.content = seen.pixels = hash_of(images[row].numpy().tobytes())
        seen.grey, seen.detail = greys[row], details[row] if is_small else None
        if lows[row] == highs[row]:
            seen.add("doubt", "blank", f"all its pixels have one brightness, {lows[row]:.0f}")
    return found


@functools.cache
def _boxes(size: int, count: int) -> Float[Tensor, "M N"]:
    """What makes `count` means of `size` values, each of a stretch of the same length; values at its ends count in part."""
    ends = torch.linspace(0, size, count + 1)[:, None].clamp(0, size)
    at = torch.arange(size)[None]
    return ((ends[1:] - at).clamp(0, 1) - (ends[:-1] - at).clamp(0, 1)) * (count / size)


def compare_by(seen: Seen, upright: Image.Image) -> None:
    """Keeps what an upright grey or RGB picture is compared by; names one that is all of one colour."""
    grey = upright if upright.mode == "L" else upright.convert("L")
    low, high = grey.getextrema()
    if low == high:
        seen.add("doubt", "blank", f"all its pixels have one brightness, {low}")
    if seen.pixels == 0:
        seen.pixels = hash_of(upright.tobytes(), repr((upright.mode, upright.size)).encode())
    seen.grey = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    if max(upright.size) <= SMALL_PX:
        seen.detail = np.asarray(grey.resize((SIDE_SMALL, SIDE_SMALL), Image.Resampling.BOX))


def hash_of(content: bytes, beside: bytes = b"") -> int:
    """64 bits of SHA-256, for which processors have instructions, of some bytes."""
    made = hashlib.sha256(content)
    made.update(beside)
    return int.from_bytes(made.digest()[:8], "little")


def _judge(seen: Seen, image: Image.Image, path: str, *, looks: bool) -> None:
    (width, height), mode, kind = image.size, image.mode, image.format or ""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        what = (
            f"{width:,} x {height:,} pixels, more than the {limit:,} that Pillow takes without a warning; not decoded"
        )
        seen.add("doubt", "huge", what)
        seen.size = (height, width)
        return
    found = _conversions(image, path, mode, kind)
    upright = read(image)
    seen.faults.extend(found)
    seen.size = (upright.height, upright.width)
    short, long = sorted(upright.size)
    if short < _TINY_PX:
        seen.add("doubt", "tiny", f"{upright.width} x {upright.height} pixels")
    if long > _LONG * short:
        seen.add("doubt", "extreme shape", f"{upright.width} x {upright.height} pixels, 1 to {long / short:.0f}")
    if looks:
        compare_by(seen, upright)


def _conversions(image: Image.Image, path: str, mode: str, kind: str) -> list[tuple[Level, str, str]]:
    found: list[tuple[str, str]] = []
    ending = os.path.splitext(path)[1].lower()
    usual = _endings().get(ending)
    if usual is not None and kind not in (usual, *_ALIKE.get(usual, ())):
        found.append(("wrong ending", f"it is a {kind}, named {ending}"))
    deep = mode.startswith("I") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if mode == "CMYK":
        found.append(("CMYK", "a printer's four colours become RGB"))
    elif deep:
        found.append(("16 bits", f"{mode}: 16 bits a channel are scaled to 8"))
    elif mode == "F":
        found.append(("floats", "numbers are scaled to 8 bits"))
    elif mode == "1":
        found.append(("bilevel", "one bit a pixel becomes black and white"))
    elif mode not in ("L", "RGB", "P", "PA", "LA", "La", "RGBA", "RGBa"):
        found.append(("other colours", f"{mode} becomes RGB"))
    see_through = mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in image.info
    if mode in ("P", "PA"):
        found.append(
            ("palette", "a palette" + ", with see-through pixels laid over white," * see_through + " becomes RGB")
        )
    elif see_through:
        found.append(("alpha", f"{mode}: what is see-through is laid over white"))
    profile = image.info.get("icc_profile")
    if profile and mode in ("RGB", "RGBA", "CMYK") and to_srgb(profile, mode) is not None:
        found.append(("colour profile", "its colours are brought to sRGB"))
    if kind != "MPO" and getattr(image, "is_animated", False):
        found.append(("animated", f"of the {'pages' if kind == 'TIFF' else 'frames'} only the first is read"))
    turned = image.getexif().get(_TURNED, 1)
    if turned in range(2, 9):
        found.append(("EXIF rotation", f"it is turned upright (orientation {turned})"))
    return [("conversion", name, what) for name, what in found]


_ALIKE = {"JPEG": ("MPO",), "BMP": ("DIB",), "TIFF": ("MPO",), "HEIF": ("AVIF",), "AVIF": ("HEIF",)}


@functools.cache
def _endings() -> dict[str, str]:
    return {**Image.registered_extensions(), ".jfif": "JPEG", ".pnm": "PPM", ".pgm": "PPM", ".pbm": "PPM"}


def _bomb(content: bytes) -> str:
    """How many pixels a file claims that Pillow refuses to open; its header is read as one of the commonest kinds."""
    size = None
    if content.startswith(b"\x89PNG") and len(content) >= 24:
        size = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    elif content.startswith(b"GIF8") and len(content) >= 10:
        size = int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")
    elif content.startswith(b"BM") and len(content) >= 26:
        size = int.from_bytes(content[18:22], "little"), int.from_bytes(content[22:26], "little")
    told = "" if size is None else f"{size[0]:,} x {size[1]:,} = {size[0] * size[1]:,} pixels in "
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    return f"{told}{len(content):,} bytes; Pillow refuses more than {limit:,} pixels; not decoded" if told else ""


def _name_stranger(seen: Seen, content: bytes, path: str) -> None:
    ending = os.path.splitext(path)[1].lower()
    for start, name in _PICTURES:
        if content.startswith(start):
            seen.add("error", "damaged", f"{len(content):,} bytes begin as a {name}, and no header follows")
            return
    seen.add("error", "not a picture", f"it is {_stranger(content)}, named {ending}")


def _stranger(content: bytes) -> str:
    head = content[:512].lstrip(b"\xef\xbb\xbf \r\n\t")
    lower = head.lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page"
    if b"<svg" in lower:
        return "an SVG drawing"
    if lower.startswith(b"<?xml"):
        return "XML"
    if not any(content[:4096]):
        return "nothing but zeros"
    if head[4:8] == b"ftyp":
        known = {b"avif": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}
        name = known.get(head[8:12])
        return f"{name}, which this installation does not read" if name else "a film"
    for start, name in _OTHERS:
        if head.startswith(start):
            return name
    printing = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in head)
    return "a text" if head and printing > 0.95 * len(head) else "no kind of picture that is known"
