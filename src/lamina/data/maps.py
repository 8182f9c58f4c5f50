"""Maps of classes in picture files: what is stored in each pixel, and the class that it stands for.

Masks must not be read as pictures are: palettes hold classes and not colours, and 16 bits are no brightness.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.data.columns import Size

Values = npt.NDArray[np.int32]  # H W: what is stored in each pixel, or its colour as red * 65536 + green * 256 + blue
UNKNOWN = -1  # in a table of classes: a value that stands for none
_COLOURS = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def stored(path: str, size: Size | None = None) -> tuple[Values, bool]:
    """(values H W, whether they are colours). Palettes give their indices; colours that are all grey are grey values.

    Raises DataError for a file that cannot be read, or of another size than its picture's (height, width).
    """
    try:
        with Image.open(io.BytesIO(archive.read_bytes(path))) as image:
            colours = image.mode in _COLOURS
            if image.mode == "LA":
                image = image.getchannel(0)  # type: ignore[assignment]
            pixels = np.asarray(image.convert("RGB") if colours else image).astype(np.int32)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise DataError(
            f"The mask {path} cannot be read ({str(error) or type(error).__name__}).",
            "A complete picture file was expected.",
            "Copy or make it again.",
        ) from error
    if size is not None and pixels.shape[:2] != tuple(size):
        raise DataError(
            f"The mask {path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, and its picture {size[1]} x {size[0]}.",
            "Both have the same size.",
            "Resize the mask by nearest neighbour, so that no values are mixed.",
        )
    if colours:
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        if (red == green).all() and (green == blue).all():
            return red, False
        return red << 16 | green << 8 | blue, True
    return pixels, False


class ClassMap:
    """Reads maps of classes: `values` (M, ascending) that may be stored, and the class that each stands for, or IGNORED.

    `colours`: the values are colours, as `stored` gives them. Values that are not in the list are a DataError at the sample.
    `threshold`: above it is class 1, the rest 0, whatever is stored (JPEG smears what was 0 and 255).
    """

    def __init__(
        self,
        values: npt.ArrayLike = (),
        classes: npt.ArrayLike = (),
        *,
        colours: bool = False,
        threshold: int | None = None,
    ) -> None:
        order = np.argsort(np.asarray(values, dtype=np.int32), kind="stable")
        self.values = np.asarray(values, dtype=np.int32)[order]
        self.classes = np.asarray(classes, dtype=np.uint8)[order]
        self.colours, self.threshold = colours, threshold

    def __call__(self, path: str, size: Size) -> UInt8[Tensor, "H W"]:
        """The map in a file, of the picture's (height, width)."""
        found, colours = stored(path, size)
        if self.threshold is not None:
            return torch.from_numpy((found > self.threshold).astype(np.uint8))
        if self.colours and not colours:  # all grey: black and white are colours too
            found = found * 0x010101
        elif colours and not self.colours:
            raise self._strange(path, "colours")
        if len(self.values) and found.min() >= 0 and self.values[-1] <= 0xFFFF and found.max() <= 0xFFFF:
            table = np.full(0x10000, UNKNOWN, dtype=np.int16)
            table[self.values] = self.classes
            classes = table[found]
        else:
            places = np.searchsorted(self.values, found).clip(max=len(self.values) - 1)
            classes = np.where(self.values[places] == found, self.classes[places].astype(np.int16), UNKNOWN)
        if (classes == UNKNOWN).any():
            wrong = int(found[classes == UNKNOWN][0])
            raise self._strange(path, f"the colour #{wrong:06x}" if self.colours else f"the value {wrong}")
        return torch.from_numpy(classes.astype(np.uint8))

    def _strange(self, path: str, what: str) -> DataError:
        known = [f"#{value:06x}" if self.colours else str(value) for value in self.values[:12].tolist()]
        more = f" and {len(self.values) - 12:,} more" if len(self.values) > 12 else ""
        return DataError(
            f"The mask {path} holds {what}.",
            f"The classes are {', '.join(known)}{more}.",
            "Mend the mask, or name all classes in classes.txt, one a line: with colours 'name red green blue'.",
        )
