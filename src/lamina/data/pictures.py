"""From whatever holds a picture to an upright 8-bit grey or RGB picture, as a person expects to see it.

Turned as their EXIF tag says; colours of another profile (Display P3, Adobe RGB, a printer's CMYK) brought to sRGB; 16 bits
scaled to 8; alpha laid over white; palette, CMYK and bilevel converted; of animations the first frame. HEIC is read where
pillow-heif is installed.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.structures import draw


def _learn_heic() -> bool:
    """Teaches Pillow to read HEIC, the format of iPhones; whether somebody installed what that takes."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


READS_HEIC = _learn_heic()
_ROWS = 256
_CHANNELS = (1, 3, 4)
_ORIENTATION = 0x0112  # EXIF's note of how a picture is to be turned
_LARGE_PROFILE = 1_000_000  # bytes; larger ones are not kept

Picture = Image.Image | str | os.PathLike[str] | npt.NDArray[np.generic] | Tensor


def read(image: Picture) -> Image.Image:
    """The picture in mode "L" or "RGB". Arrays are H W or H W C, tensors H W or C H W; floats lie in 0..1.

    Raises DataError, naming the file, where it is missing, truncated or no picture.
    """
    if isinstance(image, Tensor):
        return _plain(_from_array(_channels_last(image.detach().cpu().numpy(), prefer_first=True)))
    if isinstance(image, np.ndarray):
        return _plain(_from_array(_channels_last(image, prefer_first=False)))
    if isinstance(image, Image.Image):
        return _decoded(image, "The picture")
    if not isinstance(image, str | os.PathLike):
        raise DataError(
            f"A picture came as {type(image).__name__}.",
            "A path, a PIL image, an array (H W C) or a tensor (C H W) was expected.",
            "Open it with PIL.Image.open first.",
        )
    path, place = Path(image), archive.inside(image)
    if not path.is_file() and (place is None or not archive.is_file(path)):
        raise DataError(
            f"{path} is not a file.", "The path of a picture was expected.", "Check the spelling and the folder."
        )
    try:
        return _opened(path if place is None else io.BytesIO(archive.read_bytes(path)), str(path))
    except DataError:
        raise
    except Exception as error:  # of a damaged archive
        raise _unreadable(str(path), error) from error


def read_bytes(content: bytes, name: str) -> Image.Image:
    """As `read`, of the bytes of a file; `name` is what errors call it."""
    return _opened(io.BytesIO(content), name)


@dataclass(frozen=True, eq=False)
class Unread:
    """A picture that is read when somebody asks for its pixels, numpy.asarray(unread): uint8 C H W, as `read` has it."""

    source: Picture

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        array = np.asarray(read(self.source))
        return np.array(array[None] if array.ndim == 2 else array.transpose(2, 0, 1), dtype=dtype)


def shown(source: Any) -> dict[str, Any]:
    """What a result is told of the picture that it is of, `path` or `image`, so that it draws it as `read` reads it."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return {"path": path} if archive.inside(path) is None else {"path": path, "image": Unread(path)}
    return {"image": source if source is None or _is_drawn_as_read(source) else Unread(source)}


def _is_drawn_as_read(source: Any) -> bool:
    """Whether `structures.draw`, which knows nothing of files and scales, sees the same in it."""
    if isinstance(source, Image.Image):
        return source.mode in ("L", "RGB") and source.getexif().get(_ORIENTATION, 1) == 1
    if source.ndim == 2 or not str(source.dtype).endswith("uint8"):
        return source.ndim == 2 and str(source.dtype).endswith("uint8")
    first, last = source.shape[0], source.shape[2]
    is_last = first not in _CHANNELS if isinstance(source, Tensor) else last in _CHANNELS
    return (last if is_last else first) in (1, 3) and draw.channels_last(source.shape) == is_last


def _opened(source: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(source) as opened:
            return _decoded(opened, name)
    except DataError:
        raise
    except (
        Exception
    ) as error:  # Pillow's decoders raise nearly anything on damaged bytes: struct, zlib, Index, Syntax errors
        raise _unreadable(name, error) from error


def _decoded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        return _plain(_in_srgb(ImageOps.exif_transpose(image)))
    except Exception as error:
        raise _unreadable(name, error) from error


def _in_srgb(image: Image.Image) -> Image.Image:
    """The picture with its colours in sRGB, where it brings a profile that says they are others."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    if "transparency" in image.info:  # a colour that is looked up before it changes
        image = image.convert("RGBA")
    known = to_srgb if len(profile) < _LARGE_PROFILE else to_srgb.__wrapped__
    transform = known(profile, image.mode)
    if transform is None:
        return image
    converted: Image.Image | None = ImageCms.applyTransform(image, transform)
    return image if converted is None else converted


