"""What happens to gradients between differentiating and stepping: gathering over micro-batches, dividing, clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.training.world import World, is_sharded, spread

Count = float | Tensor | None


class Window:
    """The micro-batches of one update. Each weighs as its count (samples, tokens), so together they are one big batch.

    Micro-batch i adds share_i g_i with share_i = count_i / unit, and the update divides by `total`, the sum of the shares. The unit
    is the first count, which keeps gradients in the range of float16, and 1 where several processes share an update. A count may
    be a tensor on the device; nothing waits for it. Without counts every micro-batch weighs the same.
    """

    def __init__(self, size: int, *, world: World | None = None) -> None:
        self.size, self._world = size, world
        self.made = 0
        self.total: float | Tensor = 0.0
        self.unit: float | Tensor = 1.0
        self._counted = False

    @property
    def is_full(self) -> bool:
        """Whether the update is due."""
        return self.made >= self.size

    def add(self, count: Count) -> float | Tensor | None:
        """Takes in a micro-batch; returns what its loss has to be multiplied by, None where that is 1."""
        if self.made == 0:
            self.unit = 1.0 if count is None or self._world is not None else _at_least(count, 1.0)
            self._counted = count is not None
        elif self._counted != (count is not None):
            raise LaminaError(
                "One micro-batch of an update came with its count, another without.",
                "Either each says how many samples its loss is the mean of, or none does.",
                "Pass count= at every call of the update.",
            )
        alone = self.size == 1 and self._world is None
        share = 1.0 if count is None or alone else count / self.unit
        self.made += 1
        self.total = self.total + share
        return None if isinstance(share, float) and share == 1.0 else share

    def clear(self) -> None:
        """Begins anew."""
        self.made, self.total, self.unit = 0, 0.0, 1.0

    def state_dict(self, parameters: Sequence[nn.Parameter]) -> dict[str, Any]:
        """The window in progress with the gradients gathered so far, summed over all processes; each must call it then."""
        total, gathered = self.total, [p.grad for p in parameters]
        if self._world is not None:
            total, gathered = self._summed(parameters, self._world)
        return {
            "made": self.made,
            "total": total,
            "unit": self.unit,
            "counted": self._counted,
            "gradients": gathered,
        }

    def _summed(self, parameters: Sequence[nn.Parameter], world: World) -> tuple[float | Tensor, list[Tensor | None]]:
        own = [p.grad for p in parameters]
        for p in parameters:
            p.grad = p.grad.clone() if p.grad is not None and is_sharded(p) else p.grad  # else made anew by `average`
        world.average(parameters, self.total)
        total = world.sum(self.total)
        gathered = [None if p.grad is None else p.grad * total for p in parameters]
        for p, gradient in zip(parameters, own, strict=True):
            p.grad = gradient
        return total if isinstance(self.total, Tensor) else float(total), gathered

    def load_state_dict(self, state: dict[str, Any], parameters: Sequence[nn.Parameter]) -> None:
        """Takes back what `state_dict` gave. With what all had summed up the first process goes on; of sharded gradients each has
        its part.
        """
        device, world = parameters[0].device, self._world
        self.made, self._counted = state["made"], state["counted"]
        self.total, self.unit = (
            value.to(device) if isinstance(value, Tensor) else value for value in (state["total"], state["unit"])
        )
        for parameter, gathered in zip(parameters, state["gradients"], strict=True):
            put = None if gathered is None else torch.empty_like(parameter.detach()).copy_(spread(gathered, parameter))
            if world is not None and put is not None:  # a sharded one is the mean of what came from all
                put.mul_(self.unit / world.size if is_sharded(parameter) else self.unit)
                put = put if world.is_main or is_sharded(parameter) else None
            parameter.grad = put
        if world is not None:
            self.total, self.unit = self.total * self.unit * float(world.is_main), 1.0


def of(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients that are there."""
    return [p.grad for p in parameters if p.grad is not None]


def clear(parameters: Sequence[nn.Parameter]) -> None:
    """No gradients."""
    for parameter in parameters:
        parameter.grad = None


def copy(parameters: Sequence[nn.Parameter]) -> None:
    """The same gradients in memory of their own."""
    for parameter in parameters:
        parameter.grad = None if parameter.grad is None else parameter.grad.clone()


def divide(parameters: Sequence[nn.Parameter], total: float | Tensor) -> None:
    """Gradients over the sum of their weights, in place. Where all weighed nothing they are 0 and stay so."""
    gradients = of(parameters)
    if gradients and not (isinstance(total, float) and total == 1.0):
        torch._foreach_div_(gradients, _at_least(total, 1e-12))


def are_finite(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether no gradient holds NaN or infinity; waits for the device."""
    gradients = of(parameters)
    return not gradients or bool(torch.nn.utils.get_total_norm(gradients, foreach=True).isfinite())


def _at_least(value: float | Tensor, least: float) -> float | Tensor:
    return value.detach().clamp(min=least) if isinstance(value, Tensor) else max(float(value), least)
