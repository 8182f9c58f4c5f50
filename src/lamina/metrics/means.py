"""Means of an error, and of any function of outputs and targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.core.functions import outputs_first
from lamina.metrics.metric import MeanMetric, require_same_shape


class MeanSquaredError(MeanMetric):
    """The mean of (output - target)^2, in the targets' unit squared."""

    additive = True

    def __init__(self, *, name: str = "mean_squared_error") -> None:
        super().__init__(name)

    def measure(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """The squared error of each entry."""
        require_same_shape(self, outputs, targets)
        return (outputs.float() - targets).square()


class MeanAbsoluteError(MeanMetric):
    """The mean of |output - target|, in the targets' unit."""

    additive = True

    def __init__(self, *, name: str = "mean_absolute_error") -> None:
        super().__init__(name)

    def measure(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """The absolute error of each entry."""
        require_same_shape(self, outputs, targets)
        return (outputs.float() - targets).abs()


class CallableMetric(MeanMetric):
    """The mean of any function (outputs, targets) -> a value for each sample, or one for the batch.

    A single value counts as many times as the batch has samples, or by the sum of their weights.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Any], *, name: str | None = None) -> None:
        super().__init__(name or str(getattr(function, "__name__", type(function).__name__)))
        self.function = outputs_first(function)

    def measure(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]) -> Float[Tensor, "*R"]:
        """What the function gives."""
        value = torch.as_tensor(self.function(outputs, targets), device=outputs.device)
        return value if value.dim() else value.expand(outputs.shape[0])