@functools.lru_cache(maxsize=32)  # the pictures of one camera share a profile
def to_srgb(profile: bytes, mode: str) -> Any:
    """What brings colours of a profile to sRGB; None where they are in sRGB, or the profile cannot be understood."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, srgb, mode, "RGB" if mode == "CMYK" else mode)
    except (ImageCms.PyCMSError, OSError, ValueError, ImportError):
        return None  # damaged, of other channels than the picture, or Pillow built without LittleCMS: as if it were not there


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} cannot be read ({str(error) or type(error).__name__}).",
        "A complete picture file was expected.",
        "Copy or download it again, or leave it out.",
    )


def _plain(image: Image.Image) -> Image.Image:
    """Mode "L" or "RGB" from any mode."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would cut everything above 255
        return Image.fromarray(_from_16_bits(np.asarray(image)))
    if image.mode == "F":
        values = np.asarray(image)
        return Image.fromarray(_from_floats(values if values.max() <= 1.0 else values / 255.0))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        grey = image.mode in ("1", "L", "LA")
        over = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
        return flat.convert("L" if grey else "RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _channels_last(array: npt.NDArray[np.generic], *, prefer_first: bool) -> npt.NDArray[np.generic]:
    """H W or H W C, from either order; `prefer_first` decides where both could be the channels."""
    if array.size and array.ndim == 2:
        return array
    if array.size and array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        if first and (prefer_first or not last):
            array, last = np.moveaxis(array, 0, 2), True
        if last:
            return array[:, :, 0] if array.shape[2] == 1 else array
    raise DataError(
        f"A picture came as an array of shape {array.shape}.",
        "H W, H W C or C H W with 1, 3 or 4 channels was expected.",
        "Pass one picture at a time, or a list of them.",
    )


def _from_array(array: npt.NDArray[np.generic]) -> Image.Image:
    if array.dtype == np.uint16:
        return Image.fromarray(_from_16_bits(array))
    if array.dtype == np.bool_:
        return Image.fromarray(array.astype(np.uint8) * np.uint8(255))
    low, high = float(array.min()), float(array.max())
    if np.issubdtype(array.dtype, np.floating) and low >= 0.0 and high <= 1.0:
        return Image.fromarray(_from_floats(array))
    if np.issubdtype(array.dtype, np.integer) and low >= 0 and high <= 255:
        return Image.fromarray(np.ascontiguousarray(array.astype(np.uint8)))
    raise DataError(
        f"A picture came as {array.dtype} with values from {low:g} to {high:g}.",
        "Integers in 0..255 or floats in 0..1 were expected.",
        "Convert it: array.astype('uint8') where the values are 0..255.",
    )


def _from_16_bits(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """0..65535 to 0..255: white stays white, and an 8-bit picture stored in 16 bits (v * 257) comes back as it was."""
    return _by_rows(values, lambda some: (np.clip(some, 0, 65535).astype(np.int64) + 128) // 257)


def _from_floats(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return _by_rows(values, lambda some: np.rint(np.clip(some, 0.0, 1.0).astype(np.float64) * 255.0))


def _by_rows(
    values: npt.NDArray[np.generic], change: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]
) -> npt.NDArray[np.uint8]:
    """Some rows at a time: of 50 megapixels the steps between would take more than a gigabyte."""
    changed = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):
        changed[start : start + _ROWS] = change(values[start : start + _ROWS])
    return changed
