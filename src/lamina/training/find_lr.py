"""Which learning rate: the range test of Smith 2017 (arXiv:1506.01186, section 3.3).

It trains for a moment and leaves everything as it was (see `untouched`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.core.errors import DataError, LaminaError
from lamina.training.check_lr import NOTHING, Verdict, check_lr
from lamina.training.short_runs import losses_at, refuse_iterators
from lamina.training.step import Step
from lamina.training.untouched import untouched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 0.25  # powers of ten: the standard deviation of the smoothing, so that it is as wide for any number of steps
_FLAT = 0.05  # of the whole fall: what lies nearer to the lowest loss counts as lowest
_SURE = 4.0  # standard errors of the smoothed loss that are no fall yet: the lowest of many points is low by chance
# A loss falls by what was learned at all rates so far, so with more steps it falls at lower rates. By which power of the pace,
# was measured on MNIST (three networks, two optimizers, 60 to 400 steps): from 0.5 where the fall ends by divergence to 1.1.
_PACE, _PACE_POWER = 12.5, 2 / 3  # steps for a power of ten by which suggestions are told, and the power
_CHOICE = "valley"
_EMA = 0.9  # of the moving mean that says when to end


@dataclass(frozen=True)
class RateTest:
    """The loss while the learning rate rose from step to step, and what it suggests.

    `losses[i]` was measured just before the update with `rates[i]`; `smoothed` is their mean over neighbouring rates. `diverged`
    says that the test ended early because the loss had risen beyond all that was gained. `guessing` is the loss of the best
    answer that ignores its input, where it is known; `pace` the steps for each power of ten of the rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool
    verdict: Verdict | None = None
    guessing: float | None = None
    pace: float = _PACE

    @property
    def suggestions(self) -> dict[str, float]:
        """ "steepest": where the loss falls fastest; "valley": where it has fallen half its way; "minimum / 10": a tenth of the rate
        where it arrives at its lowest. As for 12.5 steps a power of ten: the more steps, the lower the rates at which a loss falls.

        Empty where the loss never fell by more than its noise, below that of guessing where it is known.
        """
        lowest, start, noise = int(np.argmin(self.smoothed)), self._start, self._noise
        floor = start if self.guessing is None else min(start, self.guessing)
        if lowest < 3 or floor - self.smoothed[lowest] <= max(_SURE * noise, 1e-3 * abs(floor)):
            return {}
        fall = start - self.smoothed[lowest]
        # A network whose units have died stays at chance whatever the rate: the first of the flat floor is the minimum.
        lowest = next(i for i, loss in enumerate(self.smoothed) if loss <= self.smoothed[lowest] + _FLAT * fall and i)
        falling = self.smoothed[: lowest + 1]
        found = {
            "steepest": self.rates[int(np.argmin(np.gradient(np.array(falling), np.log(self.rates[: lowest + 1]))))],
            "valley": _fallen(self.rates, falling, start - 0.5 * fall),
            "minimum / 10": self.rates[lowest] / 10,
        }
        paced = (self.pace / _PACE) ** _PACE_POWER
        return {name: min(rate * paced, self.rates[lowest]) for name, rate in found.items()}

    @property
    def _start(self) -> float:
        """The loss before any rate mattered."""
        return max(self.smoothed[0], float(np.mean(self._calm)))

    @property
    def _calm(self) -> tuple[float, ...]:
        return self.losses[: max(len(self.losses) // 4, 2)]

    @property
    def _noise(self) -> float:
        """The standard error of a smoothed loss, from the differences of neighbours: a slope is no noise."""
        single = float(np.std(np.diff(self._calm))) / math.sqrt(2)
        return single / math.sqrt(max(2 * math.sqrt(math.pi) * _WIDTH * self.pace, 1.0))

    @property
    def suggestion(self) -> float:
        """The rate to begin with: where the loss has fallen half its way. Raises LaminaError where it did not fall at any rate."""
        if not self.suggestions:
            raise LaminaError(
                f"The loss did not fall{self._below()} at any rate from {self.rates[0]:.3g} to {self.rates[-1]:.3g}.",
                "A range test finds a rate where the network learns.",
                "Check that the targets belong to the inputs, that inputs are scaled, and that some layers are trainable.",
            )
        return self.suggestions[_CHOICE]

    def __str__(self) -> str:
        lines = [f"Learning-rate range test: {len(self.rates)} steps from {self.rates[0]:.3g} to {self.rates[-1]:.3g}"]
        lines[0] += ", ended by divergence." if self.diverged else "."
        for name, rate in self.suggestions.items():
            lines.append(f"  {name:14s}{rate:.2e}{'  <- begin with this' if name == _CHOICE else ''}")
        if not self.suggestions:
            lines.append(f"  The loss did not fall{self._below()} at any rate, so none is suggested. {NOTHING}")
            lines[-1] += "; a hard task may need more steps." if self.guessing is not None else "."
        elif not self.diverged and int(np.argmin(self.smoothed)) == len(self.rates) - 1:
            lines.append("  The loss was still falling at the end: a higher `end` may say more.")
        return "\n".join(lines) if self.verdict is None else "\n".join([*lines, str(self.verdict)])

    __repr__ = __str__

    def _below(self) -> str:
        return "" if self.guessing is None else f" below {self.guessing:.4g}, that of the best guess without looking,"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "suggestion": self.suggestions.get(_CHOICE),
            "suggestions": self.suggestions,
            "guessing": self.guessing,
            "diverged": self.diverged,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
        }

    def plot(self, *, path: str | os.PathLike[str] | None = None) -> Figure:
        """The loss over the rate, with the suggestions marked. Written to `path`, where one is given; belongs to no window.

        Raises LaminaError for a path whose ending names no kind of picture, and for a folder; missing folders are made.
        """
        from matplotlib.figure import Figure

        if path is not None:
            check_picture(path)
        ink, rule, line = "#4b4843", "#d9d5cd", "#b4430f"
        figure = Figure(figsize=(8.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, ".", color="#b9b4ab", ms=4, label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color=line, linewidth=1.8, label="smoothed")
        if self.guessing is not None:
            axes.axhline(self.guessing, color=ink, linewidth=0.9, linestyle=(0, (4, 3)), label="guess without looking")
        marks = [(rate, name) for name, rate in self.suggestions.items()]
        if self.verdict is not None:
            marks.append((self.verdict.rate, f"given ({self.verdict.word})"))
        for shape, (rate, name) in zip("sDv^", marks, strict=False):
            height = float(np.interp(math.log(rate), np.log(self.rates), self.smoothed))
            style: dict[str, Any] = {"color": ink, "markerfacecolor": "white", "markeredgewidth": 1.4, "ms": 8}
            axes.plot(rate, height, shape, label=f"{name}: {rate:.1e}", zorder=3, linestyle="none", **style)
        axes.set_xscale("log")
        low, high = min(self.smoothed), max(self.smoothed[0], *self.losses[: max(len(self.losses) // 2, 1)])
        top = high + 0.25 * (high - low) or None
        axes.set_ylim(low - 0.12 * (high - low), top)  # the blow-up at the end runs out of sight
        axes.set_xlabel("learning rate", fontsize=9, color=ink)
        axes.set_ylabel("loss", fontsize=9, color=ink)
        axes.tick_params(length=0, labelsize=9, labelcolor=ink, which="both")
        axes.grid(color=rule, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(rule)
        figure.legend(frameon=False, fontsize=9, labelcolor=ink, loc="outside right upper")  # never over the curve
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def find_lr(
    step: Step,
    batches: Iterable[Any],
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    check: float | None = None,
    seed: int = 0,
    guessing: float | None = None,
) -> RateTest:
    """The range test: one update at each of `steps` rates from `start` to `end`, each the same factor above the last.

    It ends early where the loss diverges. `check` is a rate to be judged too (see `check_lr`). Small data is gone through
    several times. Several optimizers rise together, in the ratio of their rates. `guessing` is the loss of the best answer that
    ignores its input, where it is known: a network that only finds that one has learned nothing.
    """
    refuse_iterators(batches)
    if not 0 < start < end < math.inf or steps < 10:
        raise LaminaError(
            f"find_lr was given start={start}, end={end} and steps={steps}.",
            "0 < start < end, and at least 10 steps, were expected.",
            "Usual are start=1e-7, end=10 and steps=100.",
        )
    rates = [start * (end / start) ** (index / (steps - 1)) for index in range(steps)]
    losses: list[float] = []
    means: list[float] = []
    mean, diverged = 0.0, False
    with untouched(step, batches):
        for loss in losses_at(step, batches, rates, seed):
            if not math.isfinite(loss):
                diverged = True
                break
            losses.append(loss)
            mean = _EMA * mean + (1 - _EMA) * loss
            means.append(mean / (1 - _EMA ** len(losses)))
            best = min(means)
            if means[-1] > best + max(3 * abs(best), means[0] - best):
                diverged = True
                break
    if not losses:
        raise DataError(
            "The loss of the first batch, before any update, is no number.",
            "A range test begins from a network whose loss is finite.",
            "Check the data for NaN and for values that are not scaled, and the weights of the network.",
        )
    pace = (steps - 1) / math.log10(end / start)
    rates = rates[: len(losses)]
    test = RateTest(tuple(rates), tuple(losses), smooth(rates, losses), diverged, guessing=guessing, pace=pace)
    if check is None:
        return test
    # The range test has been at all rates: where none of them learned, none is tried again.
    elsewhere = (test.suggestion,) if test.suggestions else ()
    verdict = check_lr(step, batches, check, seed=seed, guessing=guessing, elsewhere=elsewhere)
    return replace(test, verdict=verdict)


def check_picture(path: str | os.PathLike[str]) -> None:
    """Makes the folder of a picture to come, so that what hinders it is known before anything is computed for it.

    Raises LaminaError for an ending that names no kind of picture, and for a folder.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    ending, known = Path(path).suffix.removeprefix(".").lower(), sorted(FigureCanvasBase.get_supported_filetypes())
    if Path(path).is_dir():
        raise LaminaError(
            f"{path} is a folder.", "The picture is one file.", f"Name it, such as {Path(path) / 'lr.png'}."
        )
    if ending not in known:
        raise LaminaError(
            f"{path} names no picture by its ending.",
            f"Known endings: {', '.join(known)}.",
            f"Name it {Path(path).with_suffix('.png')}.",
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)


def smooth(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, ...]:
    """The mean loss around each rate, weighed by a bell over the rate's logarithm: as wide for few steps as for many, and not late.

    A loss that has blown up counts as far as the first ones lie above the lowest, or it would hide the minimum beside it.
    """
    powers, values = np.log10(rates), np.array(losses, dtype=np.float64)
    calm = float(values[: max(len(values) // 4, 2)].max())
    values = np.minimum(values, 2 * calm - float(values.min()))
    apart = float(powers[1] - powers[0]) if len(powers) > 1 else 0.0
    weights = np.exp(-0.5 * ((powers[:, None] - powers[None]) / max(_WIDTH, apart)) ** 2)
    return tuple(float(value) for value in (weights * values).sum(axis=1) / weights.sum(axis=1))


def _fallen(rates: Sequence[float], losses: Sequence[float], level: float) -> float:
    """The rate, between two measured ones, at which falling losses pass a level for the last time."""
    before = max((i for i, loss in enumerate(losses[:-1]) if loss > level), default=0)
    share = (losses[before] - level) / max(losses[before] - losses[before + 1], 1e-12)
    return float(rates[before] * (rates[before + 1] / rates[before]) ** min(max(share, 0.0), 1.0))
