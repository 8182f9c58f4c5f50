"""The cross-entropy of maps of classes, in nats; pixels without a class do not count, and rare classes may count more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError, ShapeError
from lamina.losses.checks import check_labels
from lamina.losses.crossentropy import SparseCategoricalCrossentropy, classes_second, log_probs
from lamina.losses.loss import Loss, Reduction, class_axis, in_samples, raised, reduced
from lamina.structures.annotation import IGNORED

_LEAST = 1e-12  # a sum of weights that a mean can be divided by


@dataclass(frozen=True)
class PixelCrossentropy(Loss):
    """-log of the probability given to a pixel's class, the mean over the pixels whose label is not `ignore_class` (255).

    Outputs (B K H W) with labels (B H W); 0 for a batch without a labelled pixel. With `class_weights` (K) it is
    sum w_y ce / sum w_y, y being the pixel's class, as torch's; `data.balance.median_frequency` gives SegNet's.
    """

    class_weights: tuple[float, ...] | None = None
    ignore_class: int | None = IGNORED

    activation = "softmax"
    accuracy = "sparse"

    def __post_init__(self) -> None:
        if self.class_weights is None:
            return
        weights = tuple(float(weight) for weight in self.class_weights)
        if not weights or not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise LaminaError(
                f"PixelCrossentropy: class_weights are {weights}.",
                "A finite number of 0 or more for each class, one of them above, was expected.",
                "lamina.data.balance.median_frequency(pixel_counts(train)) gives them.",
            )
        object.__setattr__(self, "class_weights", weights)

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of probabilities; they are scaled to sum 1 and clipped, as in Keras."""
        return self.from_logits(log_probs(outputs), targets, reduction=reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of the logits' softmax. Raises ShapeError where there are not as many weights as classes."""
        scores, labels = raised(classes_second(logits)), targets.long()
        weights = None if self.class_weights is None else scores.new_tensor(self._weights(scores.shape[1]))
        ignored = -100 if self.ignore_class is None else self.ignore_class
        if reduction == "mean":
            # torch's own mean of no pixel at all is NaN, and so is its gradient
            total = F.cross_entropy(scores, labels, weight=weights, ignore_index=ignored, reduction="sum")
            shares = self._shares(labels)
            whole = labels.numel() if shares is None else shares.sum()
            return total / torch.as_tensor(whole, dtype=total.dtype, device=total.device).clamp(min=_LEAST)
        values = F.cross_entropy(scores, labels, weight=weights, ignore_index=ignored, reduction="none")
        return reduced(values, reduction)

    def count(self, targets: Integer[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """The weights of the pixels' classes, summed, in samples; None where every pixel counts as 1."""
        shares = self._shares(targets)
        return None if shares is None else in_samples(shares)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises ShapeError for one-hot targets, a single output or too few weights, DataError for labels out of 0 .. K-1."""
        check_labels(type(self).__name__, output_shape, targets, ignore_class=self.ignore_class)
        classes = output_shape[class_axis(len(output_shape))]
        if self.class_weights is not None and classes is not None:
            self._weights(classes)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Integer[Tensor, "*U"]:
        """Labels as int64, without an axis of length 1 where the classes would stand."""
        return SparseCategoricalCrossentropy().prepare(targets, output_shape)

    def _weights(self, classes: int) -> tuple[float, ...]:
        assert self.class_weights is not None
        if len(self.class_weights) != classes:
            raise ShapeError(
                f"PixelCrossentropy has {len(self.class_weights)} class_weights and outputs of {classes} classes.",
                "One weight for each class was expected.",
                "Count the pixels of the training data with all its classes, or change the last layer.",
            )
        return self.class_weights

    def _shares(self, labels: Tensor) -> Tensor | None:
        """The weight of each pixel; None where all have 1."""
        counted = None if self.ignore_class is None else labels != self.ignore_class
        if self.class_weights is None:
            return counted
        weights = torch.tensor(self.class_weights, device=labels.device)
        return weights[labels.long()] if counted is None else weights[labels.long() * counted] * counted
