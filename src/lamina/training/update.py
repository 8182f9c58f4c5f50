"""One optimizer with all that belongs to it. A step calls `update(loss)`; nobody else writes zero_grad, backward or step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lamina import optimizers
from lamina.core import random
from lamina.core.errors import LaminaError
from lamina.training.runtime import Runtime

Schedule = Callable[[float], float]


class Update:
    """Makes the parameters of some networks follow a loss.

    `update(loss)` differentiates the loss with respect to *these* parameters only, so a generator's loss leaves nothing in
    the discriminator. An optimizer that evaluates the loss several times (L-BFGS) wants `update(closure)`, where the closure
    computes the loss under autocast and neither clears gradients nor differentiates.

    `schedule` maps the progress 0..1 over the planned updates to a factor of the learning rate.
    """

    def __init__(
        self,
        networks: nn.Module | Iterable[nn.Module],
        optimizer: optimizers.OptimizerLike = "adam",
        *,
        runtime: Runtime | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        modules = [networks] if isinstance(networks, nn.Module) else list(networks)
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        if not self.parameters:
            raise LaminaError(
                "The networks of this update have no trainable parameters.",
                "An optimizer needs at least one parameter with requires_grad=True.",
                "Unfreeze a layer, or build the network before training it.",
            )
        runtime = runtime or Runtime()
        self.optimizer: torch.optim.Optimizer = optimizers.build(optimizer, self.parameters, fused=runtime.fused)
        self.needs_closure = isinstance(self.optimizer, torch.optim.LBFGS)
        self.schedule = schedule
        self.count = 0
        self._base = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._ratios = [base / self._base[0] if self._base[0] else 1.0 for base in self._base]
        self._plan = (0, 1)

    def plan(self, updates: int, *, start: int | None = None) -> None:
        """Lays the schedule over `updates` updates from the next one on, or from the `start`-th."""
        self._plan = (self.count if start is None else start, max(updates, 1))

    @property
    def planned_from(self) -> int:
        """The update at which the schedule began."""
        return self._plan[0]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first parameter group, before the schedule's factor."""
        return self._base[0]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._base = [value * ratio for ratio in self._ratios]
        if self.schedule is None:
            for group, base in zip(self.optimizer.param_groups, self._base, strict=True):
                group["lr"] = base

    def __call__(self, loss: Tensor | Callable[[], Tensor]) -> Tensor:
        """One update from a scalar loss, or from a closure that computes it; returns the loss, detached."""
        if self.schedule is not None:
            start, total = self._plan
            factor = self.schedule(min((self.count - start) / total, 1.0))
            for group, base in zip(self.optimizer.param_groups, self._base, strict=True):
                group["lr"] = base * factor
        self.count += 1
        if isinstance(loss, Tensor):
            if self.needs_closure:
                raise LaminaError(
                    f"{type(self.optimizer).__name__} was given a loss that is already computed.",
                    "It evaluates the loss several times an update and needs a closure.",
                    "Call update(closure) with a function that computes and returns the loss.",
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward(inputs=self.parameters)  # type: ignore[no-untyped-call]
            self.optimizer.step()
            return loss.detach()

        drawn = random.state()

        def differentiated() -> Tensor:
            random.restore(drawn)  # a line search compares values of one function: dropout must not draw anew
            self.optimizer.zero_grad(set_to_none=True)
            value = loss()
            value.backward(inputs=self.parameters)  # type: ignore[no-untyped-call]
            return value

        return torch.as_tensor(self.optimizer.step(differentiated)).detach()  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, the count of updates, the base learning rates and the plan."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "count": self.count,
            "base": list(self._base),
            "plan": list(self._plan),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.count = state["count"]
        self._base = list(state["base"])
        self._plan = (state["plan"][0], state["plan"][1])
