"""The Kullback-Leibler divergence of two distributions over the classes, in nats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.losses.checks import between_0_and_1, check_values
from lamina.losses.loss import EPSILON, Loss, Reduction, class_axis, raised, reduced, require_same_shape


@dataclass(frozen=True)
class KLDivergence(Loss):
    """sum over the classes of target log(target / output), both clipped at 1e-7 as in Keras."""

    activation = "softmax"
    accuracy = "one_hot"

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The divergence of the targets from probabilities."""
        return self._divergence(raised(outputs).clamp(EPSILON, 1.0).log(), targets, reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The divergence of the targets from the logits' softmax."""
        return self._divergence(torch.log_softmax(raised(logits), dim=class_axis(logits.dim())), targets, reduction)

    def _divergence(self, log_probs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        require_same_shape(self, log_probs, targets)
        targets = raised(targets).clamp(EPSILON, 1.0)
        return reduced((targets * (targets.log() - log_probs)).sum(dim=class_axis(log_probs.dim())), reduction)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*S"]) -> None:
        """Raises ShapeError where the shapes differ, DataError for entries outside 0 .. 1."""
        check_values(
            type(self).__name__,
            output_shape,
            targets,
            allowed=between_0_and_1,
            expected="Targets that are probabilities, between 0 and 1, were expected.",
            remedy="Divide each by the sum over its classes.",
        )
