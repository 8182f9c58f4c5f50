"""What every metric offers: update, compute, reduce, reset, and its state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.core.errors import ShapeError

Takes = Literal["scores", "outputs"]


class Metric(ABC):
    """A number over many batches. `sums` holds what was added up; nothing in `update` waits for the device.

    `additive` says that several batches in one update amount to the same; each class says it for itself, so that a
    subclass with an `update` or `measure` of its own is given one batch at a time unless it says so too.
    """

    additive: ClassVar[bool] = False

    _WAITING, _WAITING_ENTRIES = 32, 1 << 16  # batches, and numbers in their outputs, that wait for one update at most

    def __init_subclass__(cls) -> None:
        cls.additive = bool(vars(cls).get("additive", False))

    def __init__(self, name: str) -> None:
        self.name = name
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._entries = 0
        self.sums: tuple[Tensor | int, ...] = ()
        self._world: tuple[Tensor | int, ...] = ()

    @property
    def takes(self) -> Takes:
        """ "scores": only the order of a sample's outputs matters, so logits serve too; "outputs": the final outputs."""
        return "outputs"

    @abstractmethod
    def update(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch."""

    def defer(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]) -> None:
        """Adds one batch later: small ones wait and share an update, whose cost is that of launching it."""
        if not self.additive:
            self.update(outputs, targets)
            return
        if self._waiting:
            others = self._waiting[0]
            if outputs.shape[1:] != others[0].shape[1:] or targets.shape[1:] != others[1].shape[1:]:
                self.settle()  # pictures of another size, say, that cannot be joined
        self._waiting.append((outputs, targets))
        self._entries += outputs.numel()
        if len(self._waiting) >= self._WAITING or self._entries > self._WAITING_ENTRIES:
            self.settle()

    def settle(self) -> None:
        """Adds the batches that wait."""
        if self._waiting:
            outputs, targets = zip(*self._waiting, strict=True)
            self._waiting, self._entries = [], 0
            self.update(torch.cat(outputs), torch.cat(targets))

    @abstractmethod
    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """The number that the sums amount to."""

    def add(self, *terms: Tensor | int) -> None:
        """Adds terms to the sums; not in place, for a sum may come from inference mode, and a saved one must not change."""
        self.sums = tuple(a + b for a, b in zip(self.sums, terms, strict=True)) if self.sums else terms
        self._world = ()

    def compute(self) -> Float[Tensor, ""]:
        """The value over all batches since the last reset, on the device; NaN before the first.

        Looking changes nothing: the batches that wait go on waiting, so that which ones share an update, and with it the
        last bit of the value, does not depend on who looked or saved in between.
        """
        kept = self.sums, self._waiting, self._entries, self._world
        self.settle()
        sums = self._world or self.sums
        self.sums, self._waiting, self._entries, self._world = kept
        return self.value(*map(torch.as_tensor, sums)) if sums else torch.tensor(torch.nan)

    def reduce(self) -> None:
        """Makes `compute` speak for all processes until the next update. The own sums stay.

        Each process must call it, also one that saw no batch: it knows neither the sums' shapes nor their device, so
        sums go round as objects, and it adds none.
        """
        self.settle()
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        everybody = distributed.group.WORLD
        gathered: list[Any] = [None] * (1 if everybody is None else everybody.size())
        own = tuple(total.detach().cpu() if isinstance(total, Tensor) else total for total in self.sums)
        distributed.all_gather_object(gathered, own)
        sums = [self.joined(list(terms)) for terms in zip(*filter(None, gathered), strict=True)]
        device = next((total.device for total in self.sums if isinstance(total, Tensor)), None)
        self._world = tuple(sums if device is None else [total.to(device) for total in sums])

    def joined(self, terms: list[Tensor | int]) -> Tensor:
        """One of the sums over all processes, from that of each."""
        return torch.stack([torch.as_tensor(term) for term in terms]).sum(0)

    def reset(self) -> None:
        """Forgets all batches."""
        self.sums, self._world = (), ()
        self._waiting, self._entries = [], 0

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, and the batches that wait."""
        return {"sums": self.sums, "waiting": [list(pair) for pair in self._waiting]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._waiting = [(outputs, targets) for outputs, targets in state["waiting"]]
        self._entries = sum(outputs.numel() for outputs, _ in self._waiting)
        self.sums, self._world = tuple(state["sums"]), ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class MeanMetric(Metric):
    """The mean of a value of each sample (and entry), weighed by the samples' weights if there are any."""

    def update(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch."""
        values, counted = self.measure(outputs, targets), self.counted(targets)
        if weights is None and counted is None:
            self.add(values.sum(), values.numel())
            return
        shares = torch.ones_like(values, dtype=torch.float32) if counted is None else counted.to(torch.float32)
        if weights is not None:
            shares = shares * per_entry(weights, values)
        self.add((values * shares).sum(), shares.sum())

    @abstractmethod
    def measure(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]) -> Shaped[Tensor, "*R"]:
        """A value of each sample, or of each of its entries."""

    def counted(self, targets: Shaped[Tensor, "*T"]) -> Shaped[Tensor, "*R"] | None:
        """Which values count; None is all."""
        del targets
        return None

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """Sum by count."""
        return sums[0] / sums[1]


def per_entry(weights: Float[Tensor, " B"], values: Shaped[Tensor, "*S"]) -> Float[Tensor, "*R"]:
    """Weights of samples in a shape that multiplies the entries of `values`."""
    return weights.view(-1, *[1] * (values.dim() - 1))


def require_same_shape(metric: Metric, outputs: Tensor, targets: Tensor) -> None:
    """Raises ShapeError: torch would broadcast (B 1) against (B) and compare every sample with every other."""
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"The metric {metric.name!r}: outputs have shape {tuple(outputs.shape)} but targets {tuple(targets.shape)}.",
            "Both must have one shape.",
            "Reshape the targets, or choose a metric for integer labels.",
        )
