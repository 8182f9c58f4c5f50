"""COCO's twelve numbers about detections (Lin 2014, cocodataset.org/#detection-eval), equal to pycocotools'.

Average precision (AP) is the mean over classes, 10 thresholds of the overlap (0.50, 0.55 .. 0.95) and 101 levels of recall (0.00, 0.01
.. 1.00) of the best precision at that recall or a higher one; average recall (AR) the mean over classes and thresholds of
the recall that at most 1, 10 or 100 detections of a class in a picture reach. small: up to 32^2 square pixels, medium: up to 96^2.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from lamina.core.errors import LaminaError, unknown_name
from lamina.metrics.box_rows import Floats, Found, FoundBoxes, TrueBoxes, Truth, class_names, rows_of, usable
from lamina.metrics.box_tables import PrecisionRecall, brief, html_table, mean, text_table
from lamina.metrics.coco_matching import AREAS, Matches, match

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
NUMBERS = (
    *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
    *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
)
_MOST = (1, 10, 100)  # detections of a class in a picture


@dataclass(frozen=True, eq=False)
class CocoScores:
    """All of COCO's numbers: `scores["AP50"]`, `scores.numbers`, `scores.per_class`; print it for a table.

    NaN (pycocotools says -1) is a class or size of which there is no truth; means leave it out. The arrays: `precision` and the
    `scores` that reach it (T R K A: threshold, recall, class, size), `recall` (T K A) with 100 detections, `few_recall` (2 T K) with
    1 and 10. `truths` (K A) and `detections` (K) say how many there are; `degenerate`, how many annotated boxes cover nothing and
    were left out.
    """

    classes: tuple[str, ...]
    precision: Float[np.ndarray, "T R K A"]
    scores: Float[np.ndarray, "T R K A"]
    recall: Float[np.ndarray, "T K A"]
    few_recall: Float[np.ndarray, "2 T K"]
    truths: Int64[np.ndarray, "K A"]
    detections: Int64[np.ndarray, " K"]
    degenerate: int = 0

    @property
    def numbers(self) -> dict[str, float]:
        """The twelve numbers by name, 0 to 1."""
        return {name: mean(self._of(name)) for name in NUMBERS}

    def __getitem__(self, name: str) -> float:
        """One of the twelve."""
        if name not in NUMBERS:
            raise unknown_name("number of COCO's", name, NUMBERS)
        return mean(self._of(name))

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """The twelve numbers of each class by name."""
        columns = {name: self._of(name) for name in NUMBERS}
        return {
            label: {name: mean(values[..., index]) for name, values in columns.items()}
            for index, label in enumerate(self.classes)
        }

    def curve(self, label: str | int, *, overlap: float = 0.5, area: str = "all") -> PrecisionRecall:
        """Of a class by name or number the best precision at each of 101 levels of recall or a higher one, for objects of one size.

        Raises UnknownNameError for a class or size that is none, LaminaError for any but the 10 overlaps 0.5, 0.55 .. 0.95.
        """
        if isinstance(label, str) and label not in self.classes:
            raise unknown_name("class", label, self.classes)
        if area not in AREAS:
            raise unknown_name("size", area, AREAS)
        near = np.flatnonzero(np.isclose(THRESHOLDS, overlap))
        index = self.classes.index(label) if isinstance(label, str) else label
        if not len(near) or not 0 <= index < len(self.classes):
            raise LaminaError(
                f"A curve was asked at an overlap of {overlap} for class {label} of {len(self.classes)}.",
                "One of the overlaps 0.5, 0.55 .. 0.95, and a class that there is, were expected.",
                "Pass for example overlap=0.5.",
            )
        place = (int(near[0]), slice(None), index, list(AREAS).index(area))
        return PrecisionRecall(RECALLS, self.precision[place], self.scores[place])

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: the twelve numbers, those of each class, how many truths and detections; None for NaN."""
        classes = {
            label: {**_plain(told), "truths": int(self.truths[index, 0]), "detections": int(self.detections[index])}
            for index, (label, told) in enumerate(self.per_class.items())
        }
        return {**_plain(self.numbers), "classes": classes, "degenerate": self.degenerate}

    def _of(self, name: str) -> Floats:
        """The values (... K) that a number is the mean of."""
        if name in ("AR1", "AR10"):
            few: Floats = self.few_recall[_MOST.index(int(name[2:]))]
            return few
        kind, rest = name[:2], name[2:]
        values: Floats = self.precision if kind == "AP" else self.recall
        size = list(AREAS).index(rest) if rest in AREAS else 0
        if rest in ("50", "75"):
            level = int(np.argmin(np.abs(THRESHOLDS - int(rest) / 100)))
            values = values[level : level + 1]
        chosen: Floats = values[..., size]
        return chosen

    def _rows(self) -> list[tuple[str, ...]]:
        shown = ("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge", "AR100")
        rows: list[tuple[str, ...]] = [("", *shown, "truths", "found")]
        everything = (f"{int(self.truths[:, 0].sum()):,}", f"{int(self.detections.sum()):,}")
        rows.append(("all", *(brief(self[name]) for name in shown), *everything))
        told = self.per_class
        by_ap = sorted(told, key=lambda label: (np.isnan(told[label]["AP"]), told[label]["AP"]))  # the worst first
        for label in by_ap:
            index = self.classes.index(label)
            if self.truths[index, 0] or self.detections[index]:
                counts = (f"{int(self.truths[index, 0]):,}", f"{int(self.detections[index]):,}")
                rows.append((label, *(brief(told[label][name]) for name in shown), *counts))
        return rows

    def __str__(self) -> str:
        left_out = f"{self.degenerate:,} annotated boxes cover nothing and were left out."
        return text_table(self._rows()) + (f"\n{left_out}" if self.degenerate else "")

    def __repr__(self) -> str:
        return f"CocoScores(AP={self['AP']:.4f}, AP50={self['AP50']:.4f}, {len(self.classes)} classes)"

    def _repr_html_(self) -> str:
        return html_table(self._rows())


