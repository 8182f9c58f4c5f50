"""The pictures that a model got wrong, the most confident mistakes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lamina.core.errors import DataError
from lamina.explain.answers import as_numpy, checked
from lamina.structures import draw

# Readable without colour too: the prediction is light on dark, the truth dark on light.
_PREDICTED: dict[str, Any] = {
    "color": "white",
    "bbox": {"facecolor": "#b4430f", "edgecolor": "none", "boxstyle": "square,pad=0.25"},
}
_TRUTH: dict[str, Any] = {
    "color": "#16324f",
    "bbox": {"facecolor": "#e3eef9", "edgecolor": "none", "boxstyle": "square,pad=0.25"},
}


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: which image, the class it was taken for, its true class, and the probability of the former."""

    index: int
    predicted: int
    truth: int
    confidence: float


def find_mistakes(probs: Any, labels: Any, *, limit: int | None = None) -> tuple[Mistake, ...]:
    """The images whose most probable class is not their label, most confident first, `limit` of them at most.

    probs (N, K), labels (N,); arrays or tensors.
    """
    probs, labels = checked(probs, labels)
    predicted = probs.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    confidence = probs[wrong, predicted[wrong]]
    ranked = wrong[np.argsort(-confidence, kind="stable")][:limit]
    return tuple(Mistake(int(i), int(predicted[i]), int(labels[i]), float(probs[i, predicted[i]])) for i in ranked)


def mistakes_figure(
    images: Any, mistakes: Sequence[Mistake], *, classes: Sequence[str], columns: int | None = None
) -> Figure:
    """A grid of the pictures: the predicted class at the upper left of each, the true class at the lower right.

    images (N, C, H, W) uint8, the whole data set; every mistake given is drawn, in its order.
    """
    images = as_numpy(images)
    for mistake in mistakes:
        if not 0 <= mistake.index < len(images):
            raise DataError(
                f"A mistake was made on image {mistake.index}, but {len(images)} images came.",
                "The images are those of the whole data set.",
                "Pass `data.images`.",
            )
    columns = columns or min(max(len(mistakes), 1), 10)
    rows = max(-(-len(mistakes) // columns), 1)
    figure = Figure(figsize=(1.1 * columns, 1.1 * rows))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.99, wspace=0.06, hspace=0.06)
    if not mistakes:
        figure.text(0.5, 0.5, "no mistakes", ha="center", va="center")
    for place, mistake in enumerate(mistakes):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_axis_off()
        axes.imshow(draw.picture(images[mistake.index]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        corner: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "parse_math": False}
        axes.text(0.04, 0.96, classes[mistake.predicted], ha="left", va="top", **corner, **_PREDICTED)
        axes.text(0.96, 0.04, classes[mistake.truth], ha="right", va="bottom", **corner, **_TRUTH)
    return figure
