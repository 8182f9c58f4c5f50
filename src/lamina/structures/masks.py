"""Masks from outlines and runs, and back, pixel for pixel as COCO's own tools draw them (cocodataset.org/#format-data).

An outline is [x0, y0, x1, y1, ...] in pixels from the left and top edge; an object has one or several, and its mask is all that lies
in any. Runs (RLE) are {"size": [H, W], "counts": ...}: how many pixels are outside, inside, outside ... in turn, down the
columns from the left; `counts` is a list, or a text in which each number is its difference to the one two before it, in digits
of 5 bits, lowest first, as characters from "0" on, with bit 6 where more follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.core.errors import DataError

Mask = npt.NDArray[np.bool_]
_FINE = 5  # COCO rounds corners to a fifth of a pixel, and follows outlines from one such point to the next
_LONGEST = 1 << 24  # such points: an outline around the largest of pictures has a hundredth of them
_LARGEST = 1 << 30  # pixels
_DIGITS = 7  # of 5 bits: counts below 2 ** 34


def draw_shape(shape: Any, size: tuple[int, int]) -> Mask:
    """The mask (H W) of an object as COCO describes it: a list of outlines, or runs; nothing for None and for an empty list.

    Raises DataError where it is neither, or the runs are of another size.
    """
    if not shape:
        return np.zeros(size, dtype=np.bool_)
    if isinstance(shape, Mapping):
        return decode_runs(shape, size)
    if isinstance(shape, list):
        return draw_polygons(shape, size)
    raise DataError(
        f"The outline of an object is {_brief(shape)}.",
        "A list of outlines [x0, y0, x1, y1, ...], or runs {'size': [H, W], 'counts': ...}, was expected.",
        "Correct the annotation, or leave it out.",
    )


def draw_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    """The mask (H W) of all that lies in any of some outlines. Those of fewer than three corners hold nothing.

    Raises DataError for an odd number of coordinates, for such as are no finite numbers, and for endless outlines.
    """
    mask = np.zeros(size, dtype=np.bool_)
    for polygon in polygons:
        try:
            corners = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError):
            corners = np.full(1, np.nan)
        if corners.ndim != 1 or len(corners) % 2 or not np.isfinite(corners).all():
            raise DataError(
                f"An outline is {_brief(polygon)}.",
                "Pairs of numbers, [x0, y0, x1, y1, ...], were expected.",
                "Correct the annotation, or leave it out.",
            )
        if len(corners) >= 6:
            mask |= _drawn(corners.reshape(-1, 2), size)
    return mask


def decode_runs(runs: Mapping[str, Any], size: tuple[int, int] | None = None) -> Mask:
    """The mask (H W) of runs. Raises DataError where they do not fill their size, or that is another than `size`."""
    try:
        height, width = (int(side) for side in runs["size"])
        counts = runs["counts"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _bad_runs(f"Runs came as {_brief(runs)}.") from error
    if size is not None and (height, width) != tuple(size):
        raise DataError(
            f"A mask of {height} x {width} pixels (height x width) belongs to a picture of {size[0]} x {size[1]}.",
            "Both were expected to be of one size.",
            "Take the pictures that were annotated: these may have been turned or scaled since.",
        )
    if height < 0 or width < 0 or height * width > _LARGEST:
        raise _bad_runs(f"Runs say that their size is {height} x {width}.")
    lengths = _unpacked(counts) if isinstance(counts, str | bytes) else _listed(counts)
    # none is larger than the mask, so that their sum does not overflow
    if len(lengths) > height * width * 2 + 2 or ((lengths < 0) | (lengths > height * width)).any():
        raise _bad_runs(f"Runs of {_brief(lengths.tolist())} pixels came for a mask of {height} x {width}.")
    if (total := int(lengths.sum())) != height * width:
        raise _bad_runs(
            f"Runs of {total:,} pixels in all came for a mask of {height} x {width}, which has {height * width:,}."
        )
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def encode_runs(mask: Mask, *, compressed: bool = True) -> dict[str, Any]:
    """The runs {"size": [H, W], "counts": ...} of a mask (H W), as a text or as a list of numbers."""
    columns = np.ascontiguousarray(np.asarray(mask, dtype=np.bool_).T).ravel()
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    starts = np.concatenate([[0] if len(columns) and columns[0] else [], [0], changes, [len(columns)]])
    lengths = np.diff(starts).astype(np.int64)
    return {"size": list(mask.shape), "counts": _packed(lengths) if compressed else lengths.tolist()}


def mask_area_px(mask: Mask) -> int:
    """How many pixels a mask (H W) covers."""
    return int(np.count_nonzero(mask))


def mask_box_xyxy(mask: Mask) -> tuple[int, int, int, int]:
    """The smallest box around a mask (H W), in pixels: left, top, right, bottom; all zero around nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _drawn(corners: npt.NDArray[np.float64], size: tuple[int, int]) -> Mask:
    """What one outline holds. Down each column of pixels, its middle enters or leaves where the outline crosses it."""
    height, width = size
    if np.abs(corners).max() * _FINE > _LONGEST:
        raise _endless()
    begin: npt.NDArray[np.int64] = np.trunc(corners * _FINE + 0.5).astype(np.int64)
    end = np.roll(begin, -1, axis=0)
    spans = np.abs(end - begin)
    flat = spans[:, 0] >= spans[:, 1]
    backwards = np.where(flat, begin[:, 0] > end[:, 0], begin[:, 1] > end[:, 1])[:, None]
    low, high = np.where(backwards, end, begin), np.where(backwards, begin, end)
    steps = spans.max(axis=1)
    if int(steps.sum()) > _LONGEST:
        raise _endless()
    edges = np.repeat(np.arange(len(steps)), steps + 1)
    along = np.arange(len(edges)) - np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
    numbers, axis, grown = np.arange(len(steps)), np.where(flat, 0, 1), high - low
    slope = grown[numbers, 1 - axis] / np.maximum(steps, 1)
    start = low[numbers, 1 - axis]
    across = np.trunc(start[edges] + slope[edges] * along + 0.5).astype(np.int64)
    straight = low[numbers, axis][edges] + along
    x, y = np.where(flat[edges], straight, across), np.where(flat[edges], across, straight)
    crosses = (x[1:] != x[:-1]) & (edges[1:] == edges[:-1])
    left, top = np.minimum(x[1:], x[:-1])[crosses], np.minimum(y[1:], y[:-1])[crosses]
    column = (left - _FINE // 2) // _FINE
    middle = (left % _FINE == _FINE // 2) & (column >= 0) & (column < width)
    row = np.ceil((np.clip(top[middle] + 0.5, 0.0, None)) / _FINE - 0.5).astype(np.int64).clip(0, height)
    mask = np.zeros(size, dtype=np.bool_)
    if not len(row):
        return mask
    column = column[middle]
    x0, y0 = int(column.min()), int(row.min())
    shape = int(column.max()) + 1 - x0, int(row.max()) + 1 - y0
    toggles = np.bincount((column - x0) * shape[1] + row - y0, minlength=shape[0] * shape[1])
    # what overflows 8 bits keeps its parity
    inside = np.cumsum(toggles.astype(np.uint8).reshape(shape), axis=1, dtype=np.uint8) & 1
    mask[y0 : y0 + shape[1], x0 : x0 + shape[0]] = inside.T[: height - y0]
    return mask


def _unpacked(text: str | bytes) -> npt.NDArray[np.int64]:
    """The lengths in a compressed text."""
    try:
        content = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise _bad_runs(f"Compressed runs are {_brief(text)}.") from error
    digits = np.frombuffer(content, dtype=np.uint8).astype(np.int64) - 48
    if not len(digits):
        return digits
    if digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise _bad_runs(f"Compressed runs are {_brief(text)}.")
    last = np.flatnonzero(digits & 32 == 0)
    starts = np.concatenate([[0], last[:-1] + 1])
    places = np.arange(len(digits)) - np.repeat(starts, last - starts + 1)
    if places.max() >= _DIGITS:
        raise _bad_runs(f"Compressed runs are {_brief(text)}, with a number of {int(places.max()) + 1} digits.")
    numbers = np.add.reduceat((digits & 31) << (5 * places), starts)
    numbers -= np.where(digits[last] & 16, np.int64(1) << (5 * (places[last] + 1)), 0)  # the highest bit is the sign
    for first in (1, 2):  # from the fourth number on, each is told as its difference to the one two before
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def _packed(lengths: npt.NDArray[np.int64]) -> str:
    left = lengths.copy()
    left[3:] -= lengths[1:-2]
    digits = np.full((len(left), _DIGITS), -1, dtype=np.int64)
    more = np.ones(len(left), dtype=np.bool_)
    for place in range(_DIGITS):
        digit = left & 31
        left >>= 5
        follows = more & ~np.where(digit & 16, left == -1, left == 0)
        digits[more, place] = (digit + 48 + 32 * follows)[more]
        more = follows
    return digits[digits >= 0].astype(np.uint8).tobytes().decode("ascii")


def _listed(counts: Any) -> npt.NDArray[np.int64]:
    try:
        lengths = np.asarray(counts)
        if lengths.ndim != 1 or (len(lengths) and lengths.dtype.kind not in "iuf"):
            raise ValueError
        if not (np.abs(lengths) <= _LARGEST).all() or (lengths != np.trunc(lengths)).any():
            raise ValueError
        return lengths.astype(np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad_runs(f"Runs are {_brief(counts)}.") from error


def _bad_runs(came: str) -> DataError:
    return DataError(
        came,
        "Runs {'size': [H, W], 'counts': ...} that fill their size exactly were expected.",
        "Correct the annotation, or leave it out.",
    )


def _endless() -> DataError:
    return DataError(
        f"An outline is more than {_LONGEST // _FINE:,} pixels long.",
        "Corners in or near the picture were expected.",
        "Correct the annotation, or leave it out.",
    )


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
