"""From outputs to probabilities, and from these to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from lamina.core.errors import ShapeError, listed
from lamina.data.pictures import shown
from lamina.models import feed
from lamina.structures.results import Classification, Labelling
from lamina.training.step import Target

LIKELY = 0.5  # what a label's own probability has to be, where nobody says


def decode(
    probs: np.ndarray[Any, Any],
    classes: Sequence[str],
    sources: Sequence[Any],
    *,
    threshold: float | None = None,
    multi_label: bool = False,
) -> list[Any]:
    """One Classification, or Labelling, for each row of probabilities (N K). `sources` are paths or pictures, or empty."""
    results: list[Any] = []
    for index, row in enumerate(probs):
        told = shown(sources[index] if index < len(sources) else None)
        if multi_label:
            least = LIKELY if threshold is None else threshold
            results.append(Labelling(tuple(classes), row, threshold=least, **told))
        else:
            results.append(Classification(tuple(classes), row, threshold=threshold or 0.0, **told))
    return results


def ending(target: Target, raw: Tensor, *, multi_label: bool, probe: Callable[[], Tensor]) -> nn.Module:
    """From a network's outputs, of which `raw` are some, to probabilities; nothing where they are that already.

    `probe` gives outputs with gradients, which tell probabilities of labels from logits.
    """
    if multi_label:
        if target.cut is None and target.gives_probabilities is None:
            target.see(probabilities=feed.are_probabilities(target.loss, probe()))
        return nn.Identity() if target.cut == "sigmoid" or target.gives_probabilities else nn.Sigmoid()
    ends_in_probs = target.cut == "softmax" or feed.are_probabilities(target.loss, raw)
    return nn.Identity() if ends_in_probs else nn.Softmax(dim=-1)


def check_count(shape: Sequence[int | None], classes: Sequence[str] | None) -> None:
    """Raises ShapeError where the network answers (B K) for another number of classes than are named."""
    if classes is not None and len(shape) == 2 and shape[1] != len(classes):
        raise ShapeError(
            f"The network gives {shape[1]} numbers for a picture, and there are {len(classes)} classes: {listed(classes)}.",
            "It needs one output for each class.",
            "Name as many classes as it has outputs by classes=[...], or build it with as many outputs.",
        )
