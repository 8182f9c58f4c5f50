"""The share of right answers: the first guess, or among the first k."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.metrics.decisions import Kind, class_axis, decide, definite, takes_scores
from lamina.metrics.metric import MeanMetric, Takes


class Accuracy(MeanMetric):
    """The share of samples (pixels, labels) that are predicted right; `kind` None is resolved by the loss.

    Entries labelled `ignore_class` do not count.
    """

    additive = True

    def __init__(self, kind: Kind | None = None, *, name: str = "accuracy", ignore_class: int | None = None) -> None:
        super().__init__(name)
        self.kind, self.ignore_class = kind, ignore_class

    @property
    def takes(self) -> Takes:
        """ "scores" where the largest output decides."""
        return "scores" if takes_scores(self.kind) else "outputs"

    def measure(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]) -> Bool[Tensor, "*R"]:
        """Where the prediction is right."""
        predicted, actual = decide(definite(self.kind, outputs, targets), outputs, targets)
        return predicted == actual

    def counted(self, targets: Shaped[Tensor, "*T"]) -> Bool[Tensor, "*R"] | None:
        """All but the ignored."""
        return None if self.ignore_class is None else targets != self.ignore_class


class TopKAccuracy(MeanMetric):
    """The share of samples whose true class is among the k largest outputs; ties count as hits, as in Keras.

    Targets are integer labels, or one-hot in the outputs' shape.
    """

    additive = True

    def __init__(self, k: int = 5, *, name: str | None = None) -> None:
        if k < 1:
            raise LaminaError(f"TopKAccuracy: k is {k}.", "At least 1 was expected.", "Usual is 5.")
        super().__init__(name or f"top_{k}_accuracy")
        self.k = k

    @property
    def takes(self) -> Takes:
        """Logits and probabilities have the same order."""
        return "scores"

    def measure(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]) -> Bool[Tensor, "*R"]:
        """Where fewer than k outputs are larger than that of the true class."""
        axis = class_axis(outputs.dim())
        labels = targets.argmax(dim=axis) if targets.shape == outputs.shape else targets.long()
        true = outputs.gather(axis, labels.unsqueeze(axis))
        # NaN is larger than nothing and would always be among the first.
        return ((outputs > true).sum(dim=axis) < self.k) & torch.isfinite(true.squeeze(axis))
