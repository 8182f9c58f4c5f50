"""Precision, recall and F1 from the counts of each class.

With one output they speak of the class 1; else they are macro averages, means over the classes that occur in targets or
predictions. A share of nothing is 0. (scikit-learn's meaning, with zero_division=0.)
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lamina.metrics.decisions import Kind, class_axis, decide, definite, takes_scores
from lamina.metrics.metric import Metric, Takes, per_entry


class _Counts(Metric):
    """Sums of each class: how often it was predicted rightly, predicted, and true (3 K)."""

    def __init__(self, kind: Kind | None, *, name: str, ignore_class: int | None) -> None:
        super().__init__(name)
        self.kind, self.ignore_class = kind, ignore_class

    @property
    def takes(self) -> Takes:
        """ "scores" where the largest output decides."""
        return "scores" if takes_scores(self.kind) else "outputs"

    def update(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch."""
        kind = definite(self.kind, outputs, targets)
        predicted, actual = decide(kind, outputs, targets)
        shares = torch.ones_like(predicted, dtype=torch.int64 if weights is None else torch.float32)
        if weights is not None:
            shares = shares * per_entry(weights, shares)
        if self.ignore_class is not None:
            counted = targets != self.ignore_class
            shares, actual = shares * counted, actual * counted  # ignored labels may be no index at all
        if kind in ("binary", "signs"):
            axis = class_axis(outputs.dim()) if outputs.dim() > 1 else None
            self.add(self._of_yes_and_no(predicted.bool(), actual.bool(), shares, axis))
            return
        classes, shares = outputs.shape[class_axis(outputs.dim())], shares.flatten()
        predicted, actual = predicted.flatten(), actual.flatten().long()
        counts = shares.new_zeros(3, classes)
        counts[0].scatter_add_(0, actual, shares * (predicted == actual))
        counts[1].scatter_add_(0, predicted, shares)
        counts[2].scatter_add_(0, actual, shares)
        self.add(counts)

    def _of_yes_and_no(self, predicted: Tensor, actual: Tensor, shares: Tensor, axis: int | None) -> Tensor:
        """What is added (3 K) for outputs that are each a yes or no."""
        chosen = (predicted & actual, predicted, actual)
        return torch.stack([_by_class(where * shares, axis) for where in chosen])

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """The mean over the classes that occur."""
        counts = sums[0].float() if sums[0].device.type == "mps" else sums[0].double()
        right, predicted, actual = counts.unbind()
        occurs = self.occurs(predicted, actual)
        return (self.of_class(right, predicted, actual) * occurs).sum() / occurs.sum().clamp(min=1)

    def occurs(self, predicted: Float[Tensor, " K"], actual: Float[Tensor, " K"]) -> Bool[Tensor, " K"]:
        """Which classes the mean is of."""
        return (predicted + actual) > 0

    @abstractmethod
    def of_class(
        self, right: Float[Tensor, " K"], predicted: Float[Tensor, " K"], actual: Float[Tensor, " K"]
    ) -> Float[Tensor, " K"]:
        """The number of each class."""


class Precision(_Counts):
    """Of what was predicted as a class, the share that is of it."""

    additive = True

    def __init__(self, kind: Kind | None = None, *, name: str = "precision", ignore_class: int | None = None) -> None:
        super().__init__(kind, name=name, ignore_class=ignore_class)

    def of_class(
        self, right: Float[Tensor, " K"], predicted: Float[Tensor, " K"], actual: Float[Tensor, " K"]
    ) -> Float[Tensor, " K"]:
        """Right by predicted."""
        del actual
        return _share(right, predicted)


class Recall(_Counts):
    """Of what is of a class, the share that was predicted as it."""

    additive = True

    def __init__(self, kind: Kind | None = None, *, name: str = "recall", ignore_class: int | None = None) -> None:
        super().__init__(kind, name=name, ignore_class=ignore_class)

    def of_class(
        self, right: Float[Tensor, " K"], predicted: Float[Tensor, " K"], actual: Float[Tensor, " K"]
    ) -> Float[Tensor, " K"]:
        """Right by true."""
        del predicted
        return _share(right, actual)


class BalancedAccuracy(Recall):
    """The mean over the classes that occur in targets of the share of their samples that is right, 0 to 1.

    Guessing one class always gives 1 / K, however frequent it is. Of an output that is a yes or no, yes and no are a class
    each. (scikit-learn's balanced_accuracy_score.)
    """

    additive = True

    def __init__(
        self, kind: Kind | None = None, *, name: str = "balanced_accuracy", ignore_class: int | None = None
    ) -> None:
        super().__init__(kind, name=name, ignore_class=ignore_class)

    def _of_yes_and_no(self, predicted: Tensor, actual: Tensor, shares: Tensor, axis: int | None) -> Tensor:
        """The classes, and after them what is not of each."""
        ones = super()._of_yes_and_no(predicted, actual, shares, axis)
        return torch.cat([ones, super()._of_yes_and_no(~predicted, ~actual, shares, axis)], dim=1)

    def occurs(self, predicted: Float[Tensor, " K"], actual: Float[Tensor, " K"]) -> Bool[Tensor, " K"]:
        """Those that samples are of."""
        del predicted
        return actual > 0


class F1(_Counts):
    """The harmonic mean of precision and recall of each class, then the mean over the classes."""

    additive = True

    def __init__(self, kind: Kind | None = None, *, name: str = "f1", ignore_class: int | None = None) -> None:
        super().__init__(kind, name=name, ignore_class=ignore_class)

    def of_class(
        self, right: Float[Tensor, " K"], predicted: Float[Tensor, " K"], actual: Float[Tensor, " K"]
    ) -> Float[Tensor, " K"]:
        """Twice right by predicted and true."""
        return _share(2 * right, predicted + actual)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=1e-12), 0.0)


def _by_class(values: Tensor, axis: int | None) -> Tensor:
    return values.sum().reshape(1) if axis is None else values.movedim(axis, 0).flatten(1).sum(dim=1)
