"""The learning rates of an optimizer's groups over time: base rates, a schedule, and the updates that it is laid over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lamina.core.errors import LaminaError
from lamina.optimizers.schedules import Schedule


class Rates:
    """Base rates in the ratio that the groups have, times the schedule's factor; and the momentum, where the schedule moves it.

    A schedule with `unit = "epochs"` is asked with the epoch, from 0, any other with the progress 0..1. Its `base_rate`, if it has
    one, takes the place of the optimizer's learning rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule | None) -> None:
        self._optimizer, self.schedule = optimizer, schedule
        self.start, self.updates, self.epochs = 0, 0, 1.0  # 0 updates: no plan yet
        self.first: int | None = (
            None  # the epoch with which the loop began that made the plan; None where somebody else did
        )
        self.goes_on = False  # whether the plan is a saved one, which the loop that goes on keeps the beginning of
        self._by_epoch = getattr(schedule, "unit", "progress") == "epochs"
        self._momentum: Callable[[float], float] | None = getattr(schedule, "momentum", None)
        groups = optimizer.param_groups
        self._base = [float(group["lr"]) for group in groups]
        shares = [float(group.get("rate", 1.0)) for group in groups]
        self._rate = next((base / share for base, share in zip(self._base, shares, strict=True) if share), 0.0)
        self._ratios = [base / self._rate for base in self._base] if self._rate else shares
        own = getattr(schedule, "base_rate", None)
        if own is not None:
            self.rate = own
        if self._momentum is not None and not any("momentum" in group or "betas" in group for group in groups):
            raise LaminaError(
                f"The schedule {schedule!r} moves the momentum, and {type(optimizer).__name__} has none.",
                "Momentum is the momentum of SGD, RMSprop and Muon, and beta_1 of Adam.",
                "Choose one of these optimizers, or a schedule of the learning rate alone.",
            )

    @property
    def rate(self) -> float:
        """The base rate, before the factors of schedule and groups."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._rate = value
        self._base = [value * ratio for ratio in self._ratios]
        if self.schedule is None:
            for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
                group["lr"] = base

    def plan(self, start: int, updates: int, epochs: float | None) -> None:
        """Lays the schedule over `updates` updates, which are `epochs` epochs, from the `start`-th on."""
        if self._by_epoch and self.schedule is not None and epochs is None:
            raise LaminaError(
                f"The schedule {self.schedule!r} goes by epochs, and plan({updates}) came without their number.",
                "The epoch of an update is known where the number of epochs is.",
                "Call plan(updates, epochs=...).",
            )
        self.start, self.updates, self.epochs = start, max(updates, 1), 1.0 if epochs is None else epochs
        self.first, self.goes_on = None, False

    @property
    def planned(self) -> bool:
        """Whether somebody has said how many updates there will be."""
        return self.updates > 0

    def require_plan(self) -> None:
        """Raises LaminaError where nobody has said how many updates there will be."""
        if not self.planned:
            raise LaminaError(
                "An update was asked for whose schedule or average goes by how far training has come, and there is no plan.",
                "How many updates are to come must be known before the first.",
                "Call update.plan(updates, epochs=...), or train by Loop.fit on batches that have a length.",
            )

    def progress(self, count: int) -> float:
        """The share of the planned updates that is made after `count` of all, 0 to 1."""
        self.require_plan()
        return min((count - self.start) / self.updates, 1.0)

    def follow(self, count: int) -> None:
        """Sets rates and momentum for the update that follows `count` others."""
        if self.schedule is None:
            return
        self.require_plan()
        done = min(count - self.start, self.updates)
        # Multiplied first: then the first update of an epoch is asked with a whole number.
        place = done * self.epochs / self.updates if self._by_epoch else done / self.updates
        factor = self.schedule(place)
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        for group, base in zip(groups, self._base, strict=True):
            group["lr"] = base * factor
        if self._momentum is not None:
            momentum = self._momentum(place)
            for group in groups:  # Muon's have both, and use the one that is theirs
                if "momentum" in group:
                    group["momentum"] = momentum
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])

    def state_dict(self) -> dict[str, Any]:
        """The base rates and the plan."""
        plan = [self.start, self.updates, self.epochs]
        return {"rate": self._rate, "base": list(self._base), "plan": plan, "first": self.first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._rate, self._base = state["rate"], list(state["base"])
        self.start, self.updates, self.epochs = state["plan"]
        self.first, self.goes_on = state.get("first"), True  # older versions kept none
