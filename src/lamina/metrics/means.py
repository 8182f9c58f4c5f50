"""Means of an error, and of any function of outputs and targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.core.functions import outputs_first
from lamina.metrics.metric import MeanMetric, Metric, require_same_shape


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


class RootMeanSquaredError(MeanSquaredError):
    """The root of the mean of (output - target)^2, in the targets' unit."""

    additive = True

    def __init__(self, *, name: str = "root_mean_squared_error") -> None:
        super().__init__(name=name)

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """The root of sum by count."""
        return super().value(*sums).sqrt()


class R2Score(Metric):
    """1 - sum (target - output)^2 / sum (target - mean of the targets)^2, the mean over the columns of (B D): 1 is perfect.

    0 is what always answering the mean would reach; NaN where all targets are equal. (scikit-learn's uniform average.)
    """

    additive = True

    def __init__(self, *, name: str = "r2") -> None:
        super().__init__(name)

    def update(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*S"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch."""
        require_same_shape(self, outputs, targets)
        kind = torch.float32 if outputs.device.type == "mps" else torch.float64
        rows, truth = (value.reshape(len(value), -1).to(kind) for value in (outputs, targets))
        shares = torch.ones_like(truth) if weights is None else weights.to(kind)[:, None].expand_as(truth)
        terms = (shares, shares * truth, shares * truth.square(), shares * (rows - truth).square())
        self.add(torch.stack([term.sum(dim=0) for term in terms]))

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """From count, sum, sum of squares and squared errors of each column."""
        count, total, squares, errors = sums[0].unbind()
        spread = squares - total.square() / count
        return (1 - errors / torch.where(spread > 0, spread, torch.nan)).mean()


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
