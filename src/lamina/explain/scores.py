"""How good a classifier is, class by class: precision, recall, F1, and how sure one can be of its accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lamina.explain.answers import as_numpy, checked, named


@dataclass(frozen=True)
class ClassScore:
    """One class: shares from 0 to 1, NaN where there is nothing to divide by; `support` counts its pictures.

    precision: of those called so, how many are; recall: of those that are, how many were called so; f1: harmonic mean.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """A classifier on one data set. `interval` is Wilson's 95 % interval of the accuracy (Wilson 1927)."""

    accuracy: float
    mistakes: int
    count: int
    interval: tuple[float, float]
    classes: tuple[ClassScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs; None where a score does not exist."""
        rows = [
            {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in asdict(row).items()
            }
            for row in self.classes
        ]
        return {**asdict(self), "interval": list(self.interval), "classes": rows}

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.2f} % right: {self.mistakes:,} mistakes in {self.count:,} samples"


def class_scores(counts: Any, *, classes: Sequence[str]) -> Scores:
    """Scores from the counts of a confusion matrix (K, K), rows the truth."""
    counts = as_numpy(counts)
    classes = named(classes, len(counts))
    right, support, called = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    rows = tuple(
        ClassScore(
            name,
            precision=_share(right[k], called[k]),
            recall=_share(right[k], support[k]),
            f1=_share(2 * right[k], support[k] + called[k]),
            support=int(support[k]),
        )
        for k, name in enumerate(classes)
    )
    total, hits = int(counts.sum()), int(right.sum())
    return Scores(_share(hits, total), total - hits, total, wilson_interval(hits, total), rows)


def top_accuracy(probs: Any, labels: Any, *, count: int = 5) -> float:
    """The share of images whose label is among the `count` most probable classes, 0 to 1. probs (N, K), labels (N,)."""
    probs, labels = checked(probs, labels)
    best = np.argpartition(-probs, min(count, probs.shape[1]) - 1, axis=1)[:, :count]
    return float((best == labels[:, None]).any(axis=1).mean())


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), within 0 .. 1 also where all or none are hits."""
    if total == 0:
        return 0.0, 1.0
    z = 1.959964
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