def coco_scores(
    truths: TrueBoxes | Sequence[Truth],
    detections: FoundBoxes | Sequence[Found],
    *,
    classes: Sequence[str] = (),
) -> CocoScores:
    """COCO's numbers for detections beside what is annotated: columns of all pictures, or one Annotation and one Detections for each.

    Equal scores come in the order of the pictures. Annotated boxes that cover nothing are left out and counted. `classes` are the
    names of labels; what lies beyond them is a class too, as of a validation set that has more. Raises DataError for different numbers
    of pictures, and for detections that are no numbers.
    """
    told, found = rows_of(truths, detections)
    held, rows = usable(told)
    names = class_names(classes, told.labels, found.labels)
    matches = match(held, found, len(names), thresholds=THRESHOLDS, most=_MOST[-1])
    precision, scores = _precision(matches, len(names))
    recall = np.stack([_recall(matches, len(names), most) for most in _MOST])
    return CocoScores(
        classes=names,
        precision=precision,
        scores=scores,
        recall=recall[-1],
        few_recall=recall[:-1, :, :, 0],
        truths=matches.truths,
        detections=np.bincount(found.labels, minlength=len(names)),
        degenerate=len(told) - len(rows),
    )


def _recall(matches: Matches, classes: int, most: int) -> Floats:
    """The share of the truth that is found by at most so many detections of a class in a picture (T K A)."""
    found = np.zeros((classes, *matches.right.shape[1:]))
    labels = matches.labels[matches.rows]
    if len(labels):
        starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
        right = matches.right & (matches.ranks < most)[:, None, None]
        found[labels[starts]] = np.add.reduceat(right, starts, axis=0, dtype=np.int64)
    counts = matches.truths[:, None, :]
    return np.where(counts > 0, found / np.maximum(counts, 1), np.nan).transpose(1, 0, 2)


def _precision(matches: Matches, classes: int) -> tuple[Floats, Floats]:
    """The best precision at each level of recall or a higher one, and the score that reaches it (T R K A)."""
    thresholds, sizes = matches.right.shape[1:]
    precision = np.zeros((classes, sizes, thresholds, len(RECALLS)))
    scores = np.full_like(precision, np.nan)
    firsts = np.searchsorted(matches.labels, np.arange(classes + 1))
    near_firsts = np.searchsorted(matches.rows, firsts)
    counted = np.concatenate([np.zeros((sizes, 1), np.int64), np.cumsum(matches.in_area, axis=1)], axis=1)
    places = {0: np.zeros(0, np.int64)}
    for label, (start, stop) in enumerate(itertools.pairwise(near_firsts)):
        rows = matches.rows[start:stop]
        for area in range(sizes):
            total = int(matches.truths[label, area])
            if not total:
                precision[label, area] = np.nan
                continue
            if total not in places:  # the first number of finds whose recall is at least the level
                places[total] = np.searchsorted(np.arange(1, total + 1) / total, RECALLS, side="left") + 1
            right, passed = matches.right[start:stop, :, area], matches.passed[start:stop, :, area]
            inside = matches.in_area[area, rows][:, None]
            # Whoever took nothing counts where it is of the size; that holds for most, and is corrected for those near a truth.
            before = counted[area, rows + 1] - counted[area, firsts[label]]
            wrong_by = np.cumsum(right & ~inside, axis=0) - np.cumsum(passed & inside, axis=0)
            finds = np.cumsum(right, axis=0)
            shares = np.where(right, finds / (before[:, None] + wrong_by + np.spacing(1)), 0.0)
            best = np.maximum.accumulate(shares[::-1], axis=0)[::-1]
            for level in range(thresholds):
                row = np.searchsorted(finds[:, level], places[total], side="left")
                reached = row < len(rows)
                precision[label, area, level, reached] = best[row[reached], level]
                scores[label, area, level, reached] = matches.scores[rows[row[reached]]]
    return precision.transpose(2, 3, 0, 1), scores.transpose(2, 3, 0, 1)


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in numbers.items()}
