"""Schedules measured in epochs: they are called with the epoch, counted from 0, with a fraction within it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lamina.optimizers.schedules.progress import cosine
from lamina.optimizers.schedules.schedule import NamedSchedule, require, require_share, whole_epoch

Wave = Literal["triangular", "triangular2", "exp_range"]


class _InEpochs(NamedSchedule):
    """A schedule that is called with the epoch."""

    @property
    def unit(self) -> Literal["progress", "epochs"]:
        """Epochs, from 0."""
        return "epochs"


@dataclass(frozen=True)
class PiecewiseConstant(_InEpochs):
    """One rate after the other: 0.1 for 5 epochs, then 0.01 for 5, then 0.001 is `rates=(0.1, 0.01, 0.001), epochs=(5, 5)`.

    `rates` are learning rates, whatever the optimizer's is; `factors` multiply it. `epochs` tells how long each holds; the
    last holds to the end, or as many epochs as are named for it.
    """

    rates: tuple[float, ...] | None = None
    epochs: tuple[float, ...] = (5, 5)
    factors: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.rates is None and self.factors is None:
            object.__setattr__(self, "factors", (1.0, 0.1, 0.01))
        for name in ("rates", "epochs", "factors"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        came = f"PiecewiseConstant was given rates={self.rates}, factors={self.factors} and epochs={self.epochs}."
        remedy = "Write for example PiecewiseConstant(rates=(0.1, 0.01, 0.001), epochs=(5, 5))."
        require((self.rates is None) != (self.factors is None), came, "Either rates or factors were expected.", remedy)
        pieces = self._pieces
        fitting = f"Epochs for each of the {len(pieces)} pieces, or for all but the last, were expected"
        require(len(pieces) > 0 and len(self.epochs) in (len(pieces) - 1, len(pieces)), came, f"{fitting}.", remedy)
        valid = all(0 <= piece < math.inf for piece in pieces) and all(0 < span < math.inf for span in self.epochs)
        require(valid, came, "Rates that are not negative, and epochs above 0, were expected.", remedy)

    @property
    def _pieces(self) -> tuple[float, ...]:
        return self.rates if self.rates is not None else self.factors or ()

    @property
    def length(self) -> float | None:
        """All epochs together, where the last piece has its own."""
        return sum(self.epochs) if len(self.epochs) == len(self._pieces) else None

    @property
    def base_rate(self) -> float | None:
        """1 for `rates`: they are the learning rates themselves."""
        return None if self.rates is None else 1.0

    def __call__(self, epoch: float, /) -> float:
        """The factor, or the rate, at an epoch."""
        end = 0.0
        for piece, span in zip(self._pieces, self.epochs, strict=False):
            end += span
            if epoch + 1e-9 < end:
                return float(piece)
        return float(self._pieces[-1])

    def misfit(self, epochs: float) -> tuple[str, float] | None:
        """Whether every piece is reached."""
        if self.length is not None or epochs > sum(self.epochs):
            return super().misfit(epochs)
        return f"its last change comes after epoch {sum(self.epochs):g}", sum(self.epochs) + 1


@dataclass(frozen=True)
class Exponential(_InEpochs):
    """exp(-epoch / c): after `c` epochs the rate has fallen to 1/e = 37 %."""

    c: float = 10.0

    def __post_init__(self) -> None:
        require(self.c > 0, f"c is {self.c}.", "A number of epochs above 0 was expected.", "Pass for example c=10.")

    def __call__(self, epoch: float, /) -> float:
        """The factor at an epoch."""
        return math.exp(-epoch / self.c)


@dataclass(frozen=True)
class StepDecay(_InEpochs):
    """factor^n after n steps down: one after `every` so many epochs, or one after each number of epochs in `at`.

    `StepDecay(at=(15, 25))` is ten times lower from the 16th epoch on, and a hundred times from the 26th.
    """

    factor: float = 0.1
    every: float | None = None
    at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at))
        if self.every is None and not self.at:
            object.__setattr__(self, "every", 30)  # of ResNet's 90 (He 2016)
        came = f"StepDecay was given factor={self.factor}, every={self.every} and at={self.at}."
        remedy = "Write StepDecay(every=30), or StepDecay(at=(15, 25))."
        require(0 <= self.factor < math.inf, came, "A factor that is not negative was expected.", "Usual is 0.1.")
        require(self.every is None or not self.at, came, "Either every or at was expected.", remedy)
        valid = (self.every is None or self.every > 0) and all(time > 0 for time in self.at)
        require(valid, came, "Numbers of epochs above 0 were expected.", remedy)

    def __call__(self, epoch: float, /) -> float:
        """The factor at an epoch."""
        if self.every is not None:
            return float(self.factor ** whole_epoch(epoch / self.every))
        return float(self.factor ** sum(epoch + 1e-9 >= time for time in self.at))

    def misfit(self, epochs: float) -> tuple[str, float] | None:
        """Whether every step is reached; of endless ones the first."""
        last = self.every if self.every is not None else max(self.at)
        which = "first" if self.every is not None else "last"
        return None if epochs > last else (f"its {which} step comes after epoch {last:g}", last + 1)


@dataclass(frozen=True)
class CosineRestarts(_InEpochs):
    """Half a cosine from 1 to `final` in `first` epochs, then again, each time `multiply` times as long: SGDR.

    Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. 5, with their T_0 = 10 and T_mult = 2: cycles end after 10, 30, 70 epochs.
    """

    first: float = 10.0
    multiply: float = 2.0
    final: float = 0.0

    def __post_init__(self) -> None:
        require_share("final", self.final)
        require(
            self.first > 0 and self.multiply >= 1,
            f"CosineRestarts was given first={self.first} and multiply={self.multiply}.",
            "A first cycle above 0 epochs, and a multiple of at least 1, were expected.",
            "Write for example CosineRestarts(first=10, multiply=2).",
        )

    def __call__(self, epoch: float, /) -> float:
        """The factor at an epoch."""
        start, span = self._cycle(epoch)
        return cosine(1.0, self.final, max(epoch - start, 0.0) / span)

    def _cycle(self, epoch: float) -> tuple[float, float]:
        """Start and length of the cycle that an epoch lies in."""
        if self.multiply == 1:
            return self.first * whole_epoch(epoch / self.first), self.first
        start, span = 0.0, self.first
        while epoch + 1e-9 >= start + span:
            start, span = start + span, span * self.multiply
        return start, span

    def misfit(self, epochs: float) -> tuple[str, float] | None:
        """Whether training ends with a cycle."""
        start, span = self._cycle(epochs)
        return None if epochs > 0 and abs(epochs - start) < 1e-6 else (_MIDST, start + span)


@dataclass(frozen=True)
class Cyclic(_InEpochs):
    """Up a line from `lowest` to 1 in `half` epochs, down again, and so on (Smith 2017, arXiv:1506.01186, section 3.2).

    The base rate is the highest one. "triangular2" halves the height with each cycle, "exp_range" multiplies it by `gamma` with
    each epoch (Smith: with each iteration). `lowest` is Smith's 0.001 of 0.006.
    """

    half: float = 4.0
    lowest: float = 1 / 6
    shape: Wave = "triangular"
    gamma: float = 0.95

    def __post_init__(self) -> None:
        require_share("lowest", self.lowest)
        require_share("gamma", self.gamma)
        require(self.half > 0, f"half is {self.half}.", "A number of epochs above 0 was expected.", "Usual is 2 to 8.")
        shapes = ("triangular", "triangular2", "exp_range")
        require(
            self.shape in shapes, f"shape is {self.shape!r}.", f"Known are {', '.join(shapes)}.", "Use one of these."
        )

    def __call__(self, epoch: float, /) -> float:
        """The factor at an epoch."""
        cycle = whole_epoch(epoch / (2 * self.half))
        height = max(0.0, 1.0 - abs(epoch / self.half - 2 * cycle - 1))
        if self.shape == "triangular2":
            height *= 0.5**cycle
        elif self.shape == "exp_range":
            height *= self.gamma**epoch
        return self.lowest + (1.0 - self.lowest) * height

    def misfit(self, epochs: float) -> tuple[str, float] | None:
        """Whether training ends with a cycle."""
        cycles = epochs / (2 * self.half)
        if epochs > 0 and abs(cycles - round(cycles)) < 1e-6:
            return None
        return _MIDST, math.ceil(cycles) * 2 * self.half


_MIDST = "it would end in the middle of a cycle, at a high rate"
