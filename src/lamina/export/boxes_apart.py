"""Detections (B D 6: x1 y1 x2 y2 score label) of an engine beside those of the network, box by box, in whatever order they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.structures import boxes

_SAME = 0.5  # of a box that another engine found too, the overlap (intersection over union) is at least this
_TIE = 1e-3  # boxes that are hardly more certain than those that are left out may be left out


def apart(wanted: npt.NDArray[Any], came: npt.NDArray[Any], *, least_score: float = 0.0) -> tuple[float, float]:
    """The largest difference of boxes that both found, and the share of boxes that both found.

    Differences are of scores, and of sides as a share of the largest coordinate. Infinite where answers are not finite, or of another
    shape; the share is no number where neither found anything, for then nothing was compared. `least_score` is that below which boxes
    are left out.
    """
    if wanted.shape != came.shape or not np.isfinite(came).all():
        return float("inf"), 0.0
    extent = max(float(np.abs(wanted[..., :4]).max(initial=0)), 1e-12)
    largest, found, same = 0.0, 0, 0
    for mine, theirs in zip(wanted, came, strict=True):
        floor = _floor(mine, theirs, least_score)
        ours, others = mine[mine[:, 5] >= 0].astype(np.float64), theirs[theirs[:, 5] >= 0].astype(np.float64)
        near = boxes.overlap(ours[:, None, :4], others[None, :, :4]) >= _SAME
        near &= ours[:, None, 5] == others[None, :, 5]
        sides = np.abs(ours[:, None, :4] - others[None, :, :4]).max(axis=2, initial=0) / extent
        differences = np.where(near, np.maximum(sides, np.abs(ours[:, None, 4] - others[None, :, 4])), np.inf)
        for told, best in ((ours, differences.min(1, initial=np.inf)), (others, differences.min(0, initial=np.inf))):
            both, counted = np.isfinite(best), told[:, 4] > floor + _TIE
            found, same = found + int((both | counted).sum()), same + int(both.sum())
            largest = max(largest, float(best[both].max(initial=0)))
    return largest, same / found if found else float("nan")


def _floor(mine: npt.NDArray[Any], theirs: npt.NDArray[Any], least_score: float) -> float:
    """The score up to which boxes are left out: where all rows are full, that of the last one."""
    lasts = [rows[:, 4].min() for rows in (mine, theirs) if len(rows) and (rows[:, 5] >= 0).all()]
    return float(max([least_score, *lasts]))
