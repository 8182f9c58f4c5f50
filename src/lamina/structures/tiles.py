"""Pictures larger than memory in overlapping tiles: which they are, and one map of classes from the scores of all.

blend = TiledMap((height, width), num_classes, tile_px=512, overlap_px=128)
for window in blend.windows:
    blend.add(window, probs_of(picture[:, *window.slices]))
class_map = blend.class_map()
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lamina.core.errors import LaminaError, ShapeError
from lamina.structures.annotation import IGNORED

_AT_ONCE = 1 << 22  # pixels whose classes are decided in one go


class Window(NamedTuple):
    """A rectangle of a picture, in pixels from its top and left edge."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def tile_windows(size: tuple[int, int], tile_px: int, *, overlap_px: int) -> list[Window]:
    """The square tiles that cover a picture of (height, width), row by row, neighbours sharing at least `overlap_px`.

    The last of a row and of a column are shifted inside, so that all have the side `tile_px`, or the picture's where that is
    smaller. Raises LaminaError for an overlap that leaves no way forward, and for empty pictures.
    """
    if min(size) < 1:
        raise LaminaError(
            f"The picture has {size[0]} x {size[1]} pixels (height x width).", "At least 1 was expected.", "Check it."
        )
    if tile_px < 1 or not 0 <= overlap_px < tile_px:
        raise LaminaError(
            f"Tiles of {tile_px} pixels overlap by {overlap_px}.",
            "A tile of 1 pixel or more, and an overlap from 0 to below it, were expected.",
            "Usual is tile_px=512 with overlap_px=128.",
        )
    rows, columns = (_starts(side, tile_px, overlap_px) for side in size)
    height, width = (min(side, tile_px) for side in size)
    return [Window(top, left, height, width) for top in rows for left in columns]


def blend_weights(size: tuple[int, int], overlap_px: int) -> Float[np.ndarray, "H W"]:
    """How much each pixel of a tile of (height, width) counts, above 0 to 1: less near its edges, which see half of what is around.

    The product of sin^2 (pi / 2 (i + 1 / 2) / overlap) over the overlap at each of its sides and 1 between, so that those of two
    tiles that overlap by just as much add up to 1.
    """
    height, width = (_ramp(side, overlap_px) for side in size)
    return (height[:, None] * width).astype(np.float32)


@dataclass
class _Band:
    """Rows that the same tiles cover: the weighted scores so far (K rows W), and how many tiles are still to come."""

    missing: int
    scores: npt.NDArray[np.float32] | None = None


