"""Losses of numbers: mean squared error, mean absolute error, Huber."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.losses.checks import check_values
from lamina.losses.loss import Loss, Reduction, raised, reduced, require_same_shape


class _Regression(Loss):
    accuracy = "largest"

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of outputs against targets of the same shape."""
        require_same_shape(self, outputs, targets)
        outputs, targets = raised(outputs), raised(targets)
        if reduction == "mean":
            return self._measure(outputs, targets, "mean")
        return reduced(self._measure(outputs, targets, "none"), reduction)

    @abstractmethod
    def _measure(self, outputs: Tensor, targets: Tensor, reduction: str) -> Tensor: ...

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*S"]) -> None:
        """Raises ShapeError where the shapes differ, DataError for a target that is not finite."""
        check_values(type(self).__name__, output_shape, targets)


@dataclass(frozen=True)
class MeanSquaredError(_Regression):
    """The mean of (output - target)^2, in the targets' unit squared."""

    def _measure(self, outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return F.mse_loss(outputs, targets, reduction=reduction)


@dataclass(frozen=True)
class MeanAbsoluteError(_Regression):
    """The mean of |output - target|, in the targets' unit."""

    def _measure(self, outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return F.l1_loss(outputs, targets, reduction=reduction)


@dataclass(frozen=True)
class Huber(_Regression):
    """The mean of e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2) (Huber 1964)."""

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise LaminaError(f"Huber: delta is {self.delta}.", "It must be positive.", "Keras's value is 1.0.")

    def _measure(self, outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return F.huber_loss(outputs, targets, reduction=reduction, delta=self.delta)
