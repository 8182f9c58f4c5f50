"""Pascal VOC's average precision (Everingham 2010, section 4.2): at one overlap, over 11 levels of recall or over all.

Unlike COCO's, a detection is held against the one truth of its class that it overlaps most, of equal ones the first: if another has
found that before, it is wrong, though a second best were free. One whose best is too difficult is neither right nor wrong.

VOC's devkit counts pixels, and takes right - left + 1 for a width. For its very figures add 1 to right and bottom of boxes that
are numbers of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64

from lamina.core.errors import LaminaError, unknown_name
from lamina.metrics.box_rows import (
    Bools,
    Found,
    FoundBoxes,
    Ints,
    TrueBoxes,
    Truth,
    all_pairs,
    class_names,
    rows_of,
    stable_order,
    usable,
)
from lamina.metrics.box_tables import PrecisionRecall, brief, html_table, mean, text_table


@dataclass(frozen=True, eq=False)
class VocScores:
    """The average precision of each class (K), NaN where there is nothing to find; `mean_ap` is its mean. Print it for a table.

    `curves`: precision and recall after each detection of a class, the highest score first. `truths` and `detections` (K) say how many
    there are; `degenerate`, how many annotated boxes cover nothing and were left out.
    """

    classes: tuple[str, ...]
    ap: Float[np.ndarray, " K"]
    curves: tuple[PrecisionRecall, ...]
    truths: Int64[np.ndarray, " K"]
    detections: Int64[np.ndarray, " K"]
    overlap: float
    degenerate: int = 0

    @property
    def mean_ap(self) -> float:
        """The mean over the classes of which there is any truth, 0 to 1."""
        return mean(self.ap)

    def __getitem__(self, label: str) -> float:
        """The average precision of a class."""
        if label not in self.classes:
            raise unknown_name("class", label, self.classes)
        return float(self.ap[self.classes.index(label)])

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs; None for NaN."""
        classes = {
            label: {"AP": None if np.isnan(ap) else float(ap), "truths": int(truths), "detections": int(found)}
            for label, ap, truths, found in zip(self.classes, self.ap, self.truths, self.detections, strict=True)
        }
        mean_ap = None if np.isnan(self.mean_ap) else self.mean_ap
        return {"mean_ap": mean_ap, "overlap": self.overlap, "classes": classes, "degenerate": self.degenerate}

    def _rows(self) -> list[tuple[str, ...]]:
        told = zip(self.classes, self.ap, self.truths, self.detections, strict=True)
        rows = [(label, brief(ap), f"{truths:,}", f"{found:,}") for label, ap, truths, found in told if truths or found]
        everything = ("all", brief(self.mean_ap), f"{self.truths.sum():,}", f"{self.detections.sum():,}")
        return [("", f"AP{self.overlap * 100:.0f}", "truths", "found"), everything, *rows]

    def __str__(self) -> str:
        left_out = f"{self.degenerate:,} annotated boxes cover nothing and were left out."
        return text_table(self._rows()) + (f"\n{left_out}" if self.degenerate else "")

    def __repr__(self) -> str:
        return f"VocScores(mean_ap={self.mean_ap:.4f}, {len(self.classes)} classes)"

    def _repr_html_(self) -> str:
        return html_table(self._rows())


def voc_scores(
    truths: TrueBoxes | Sequence[Truth],
    detections: FoundBoxes | Sequence[Found],
    *,
    points: Literal["all", 11] = "all",
    overlap: float = 0.5,
    classes: Sequence[str] = (),
) -> VocScores:
    """VOC's average precision of each class, 0 to 1; `crowd` of the truth is VOC's difficult.

    `points`: "all", the area below the best precision at each recall or a higher one (VOC 2010 on), or 11, its mean at the recalls
    0, 0.1 .. 1 (VOC 2007). Equal scores come in the order of the pictures. For the rest, and what is raised, see `coco_scores`.
    """
    if points not in ("all", 11):
        raise LaminaError(f"points is {points!r}.", "It is 'all' or 11.", "Pass 11 for VOC 2007's rule.")
    if not 0 < overlap <= 1:
        raise LaminaError(f"overlap is {overlap}.", "Above 0 and at most 1 was expected.", "VOC's is 0.5.")
    told, found = rows_of(truths, detections)
    held, rows = usable(told)
    assert held.crowd is not None
    names = class_names(classes, told.labels, found.labels)
    order = stable_order(found.images)
    order = order[np.argsort(-found.scores[order], kind="stable")]
    order = order[stable_order(found.labels[order])]
    right, passed = _decided(held, found, order, len(names), overlap)
    firsts = np.searchsorted(found.labels[order], np.arange(len(names) + 1))
    truth_counts = np.bincount(held.labels[~held.crowd], minlength=len(names))
    ap, curves = np.full(len(names), np.nan), []
    for label, total in enumerate(truth_counts.tolist()):
        mine = slice(firsts[label], firsts[label + 1])
        counts = ~passed[mine]
        finds = np.cumsum(right[mine][counts], dtype=np.int64)
        precision = finds / np.arange(1, len(finds) + 1)
        recall = finds / total if total else np.full(len(finds), np.nan)
        curves.append(PrecisionRecall(recall, precision, found.scores[order[mine]][counts].astype(np.float64)))
        if total:
            ap[label] = _average(finds, precision, total, points)
    return VocScores(
        classes=names,
        ap=ap,
        curves=tuple(curves),
        truths=truth_counts,
        detections=np.bincount(found.labels, minlength=len(names)),
        overlap=overlap,
        degenerate=len(told) - len(rows),
    )


def _decided(truths: TrueBoxes, found: FoundBoxes, order: Ints, classes: int, overlap: float) -> tuple[Bools, Bools]:
    """Of the detections in this order, the best of each class first: which are right, and which do not count."""
    assert truths.crowd is not None
    groups = truths.images * classes + truths.labels
    by_group = np.argsort(groups, kind="stable")
    mine = found.images[order] * classes + found.labels[order]
    boxes = truths.boxes_xyxy[by_group]
    one, other, shared = all_pairs((mine, found.boxes_xyxy[order]), (groups[by_group], boxes, None), overlap)
    best = np.lexsort((-other, shared, one))  # the largest overlap comes last, of equal ones that with the first truth
    last = np.ones(len(best), np.bool_)
    last[:-1] = one[best][1:] != one[best][:-1]
    one, other = one[best][last], by_group[other[best][last]]
    difficult = truths.crowd[other]
    right, passed = np.zeros(len(order), np.bool_), np.zeros(len(order), np.bool_)
    passed[one[difficult]] = True
    one, other = one[~difficult], other[~difficult]
    _, earliest = np.unique(other, return_index=True)  # `one` ascends: the highest score of all that claim a truth
    right[one[earliest]] = True
    return right, passed


def _average(finds: Ints, precision: Float[np.ndarray, " N"], total: int, points: Literal["all", 11]) -> float:
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if points == "all":
        gains = np.diff(finds, prepend=0)
        return float((best * gains).sum() / total)
    row = np.searchsorted(10 * finds, np.arange(11) * total)  # in whole numbers: 3 of 10 is a recall of 0.3
    return float(best[row[row < len(best)]].sum() / 11)