class TiledMap:
    """One map of classes from the scores of overlapping tiles, their weighted mean; only rows that are not finished are in memory.

    `windows` are the tiles. In their order the sums take K x `tile_px` x W floats, and the map H x W bytes; in another order
    the answer is the same, with more rows open. With `confidence`, `confidence_map` is the mean score of each pixel's class, for
    4 bytes a pixel more. Neighbours overlap by a quarter where `overlap_px` is not said. Raises LaminaError for more than 255 classes.
    """

    def __init__(
        self,
        size: tuple[int, int],
        num_classes: int,
        *,
        tile_px: int = 512,
        overlap_px: int | None = None,
        confidence: bool = False,
    ) -> None:
        if not 1 <= num_classes <= IGNORED:
            raise LaminaError(
                f"A map of {num_classes} classes was asked for.",
                f"From 1 to {IGNORED} were expected: a map holds one byte for each pixel.",
                "Gather classes into fewer.",
            )
        overlap_px = tile_px // 4 if overlap_px is None else overlap_px
        self.windows = tile_windows(size, tile_px, overlap_px=overlap_px)
        self.size, self.num_classes = size, num_classes
        first = self.windows[0]
        self._weights = blend_weights((first.height, first.width), overlap_px)
        # a row's weights are those of its tiles' columns times those of their rows: their sum needs no map of its own
        self._whole = [
            _sum_of_ramps(side, {w[axis]: w[axis + 2] for w in self.windows}, overlap_px)
            for axis, side in enumerate(size)
        ]
        cuts = sorted({edge for w in self.windows for edge in (w.top, w.top + w.height)})
        self._bands = {
            (a, b): _Band(sum(w.top <= a and b <= w.top + w.height for w in self.windows))
            for a, b in itertools.pairwise(cuts)
        }
        self._left = set(self.windows)
        self._classes = np.full(size, IGNORED, dtype=np.uint8)
        self._confidence = np.zeros(size, dtype=np.float32) if confidence else None

    def add(self, window: Window, scores: Float[Tensor, "K H W"] | Float[np.ndarray, "K H W"]) -> None:
        """Adds the scores of one tile, probabilities as a rule. Rows that no other tile is missing for are decided.

        Raises ShapeError for scores of another size, LaminaError for a window that is none of `windows`, or came before.
        """
        values: npt.NDArray[Any] = (
            scores.detach().float().cpu().numpy() if isinstance(scores, Tensor) else np.asarray(scores)
        )
        expected = (self.num_classes, window.height, window.width)
        if window not in self._left:
            raise LaminaError(
                f"{window} came.",
                f"One of the {len(self._left):,} tiles that are missing was expected.",
                "Add the scores of each of `windows` once.",
            )
        if values.shape != expected:
            raise ShapeError(
                f"The scores of a tile have shape {values.shape}.",
                f"{expected} was expected: classes, height, width of its window.",
                "Resize the scores to the tile's pixels before they are added.",
            )
        self._left.remove(window)
        weighed = values * self._weights
        columns = window.slices[1]
        for (start, stop), band in list(self._bands.items()):
            if not window.top <= start < window.top + window.height:
                continue
            if band.scores is None:
                band.scores = np.zeros((self.num_classes, stop - start, self.size[1]), dtype=np.float32)
            band.scores[:, :, columns] += weighed[:, start - window.top : stop - window.top]
            band.missing -= 1
            if not band.missing:
                self._decide(start, band.scores)
                del self._bands[start, stop]

    def class_map(self) -> UInt8[np.ndarray, "H W"]:
        """The class of each pixel. Raises LaminaError while tiles are missing."""
        self._require_all()
        return self._classes

    def confidence_map(self) -> Float[np.ndarray, "H W"]:
        """The mean score of each pixel's class. Raises LaminaError while tiles are missing, or where it was not asked for."""
        self._require_all()
        if self._confidence is None:
            raise LaminaError(
                "No confidence was kept.",
                "It takes four bytes a pixel.",
                "Make it with TiledMap(..., confidence=True).",
            )
        return self._confidence

    def _decide(self, start: int, scores: npt.NDArray[np.float32]) -> None:
        """Takes the class of the largest sum, some rows at a time; weights that all share change nothing about it."""
        step = max(1, _AT_ONCE // self.size[1])
        for first in range(0, scores.shape[1], step):
            best = torch.from_numpy(scores[:, first : first + step]).max(dim=0)
            top = start + first
            rows = slice(top, top + len(best.indices))
            self._classes[rows] = best.indices.numpy()
            if self._confidence is not None:
                whole = self._whole[0][rows, None] * self._whole[1]
                self._confidence[rows] = best.values.numpy() / whole

    def _require_all(self) -> None:
        if self._left:
            raise LaminaError(
                f"{len(self._left):,} of {len(self.windows):,} tiles are missing.",
                "The scores of all were expected.",
                "Add those of each of `windows`.",
            )


def _starts(side: int, tile_px: int, overlap_px: int) -> list[int]:
    last = max(side - tile_px, 0)
    return [*range(0, last, tile_px - overlap_px), last]


def _ramp(side: int, overlap_px: int) -> npt.NDArray[np.float64]:
    if not overlap_px:
        return np.ones(side)
    steps = (np.arange(side) + 0.5) / overlap_px
    rise: npt.NDArray[np.float64] = np.sin(np.pi / 2 * steps.clip(max=1)) ** 2
    return rise * rise[::-1]


def _sum_of_ramps(side: int, tiles: dict[int, int], overlap_px: int) -> npt.NDArray[np.float64]:
    """What the weights of all tiles, start and length along one side, add up to there."""
    total = np.zeros(side)
    for start, length in tiles.items():
        total[start : start + length] += _ramp(length, overlap_px)
    return total
