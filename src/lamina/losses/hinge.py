"""The hinge loss of maximum-margin classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.losses.checks import check_values
from lamina.losses.loss import Loss, Reduction, raised, reduced, require_same_shape


@dataclass(frozen=True)
class Hinge(Loss):
    """The mean of max(1 - target * output, 0); targets are -1 and 1, and 0 is read as -1."""

    accuracy = "signs"

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of scores (a closing tanh, or none) against targets of the same shape."""
        require_same_shape(self, outputs, targets)
        signs = torch.where(targets == 0, -1.0, raised(targets))
        return reduced((1 - signs * raised(outputs)).clamp(min=0), reduction)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*S"]) -> None:
        """Raises ShapeError where the shapes differ, DataError for entries other than -1, 0 and 1."""
        check_values(
            type(self).__name__,
            output_shape,
            targets,
            allowed=lambda entries: (
                (entries == 0) | (entries.abs() == 1) if entries.dtype != torch.bool else ~entries | entries
            ),
            expected="Targets -1 and 1, or 0 and 1, were expected.",
            remedy="Map the two classes to -1 and 1; for more classes make them one-hot.",
        )
