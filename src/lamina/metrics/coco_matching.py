"""Which detections COCO holds for right, at all thresholds and sizes at once (Lin 2014; pycocotools' rules to the letter).

In each picture and class the detections come in the order of their scores, `most` of them at most. Each takes the free truth that it
overlaps most, of at least the threshold; of equal ones the last; one that counts before one that does not. Crowds do not count and can
be taken again and again, and what is of another size than asked does not count either. Who took what does not count, and who took
nothing and is of another size, is neither right nor wrong.

All pictures advance together: round r decides for the r-th detection of each group that comes near to a truth at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.metrics.box_rows import Bools, Floats, FoundBoxes, Ints, TrueBoxes, all_pairs, stable_order
from lamina.structures import boxes

AREAS: dict[str, tuple[float, float]] = {  # in square pixels, both ends belong to them
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
_COUNTS = 1 << 30  # added to the place of a truth that counts: goes before all that do not


@dataclass(frozen=True, eq=False)
class Matches:
    """All classes' detections one after another, within a class the highest score first, N; C of them come near to a truth.

    `order` are their rows in what came; `labels`, `scores`, `in_area` (A N) tell of all N. Of the C: their `rows` among the N,
    their `ranks` in picture and class, whether they are `right` (C T A), and whether they have taken what does not count, `passed` (C T A).
    `truths` (K A) are those that count; of all M objects `taken` tells which are taken (M T A).
    """

    order: Ints
    labels: Ints
    scores: npt.NDArray[np.floating[Any]]
    in_area: Bools
    rows: Ints
    ranks: Ints
    right: Bools
    passed: Bools
    truths: Ints
    taken: Bools


def match(truths: TrueBoxes, found: FoundBoxes, classes: int, *, thresholds: Floats, most: int) -> Matches:
    """Decides for all detections, at T thresholds of the overlap and in the A ranges of AREAS."""
    assert truths.crowd is not None
    assert truths.area_px is not None
    lows, highs = np.array(list(AREAS.values())).T
    grouped, ranks = _by_group(found)
    kept = ranks < most
    grouped, ranks = grouped[kept], ranks[kept]
    labels, images = found.labels[grouped], found.images[grouped]
    scores = found.scores[grouped]
    by_class = np.argsort(-scores, kind="stable")  # equal scores in the order of the pictures
    by_class = by_class[stable_order(labels[by_class])]
    place = np.empty_like(by_class)
    place[by_class] = np.arange(len(by_class))

    by_truth = stable_order(truths.labels)
    by_truth = by_truth[stable_order(truths.images[by_truth])]
    crowd, areas = truths.crowd[by_truth], truths.area_px[by_truth]
    true_groups = truths.images[by_truth] * classes + truths.labels[by_truth]
    passes = crowd[:, None] | (areas[:, None] < lows) | (areas[:, None] > highs)
    counted = np.zeros((classes, len(AREAS)), np.int64)
    np.add.at(counted, truths.labels[by_truth], ~passes)

    corners = found.boxes_xyxy[grouped]
    levels = np.minimum(thresholds, 1 - 1e-10)
    groups = images * classes + labels
    one, other, shared = all_pairs(
        (groups, corners), (true_groups, truths.boxes_xyxy[by_truth], crowd), float(levels.min())
    )
    near, right, passed, taken = _taken(groups, one, other, shared, levels=levels, crowd=crowd, passes=passes)
    own = boxes.area_px(corners)[by_class]
    order = np.argsort(place[near])
    taken[by_truth] = taken.copy()
    return Matches(
        order=grouped[by_class],
        labels=labels[by_class],
        scores=scores[by_class],
        in_area=(own >= lows[:, None]) & (own <= highs[:, None]),
        rows=place[near][order],
        ranks=ranks[near][order],
        right=right[order],
        passed=passed[order],
        truths=counted,
        taken=taken,
    )


def _by_group(found: FoundBoxes) -> tuple[Ints, Ints]:
    """What sorts detections by picture, class and falling score, and the rank of each of these in its picture and class."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[stable_order(found.labels[order])]
    order = order[stable_order(found.images[order])]
    images, labels = found.images[order], found.labels[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (images[1:] != images[:-1]) | (labels[1:] != labels[:-1])
    return order, np.arange(len(order)) - np.flatnonzero(starts)[np.cumsum(starts) - 1]


def _taken(
    groups: Ints, one: Ints, other: Ints, shared: Floats, *, levels: Floats, crowd: Bools, passes: Bools
) -> tuple[Ints, Bools, Bools, Bools]:
    """The detections that are in a pair; whether each is right, or has taken what does not count (C T A); the truth taken (M T A)."""
    sizes = len(levels), passes.shape[1]
    first = np.ones(len(one), np.bool_)
    first[1:] = one[1:] != one[:-1]
    near = one[first]
    number = np.cumsum(first) - 1  # of the detection, 0 .. C-1
    new = np.ones(len(near), np.bool_)
    new[1:] = groups[near[1:]] != groups[near[:-1]]
    turns = np.arange(len(near)) - np.flatnonzero(new)[np.cumsum(new) - 1] if len(near) else near
    right, passed = np.zeros((len(near), *sizes), np.bool_), np.zeros((len(near), *sizes), np.bool_)
    taken = np.zeros((len(crowd), *sizes), np.bool_)
    worths = np.where(passes, 0, _COUNTS).astype(np.int32)
    # by turn, detection and overlap: of those that may be taken the last is the best
    order = np.lexsort((shared, number, turns[number]))
    one, other, shared = number[order], other[order], shared[order]
    ends = np.cumsum(np.bincount(turns[one])) if len(one) else np.zeros(0, np.int64)
    begin = 0
    for end in ends.tolist():
        who, what, much = one[begin:end], other[begin:end], shared[begin:end]
        may = (much[:, None] >= levels)[:, :, None] & ~(taken[what] & ~crowd[what, None, None])
        worth = worths[what][:, None, :] + np.arange(len(what), dtype=np.int32)[:, None, None]
        worth = np.where(may, worth, np.int32(-1))
        starts = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
        best = np.maximum.reduceat(worth, starts, axis=0)
        who = who[starts]
        right[who] = best >= _COUNTS
        passed[who] = (best >= 0) & (best < _COUNTS)
        row, level, area = np.nonzero(best >= 0)
        taken[what[best[row, level, area] & (_COUNTS - 1)], level, area] = True
        begin = end
    return near, right, passed, taken
