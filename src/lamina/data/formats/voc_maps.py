"""The masks of Pascal VOC: pictures whose palette index, or colour, is a class or the number of an object; 255 is ignored."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.columns import Size
from lamina.data.maps import stored
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED

Colour = tuple[int, int, int]


class PaletteMap:
    """Reads a map (H W, uint8) of `count` values, stored as they are or in `colours`; without these in VOC's palette.

    At a sample, DataError for values and colours beyond these, and for a map of another size than its picture.
    """

    def __init__(self, count: int = 256, colours: Sequence[Colour] = ()) -> None:
        known = [*(colours or map(colour_of, range(count))), colour_of(IGNORED)]
        codes = np.array([red << 16 | green << 8 | blue for red, green, blue in known], dtype=np.int32)
        values = np.array([*range(len(known) - 1), IGNORED], dtype=np.uint8)
        self.count = count
        self._codes, first = np.unique(codes, return_index=True)
        self._values = values[first]

    def __call__(self, path: str, size: Size) -> Tensor:
        """The map in a file, of the picture's (height, width)."""
        found, coloured = stored(path, size)
        beyond = (found >= self.count) & (found != IGNORED)
        if not coloured and not beyond.any():
            return torch.from_numpy(found.astype(np.uint8))
        codes = found if coloured else found * 0x010101  # colours that are all grey
        places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        strange = self._codes[places] != codes
        if strange.any():
            value = int(found[strange][0])
            raise DataError(
                f"The mask {path} holds {f'the colour #{value:06x}' if coloured else f'the value {value}'}.",
                f"Values 0..{self.count - 1}, {IGNORED} (ignored), or the colours of these, were expected.",
                "Mend the mask, or name every class in labelmap.txt, as name:red,green,blue:: on a line.",
            )
        return torch.from_numpy(self._values[places])


def colour_of(value: int) -> Colour:
    """The colour of a value in VOC's palette: its bits are dealt to red, green and blue in turn, each from the highest on."""
    channels = [sum(((value >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
    return channels[0], channels[1], channels[2]


def labelmap(tree: Tree) -> tuple[tuple[str, ...], tuple[Colour, ...]] | None:
    """(names, colours) of the classes that labelmap.txt tells, "name:r,g,b:parts:actions" a line; None where there is none."""
    found = next((name for name in tree.names if name.rpartition("/")[2] == "labelmap.txt"), None)
    if found is None:
        return None
    names, colours = [], []
    for line, text in tree.lines(found):
        if text.startswith("#"):
            continue
        fits = re.fullmatch(r"(.+?):(\d+),(\d+),(\d+):[^:]*:[^:]*", text)
        if fits is None or max(int(fits[place]) for place in (2, 3, 4)) > 255:
            raise DataError(
                f"{tree.path(found)}, line {line}: {text!r}.",
                "name:red,green,blue:parts:actions was expected, such as cat:64,0,0::.",
                "Mend that line, or export the data set again.",
            )
        names.append(fits[1])
        colours.append((int(fits[2]), int(fits[3]), int(fits[4])))
    return tuple(names), tuple(colours)
