"""Which class is taken for which: the confusion matrix, rows the truth and columns the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from matplotlib.figure import Figure

from lamina.core.errors import ShapeError
from lamina.explain.answers import as_numpy, checked, named

NUMBERED_CLASSES = 20  # up to here the counts can be read in the cells,
LABELLED_CLASSES = 40  # and up to here the names on the axes


@dataclass(frozen=True)
class Confusion:
    """How many pictures of class `truth` were taken for class `predicted`, and which share of that class they are."""

    truth: int
    predicted: int
    count: int
    share: float


def confusion_matrix(probs: Any, labels: Any) -> Int64[np.ndarray, "K K"]:
    """Counts: entry [i, j] is how many images of class i were taken for class j. probs (N, K), labels (N,)."""
    probs, labels = checked(probs, labels)
    num_classes = probs.shape[1]
    pairs = labels * num_classes + probs.argmax(axis=1)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def most_confused(counts: Any, *, limit: int = 10) -> tuple[Confusion, ...]:
    """The pairs of classes that are confused most often, by count; pairs that never are confused are left out."""
    counts = _square(counts)
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    flat = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    support = counts.sum(axis=1)
    pairs = [(int(place) // len(counts), int(place) % len(counts)) for place in flat]
    return tuple(
        Confusion(truth, predicted, int(wrong[truth, predicted]), float(wrong[truth, predicted] / support[truth]))
        for truth, predicted in pairs
        if wrong[truth, predicted] > 0
    )


def shading(counts: Any) -> Float[np.ndarray, "K K"]:
    """How strongly to shade each cell, 0 to 1: the root of its share of its row, beside the worst mistake's.

    The diagonal stands apart (its own share): on one scale with it the mistakes of a good model would all be white.
    """
    counts = _square(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)
    worst = shares[~diagonal].max(initial=0.0)
    mistakes = np.sqrt(shares / worst) if worst > 0 else np.zeros_like(shares)
    return np.asarray(np.where(diagonal, shares, mistakes))


def confusion_figure(counts: Any, *, classes: Sequence[str]) -> Figure:
    """The matrix as a picture: mistakes in orange, what is right in grey. Counts and names where they can be read."""
    counts = _square(counts)
    classes = named(classes, len(counts))
    shades, diagonal = shading(counts), np.eye(len(counts), dtype=bool)
    side = min(max(0.45 * len(counts), 3.0), 9.0)
    figure = Figure(figsize=(side + 1.2, side + 1.0), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(np.ma.array(shades, mask=~diagonal), cmap="Greys", vmin=0, vmax=3, interpolation="nearest")
    axes.imshow(
        np.ma.array(shades, mask=diagonal | (counts == 0)), cmap="Oranges", vmin=0, vmax=1.4, interpolation="nearest"
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(counts) <= LABELLED_CLASSES:
        upright = len(counts) <= 12 and max(map(len, classes)) <= 3
        places, rotation = range(len(classes)), 0 if upright else 90
        axes.set_xticks(places, classes, rotation=rotation, fontsize=8, parse_math=False)
        axes.set_yticks(places, classes, fontsize=8, parse_math=False)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if len(counts) <= NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color="#1c1b19")
    return figure


def _square(counts: Any) -> Int64[np.ndarray, "K K"]:
    matrix = as_numpy(counts)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ShapeError(
            f"The confusion matrix has shape {matrix.shape}.",
            "It has a row and a column for each class.",
            "Pass what `explain.confusion_matrix(probs, labels)` gives.",
        )
    return np.asarray(matrix)
