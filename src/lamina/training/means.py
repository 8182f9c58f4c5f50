"""Means of what steps log, over an epoch and over all processes."""

from __future__ import annotations

from typing import Any

import torch

from lamina.structures.batch import Logs
from lamina.training.world import World


class Means:
    """Means of logged values, weighed by their counts. Values stay on the device until somebody asks.

    Which values are summed together depends on their number alone, not on who looked or saved in between: the means of a
    resumed run are equal to the last bit.
    """

    _PENDING = 64  # values that wait before they are summed in one go

    def __init__(self) -> None:
        self._pending: dict[str, tuple[list[torch.Tensor], list[Any]]] = {}
        self._sums: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._world: dict[str, tuple[torch.Tensor, torch.Tensor]] | None = None
        self._finite: dict[str, list[torch.Tensor]] = {}  # of each value that was summed, whether it is

    def add(self, logs: Logs) -> None:
        """Takes in the values of one batch, detached."""
        self._world = None
        for name, value in logs.values.items():
            pending = self._pending.get(name)
            if pending is None:
                pending = self._pending[name] = ([], [])
            pending[0].append(value.detach())
            pending[1].append(logs.count)
            if len(pending[0]) >= self._PENDING:
                self._sums[name] = self._summed(name)
                self._finite.setdefault(name, []).append(self._are_finite(name))
                del self._pending[name]

    def _waiting(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The values that wait, and their counts."""
        values, counts = self._pending[name]
        device = values[0].device
        exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        stacked = torch.stack(values).to(exact)
        if any(isinstance(count, torch.Tensor) for count in counts):
            return stacked, torch.stack([torch.as_tensor(count, device=device) for count in counts]).to(exact)
        return stacked, torch.tensor(counts, dtype=exact, device=device)

    def _summed(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The sums of a value's and its counts, with those that wait."""
        stacked, weights = self._waiting(name)
        total, count = self._sums.get(name, (0.0, 0.0))
        # A batch that counts nothing (all labels ignored) may be NaN, and must not spread.
        return total + torch.where(weights > 0, stacked * weights, 0.0).sum(), count + weights.sum()

    def _are_finite(self, name: str) -> torch.Tensor:
        stacked, weights = self._waiting(name)
        return stacked.isfinite() | (weights <= 0)

    def since_nonfinite(self, name: str) -> int | None:
        """How many values of this process the first that was NaN or infinite and those after it are; None where none is known."""
        told = [*self._finite.get(name, []), *([self._are_finite(name)] if name in self._pending else [])]
        finite = torch.cat(told).tolist() if told else []
        return len(finite) - finite.index(False) if False in finite else None

    def compute(self) -> dict[str, float]:
        """The means so far; waits for the device."""
        sums = self._all() if self._world is None else self._world
        return {name: float(total / count) for name, (total, count) in sums.items()}

    def reduce(self, world: World) -> None:
        """Makes `compute` speak for all processes until the next `add`. Each must call it, also one that saw no batch."""
        if world.size == 1:
            return
        own = {name: (total.cpu(), count.cpu()) for name, (total, count) in self._all().items()}
        self._world = {}
        for sums in world.gather(own):
            for name, (total, count) in sums.items():
                before = self._world.get(name, (0.0, 0.0))
                self._world[name] = (before[0] + total, before[1] + count)

    def _all(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return self._sums | {name: self._summed(name) for name in self._pending}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far and the values that wait; of all processes, and all summed, where they were reduced."""
        sums, pending = (self._sums, self._pending) if self._world is None else (self._world, {})
        return {
            "sums": {name: list(pair) for name, pair in sums.items()},
            "waiting": {name: [torch.stack(pair[0]), list(pair[1])] for name, pair in pending.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._sums = {name: (pair[0], pair[1]) for name, pair in state["sums"].items()}
        self._pending = {name: (list(pair[0]), list(pair[1])) for name, pair in state["waiting"].items()}
        self._world, self._finite = None, {}
