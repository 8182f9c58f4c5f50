"""How well the probability of a class ranks the pictures that show it before the others: ROC and precision-recall curves.

Each class by itself against the rest, so several labels a picture are as good as one. Fawcett 2006, "An introduction to ROC
analysis"; Davis & Goadrich 2006, "The relationship between precision-recall and ROC curves".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from lamina.core.errors import DataError, ShapeError
from lamina.explain.answers import as_numpy, checked, checked_several, named

# Where curves are looked at to draw and to average them: dense where those of good models bend.
FALSE_ALARMS = np.concatenate([[0.0], np.logspace(-5, 0, 151)])
RECALLS = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class Points:
    """The corners of a curve, and what it encloses. x and y lie in 0..1; `thresholds` are the scores that they belong to."""

    x: Float[np.ndarray, " M"]
    y: Float[np.ndarray, " M"]
    thresholds: Float[np.ndarray, " M"]
    area: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """One class against the rest. `support`: pictures that show it; auc: area under the ROC curve; both areas are 0 to 1.

    They are NaN where no picture shows the class, and the auc also where all do. `hits` are the true positive rates at FALSE_ALARMS,
    `precisions` the precision at RECALLS.
    """

    name: str
    support: int
    auc: float
    average_precision: float
    hits: Float[np.ndarray, " _"]
    precisions: Float[np.ndarray, " _"]


def roc(scores: Any, truth: Any) -> Points:
    """The share of the pictures with the label that is found (y) over the share of the others that is (x), at every threshold.

    scores (N), truth (N, 0 or 1). From (0, 0), threshold infinity, to (1, 1). Equal scores are one step, so the area is the
    share of pairs in the right order, of which equal ones count half (Mann-Whitney); NaN where one of the two kinds is missing.
    """
    return _roc(*_counts(*_pair(scores, truth)))


def precision_recall(scores: Any, truth: Any) -> Points:
    """Precision (y) over recall (x) at every threshold; the area is the average precision, sum of (R_n - R_n-1) P_n.

    scores (N), truth (N, 0 or 1). It begins at recall 0 with the precision of the highest score. NaN where no picture has the label.
    """
    return _precision_recall(*_counts(*_pair(scores, truth)))


def _roc(hits: Int64[np.ndarray, " M"], alarms: Int64[np.ndarray, " M"], thresholds: Float[np.ndarray, " M"]) -> Points:
    with np.errstate(invalid="ignore"):
        x, y = np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1])
    return Points(x, y, np.append(np.inf, thresholds), float(np.trapezoid(y, x)))


def _precision_recall(
    hits: Int64[np.ndarray, " M"], alarms: Int64[np.ndarray, " M"], thresholds: Float[np.ndarray, " M"]
) -> Points:
    with np.errstate(invalid="ignore"):
        recall, precision = hits / hits[-1], hits / (hits + alarms)
    area = float((np.diff(recall, prepend=0) * precision).sum())
    return Points(np.append(0, recall), np.append(precision[0], precision), np.append(np.inf, thresholds), area)


def rankings(probs: Any, labels: Any, *, classes: Sequence[str]) -> tuple[Ranking, ...]:
    """Areas and curves of every class; probs (N K), labels (N), or 0 and 1 (N K)."""
    probs, labels = either(probs, labels)
    return tuple(_ranked(probs, labels, named(classes, probs.shape[1])))


def means(ranked: Sequence[Ranking]) -> Ranking:
    """The mean over the classes that have pictures (macro average): areas, and curves at equal false alarms and equal recalls."""
    there = [one for one in ranked if not math.isnan(one.average_precision)]
    areas = [one.auc for one in there if not math.isnan(one.auc)]
    none = np.full(1, np.nan)
    return Ranking(
        "mean",
        sum(one.support for one in there),
        float(np.mean(areas)) if areas else math.nan,
        float(np.mean([one.average_precision for one in there])) if there else math.nan,
        np.mean([one.hits for one in there], axis=0) if there else none * FALSE_ALARMS,
        np.mean([one.precisions for one in there], axis=0) if there else none * RECALLS,
    )


def either(probs: Any, labels: Any) -> tuple[Float[np.ndarray, "N K"], Int64[np.ndarray, " *S"]]:
    """Probabilities and labels that fit together, of one label a picture (N) or of several (N K)."""
    return checked_several(probs, labels) if np.ndim(as_numpy(labels)) == 2 else checked(probs, labels)


def _ranked(
    probs: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " *S"], classes: Sequence[str]
) -> Iterator[Ranking]:
    for number, name in enumerate(classes):
        truth = labels == number if labels.ndim == 1 else labels[:, number] == 1
        counts = _counts(*_pair(probs[:, number], truth))  # sorted once for both
        found, precise = _roc(*counts), _precision_recall(*counts)
        # The highest point at each false alarm rate, and the first threshold that reaches each recall.
        at = np.searchsorted(found.x, FALSE_ALARMS, side="right") - 1
        reached = np.minimum(np.searchsorted(precise.x, RECALLS - 1e-12, side="left"), len(precise.x) - 1)
        yield Ranking(name, int(truth.sum()), found.area, precise.area, found.y[at], precise.y[reached])


def _counts(
    scores: Float[np.ndarray, " N"], truth: Bool[np.ndarray, " N"]
) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """Hits and false alarms at each threshold, the highest first."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of equal scores
    hits = np.cumsum(truth[order])[last]
    return hits, last + 1 - hits, ranked[last]


def _pair(scores: Any, truth: Any) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    scores, truth = as_numpy(scores), as_numpy(truth)
    if scores.ndim != 1 or scores.shape != truth.shape or not len(scores):
        raise ShapeError(
            f"scores have shape {scores.shape} and truth {truth.shape}.",
            "Both are (N), and at least one score is needed.",
            "Pass one column of the probabilities, and `labels == k`.",
        )
    if not np.isfinite(scores).all():
        raise DataError(
            "Some scores are not finite.",
            "Scores are ranked, so they are numbers.",
            "Training has probably diverged: train again with a lower learning rate.",
        )
    return scores, truth.astype(bool)
