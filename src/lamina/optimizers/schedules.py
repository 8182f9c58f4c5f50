"""Learning-rate schedules: pure functions from the progress of training, 0 .. 1, to a factor of the base learning rate.

`warmup` is the share of training in which the factor climbs from its start to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast, overload

from lamina.core.errors import LaminaError, unknown_name


@dataclass(frozen=True)
class Constant:
    """The base learning rate throughout."""

    def __call__(self, progress: float) -> float:
        """1 at any progress."""
        del progress
        return 1.0


@dataclass(frozen=True)
class Linear:
    """Up a line in `warmup`, then down a line to 0."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        _require_share("warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor at a progress from 0 to 1."""
        if progress < self.warmup:
            return progress / self.warmup
        return 1.0 - _after(self.warmup, progress)


@dataclass(frozen=True)
class Cosine:
    """Up a line in `warmup`, then down half a cosine to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        _require_share("warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor at a progress from 0 to 1."""
        if progress < self.warmup:
            return progress / self.warmup
        return _cosine(1.0, 0.0, _after(self.warmup, progress))


@dataclass(frozen=True)
class OneCycle:
    """Half a cosine up from `initial` to 1, half a cosine down to `final` (Smith 2018, arXiv:1803.09820; fastai's form)."""

    warmup: float = 0.3
    final: float = 0.0
    initial: float = 0.04

    def __post_init__(self) -> None:
        for name in ("warmup", "final", "initial"):
            _require_share(name, getattr(self, name))

    def __call__(self, progress: float) -> float:
        """The factor at a progress from 0 to 1."""
        if progress < self.warmup:
            return _cosine(self.initial, 1.0, progress / self.warmup)
        return _cosine(1.0, self.final, _after(self.warmup, progress))


Schedule = Callable[[float], float]

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "linear": Linear,
    "one_cycle": OneCycle,
}


@overload
def get(spec: None) -> None: ...


@overload
def get(spec: str | Schedule | Callable[[], Schedule]) -> Schedule: ...


def get(spec: str | Schedule | Callable[[], Schedule] | None) -> Schedule | None:
    """The schedule of a name, of a class of this file, or any function from progress to factor as it is; None stays None."""
    if isinstance(spec, str):
        if spec not in SCHEDULES:
            raise unknown_name("schedule", spec, SCHEDULES)
        return SCHEDULES[spec]()
    if spec is None or (callable(spec) and not isinstance(spec, type)):
        return cast(Schedule | None, spec)
    if isinstance(spec, type) and spec in SCHEDULES.values():
        made: Schedule = spec()
        return made
    raise LaminaError(
        f"The schedule is {spec!r}, of type {type(spec).__name__}.",
        "A name, or a function from progress 0..1 to a factor of the learning rate, was expected.",
        f"The names are: {', '.join(SCHEDULES)}.",
    )


def _after(warmup: float, progress: float) -> float:
    return 1.0 if warmup >= 1.0 else min((progress - warmup) / (1.0 - warmup), 1.0)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def _require_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise LaminaError(
            f"{name} is {value}.",
            "A share from 0 to 1 was expected.",
            "Write 0.1 for a tenth of training or of the rate.",
        )
