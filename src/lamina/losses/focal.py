"""Focal cross-entropies, in nats: samples that are right already count less (Lin 2017, arXiv:1708.02002).

With `fit(balance="effective")` the one of classes is the class-balanced focal loss of Cui 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.losses.checks import check_labels
from lamina.losses.crossentropy import (
    SparseCategoricalCrossentropy,
    check_probabilities,
    classes_second,
    log_probs,
)
from lamina.losses.loss import EPSILON, Loss, Reduction, in_samples, raised, reduced, require_same_shape


@dataclass(frozen=True)
class FocalCrossentropy(Loss):
    """-(1 - p)^gamma log p of the probability p given to the right class (Lin 2017, eq. 4); labels are integers 0 .. K-1.

    gamma 0 is the cross-entropy. Shapes, ignored labels and the shares of mixed samples are as for
    SparseCategoricalCrossentropy. A weight of each class, alpha in the paper, is said by `fit`: balance or class_weight.
    """

    gamma: float = 2.0
    ignore_class: int | None = None

    activation = "softmax"
    accuracy = "sparse"

    def __post_init__(self) -> None:
        _require_gamma(self, self.gamma)
        object.__setattr__(self, "takes_shares", self.ignore_class is None)

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The focal loss of probabilities; they are scaled to sum 1 and clipped, as in Keras."""
        return self.from_logits(log_probs(outputs), targets, reduction=reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The focal loss of the logits' softmax; 0 for a batch in which every entry is ignored."""
        scores = raised(classes_second(logits))
        if targets.is_floating_point() and targets.shape == logits.shape and self.takes_shares:
            logs = scores.log_softmax(dim=1)
            missed = (-torch.expm1(logs)).clamp(min=EPSILON)  # below 1 / 2, the power of 0 has no gradient
            return reduced(-(raised(classes_second(targets)) * missed**self.gamma * logs).sum(dim=1), reduction)
        counted = None if self.ignore_class is None else targets != self.ignore_class
        labels = (targets if counted is None else targets * counted).long().unsqueeze(1)
        whole = scores.logsumexp(dim=1)
        # log (1 - p) from the other classes: 1 - p itself is 0 long before they have no gradient.
        missed = scores.scatter(1, labels, -math.inf).logsumexp(dim=1) - whole
        values = torch.exp(self.gamma * missed) * (whole - scores.gather(1, labels).squeeze(1))
        if counted is None:
            return reduced(values, reduction)
        values = values * counted
        return values.sum() / counted.sum().clamp(min=1) if reduction == "mean" else reduced(values, reduction)

    def count(self, targets: Integer[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """The share of the entries that are not ignored, times the samples; None where nothing can be ignored."""
        return None if self.ignore_class is None else in_samples(targets != self.ignore_class)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises ShapeError for one-hot targets or a single output, DataError for labels other than 0 .. K-1."""
        check_labels(type(self).__name__, output_shape, targets, ignore_class=self.ignore_class)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Integer[Tensor, "*U"]:
        """Labels as int64, without an axis of length 1 where the classes would stand."""
        return SparseCategoricalCrossentropy().prepare(targets, output_shape)


@dataclass(frozen=True)
class BinaryFocalCrossentropy(Loss):
    """-a (1 - p)^gamma log p, the mean over all outputs (Lin 2017, eq. 5): p is the probability given to what is true.

    a is `alpha` where the target is 1 and 1 - alpha where it is 0; None weighs neither. Targets between 0 and 1 have that
    share of both. The paper's best are gamma 2 with alpha 0.25, for detectors, whose yes is rare and soon certain.
    """

    gamma: float = 2.0
    alpha: float | None = 0.25

    activation = "sigmoid"
    accuracy = "binary"

    def __post_init__(self) -> None:
        _require_gamma(self, self.gamma)
        if self.alpha is not None and not 0.0 <= self.alpha <= 1.0:
            raise LaminaError(
                f"{type(self).__name__}: alpha is {self.alpha}.", "A share from 0 to 1 was expected.", "Usual is 0.25."
            )

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The focal loss of probabilities, clipped as in Keras."""
        return self.from_logits(raised(outputs).clamp(EPSILON, 1 - EPSILON).logit(), targets, reduction=reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The focal loss of the logits' sigmoid."""
        require_same_shape(self, logits, targets)
        logits, targets = raised(logits), raised(targets)
        yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
        positive = 1.0 if self.alpha is None else self.alpha
        negative = 1.0 if self.alpha is None else 1 - self.alpha
        values = positive * targets * torch.exp(self.gamma * no) * yes
        values = values + negative * (1 - targets) * torch.exp(self.gamma * yes) * no
        return reduced(-values, reduction)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*S"]) -> None:
        """Raises ShapeError where the shapes differ, DataError for entries outside 0 .. 1."""
        check_probabilities(self, output_shape, targets)


def _require_gamma(loss: Loss, gamma: float) -> None:
    if not 0.0 <= gamma < math.inf:
        raise LaminaError(
            f"{type(loss).__name__}: gamma is {gamma}.", "A number of 0 or more was expected.", "Usual is 2."
        )
