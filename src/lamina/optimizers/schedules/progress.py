"""Schedules of the progress of training, 0 .. 1: they fit a training of any length.

`warmup` is the share of training in which the factor climbs from its start to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lamina.optimizers.schedules.schedule import NamedSchedule, require, require_share


@dataclass(frozen=True)
class Constant(NamedSchedule):
    """The base learning rate throughout."""

    def __call__(self, progress: float, /) -> float:
        """1 at any progress."""
        del progress
        return 1.0


@dataclass(frozen=True)
class Linear(NamedSchedule):
    """Up a line in `warmup`, then down a line to 0."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_share("warmup", self.warmup)

    def __call__(self, progress: float, /) -> float:
        """The factor at a progress from 0 to 1."""
        if progress < self.warmup:
            return progress / self.warmup
        return 1.0 - _after(self.warmup, progress)


@dataclass(frozen=True)
class Cosine(NamedSchedule):
    """Up a line in `warmup`, then down half a cosine to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_share("warmup", self.warmup)

    def __call__(self, progress: float, /) -> float:
        """The factor at a progress from 0 to 1."""
        if progress < self.warmup:
            return progress / self.warmup
        return cosine(1.0, 0.0, _after(self.warmup, progress))


@dataclass(frozen=True)
class Polynomial(NamedSchedule):
    """(1 - final) (1 - progress)^power + final: "poly" (Chen 2017, arXiv:1606.00915, section 4.1.2) with its power 0.9."""

    power: float = 0.9
    final: float = 0.0

    def __post_init__(self) -> None:
        require_share("final", self.final)
        require(
            self.power > 0, f"power is {self.power}.", "A number above 0 was expected.", "1 is a line, 2 a parabola."
        )

    def __call__(self, progress: float, /) -> float:
        """The factor at a progress from 0 to 1."""
        return float((1.0 - self.final) * (1.0 - min(progress, 1.0)) ** self.power + self.final)


@dataclass(frozen=True)
class OneCycle(NamedSchedule):
    """Half a cosine up from `initial` to 1, half a cosine down to `final` (Smith 2018, arXiv:1803.09820; fastai's form)."""

    warmup: float = 0.3
    final: float = 0.0
    initial: float = 0.04

    def __post_init__(self) -> None:
        for name in ("warmup", "final", "initial"):
            require_share(name, getattr(self, name))

    def __call__(self, progress: float, /) -> float:
        """The factor at a progress from 0 to 1."""
        return self._between(self.initial, 1.0, self.final, progress)

    def _between(self, start: float, peak: float, end: float, progress: float) -> float:
        if progress < self.warmup:
            return cosine(start, peak, progress / self.warmup)
        return cosine(peak, end, _after(self.warmup, progress))


@dataclass(frozen=True)
class OneCycleMomentum(OneCycle):
    """One cycle whose momentum moves against the rate: from `high` down to `low` where the rate peaks, and back (Smith 2018, 4.3).

    For Adam and its kin the momentum is beta_1.
    """

    high: float = 0.95
    low: float = 0.85

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0.0 <= self.low <= self.high < 1.0,
            f"The momentum is to move between low={self.low} and high={self.high}.",
            "0 <= low <= high < 1 was expected.",
            "Usual are low=0.85 and high=0.95.",
        )

    def momentum(self, progress: float, /) -> float:
        """The momentum itself at a progress from 0 to 1."""
        return self._between(self.high, self.low, self.high, progress)


@dataclass(frozen=True)
class Plateau(NamedSchedule):
    """The base learning rate, multiplied by `factor` whenever `monitor` has not become better for `patience` epochs.

    What has been measured is no function of progress: the factor is 1 throughout, and `fit` adds the callback
    ReduceLROnPlateau, whose arguments these are.
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    mode: Literal["auto", "min", "max"] = "auto"
    min_delta: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 < self.factor < 1, f"factor is {self.factor}.", "A number between 0 and 1 was expected.", "Usual is 0.1."
        )

    def __call__(self, progress: float, /) -> float:
        """1 at any progress: the callback moves the base rate."""
        del progress
        return 1.0


def cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from `start` (share 0) to `end` (share 1)."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def _after(warmup: float, progress: float) -> float:
    return 1.0 if warmup >= 1.0 else min((progress - warmup) / (1.0 - warmup), 1.0)
