"""Between the user's unit and the one in which a network learns: the targets' mean is 0 there, their standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lamina.losses import Loss, Reduction
from lamina.metrics import Metric, Takes


@dataclass(frozen=True)
class Unit:
    """Mean and standard deviation of each of D numbers, as the training targets have them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, targets: Float[Tensor, "N D"]) -> Unit:
        """That of the targets; a number that never changes is only shifted."""
        values = targets.double()
        std = values.std(dim=0, correction=0)
        return cls(tuple(values.mean(dim=0).tolist()), tuple(torch.where(std > 0, std, 1.0).tolist()))

    def standardised(self, targets: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """From the user's unit to the network's."""
        return (targets - targets.new_tensor(self.mean)) / targets.new_tensor(self.std)

    def answers(self, outputs: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """From the network's unit to the user's, in float32."""
        values = outputs.float()
        return values * values.new_tensor(self.std) + values.new_tensor(self.mean)


class InUnit(nn.Module):
    """`Unit.answers` as a module, for networks that leave the library."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, outputs: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return self.unit.answers(outputs)


@dataclass(frozen=True)
class StandardisedLoss(Loss):
    """A loss of the network's outputs against targets in the user's unit, which are standardised first: a number without unit."""

    inner: Loss
    unit: Unit

    accuracy = "largest"

    def __call__(
        self, outputs: Float[Tensor, "B D"], targets: Float[Tensor, "B D"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of outputs (B D) against targets of the same shape."""
        return self.inner(outputs, self.unit.standardised(targets), reduction=reduction)

    def check(self, output_shape: Any, targets: Shaped[Tensor, "B D"]) -> None:
        """As the inner loss."""
        self.inner.check(output_shape, targets)


class InUnits(Metric):
    """A metric in the user's unit, of outputs in the network's."""

    def __init__(self, inner: Metric, unit: Unit) -> None:
        self.inner, self.unit = inner, unit
        super().__init__(inner.name)

    @property
    def takes(self) -> Takes:
        """Final outputs: the unit matters."""
        return "outputs"

    def update(
        self, outputs: Float[Tensor, "B D"], targets: Float[Tensor, "B D"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch."""
        self.inner.update(self.unit.answers(outputs), targets, weights)

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """As the inner metric."""
        return self.inner.value(*sums)

    def compute(self) -> Float[Tensor, ""]:
        """As the inner metric."""
        return self.inner.compute()

    def settle(self) -> None:
        """As the inner metric."""
        self.inner.settle()

    def reduce(self) -> None:
        """As the inner metric."""
        self.inner.reduce()

    def reset(self) -> None:
        """As the inner metric."""
        self.inner.reset()

    def state_dict(self) -> dict[str, Any]:
        """As the inner metric."""
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As the inner metric."""
        self.inner.load_state_dict(state)
