"""Which learning rate: the range test of Smith 2017 (arXiv:1506.01186, section 3.3), and a verdict on one rate from a short run.

Both train for a moment and leave everything as it was (see `untouched`).
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError, LaminaError
from lamina.training.step import Step
from lamina.training.untouched import untouched
from lamina.training.world import World

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Word = Literal["too low", "good", "too high", "diverging"]

_SMOOTHING = 0.9  # of the moving mean of the loss, whose bias is corrected as Adam corrects his
_UNSTEADY = round(1 / (1 - _SMOOTHING))  # steps until the mean has its full weight
_FLAT = 0.05  # of the whole fall: what lies nearer to the lowest loss counts as lowest
# The usual rule. A few runs on digits, one seed each, agree with it and do not prove it better than the others.
_CHOICE = "minimum / 10"
_NEIGHBOUR = 10.0  # a rate is compared with those so many times lower and higher


@dataclass(frozen=True)
class Verdict:
    """What a short run says of a learning rate, beside runs on the same batches at a tenth of it, ten times it, and at 0.

    `untrained` is the loss at rate 0, and `losses` maps each rate to its loss: means over the last quarter of the `steps`, infinite
    where the loss was no number any more. `noise` is the standard error of such a mean.
    """

    word: Word
    rate: float
    losses: dict[float, float]
    untrained: float
    noise: float
    steps: int

    def __str__(self) -> str:
        lines = [f"The learning rate {self.rate:.3g} is {self.word}: {_REASONS[self.word]}."]
        lines.append(f"Loss at the end of {self.steps} steps ({self.untrained:.4g} untrained):")
        for rate, loss in self.losses.items():
            mark = "  <" if rate == self.rate else ""
            lines.append(f"  {rate:<10.3g}{'diverged' if math.isinf(loss) else f'{loss:.4g}'}{mark}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; a loss that was no number is null."""
        losses = {f"{rate:.6g}": None if math.isinf(loss) else loss for rate, loss in self.losses.items()}
        return {
            "word": self.word,
            "rate": self.rate,
            "losses": losses,
            "untrained": self.untrained,
            "noise": self.noise,
            "steps": self.steps,
        }


_REASONS: dict[Word, str] = {
    "too low": "ten times it learns much more in the same time",
    "good": "neither a tenth nor ten times of it learns much more",
    "too high": "a tenth of it learns more",
    "diverging": "the loss is above that of the untrained network",
}


@dataclass(frozen=True)
class RateTest:
    """The loss while the learning rate rose from step to step, and what it suggests.

    `losses[i]` was measured just before the update with `rates[i]`; `smoothed` is their moving mean. `diverged` says that
    the test ended early because the loss had risen beyond all that was gained.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool
    verdict: Verdict | None = None

    @property
    def suggestions(self) -> dict[str, float]:
        """ "steepest": where the loss falls fastest; "valley": in the middle of its longest fall; "minimum / 10": a tenth of the rate
        where it arrives at its lowest. Empty where the loss never fell by more than its noise.
        """
        lowest = int(np.argmin(self.smoothed))
        fall = max(self.smoothed[: lowest + 1]) - self.smoothed[lowest]
        calm = self.losses[: max(len(self.losses) // 4, 2)]
        if lowest < 3 or fall <= np.std(calm):
            return {}
        # A network whose units have died stays at chance whatever the rate: the first of the flat floor is the minimum.
        lowest = next(
            i for i, loss in enumerate(self.smoothed) if loss <= self.smoothed[lowest] + _FLAT * fall and i > 2
        )
        falling = self.smoothed[: lowest + 1]
        slope = np.gradient(np.array(falling), np.log(self.rates[: lowest + 1]))
        slope[: min(_UNSTEADY, lowest // 2)] = 0.0  # the mean of so few losses leaps
        return {
            "steepest": self.rates[int(np.argmin(slope))],
            "valley": self.rates[valley(falling)],
            _CHOICE: self.rates[lowest] / 10,
        }

    @property
    def suggestion(self) -> float:
        """The rate to begin with: a tenth of where the loss is lowest. Raises LaminaError where the loss never fell."""
        if not self.suggestions:
            raise LaminaError(
                f"The loss never fell at rates from {self.rates[0]:.3g} to {self.rates[-1]:.3g}.",
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
            lines.append("  The loss never fell: no rate is suggested.")
        elif not self.diverged and int(np.argmin(self.smoothed)) == len(self.rates) - 1:
            lines.append("  The loss was still falling at the end: a higher `end` may say more.")
        return "\n".join(lines) if self.verdict is None else "\n".join([*lines, str(self.verdict)])

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "suggestion": self.suggestions.get(_CHOICE),
            "suggestions": self.suggestions,
            "diverged": self.diverged,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
        }

    def plot(self, *, path: str | os.PathLike[str] | None = None) -> Figure:
        """The loss over the rate, with the suggestions marked. Written to `path`, where one is given; belongs to no window."""
        from matplotlib.figure import Figure

        ink, rule, line = "#4b4843", "#d9d5cd", "#b4430f"
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, ".", color="#b9b4ab", ms=4, label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color=line, linewidth=1.8, label="smoothed")
        marks = [("o", rate, name) for name, rate in self.suggestions.items()]
        if self.verdict is not None:
            marks.append(("*", self.verdict.rate, f"given: {self.verdict.word}"))
        shapes = iter("sDv^")
        for _, rate, name in marks:
            height = float(np.interp(math.log(rate), np.log(self.rates), self.smoothed))
            style: dict[str, Any] = {
                "color": ink,
                "markerfacecolor": "white",
                "markeredgewidth": 1.4,
                "ms": 8,
                "linestyle": "none",
            }
            axes.plot(rate, height, next(shapes), label=f"{name}  {rate:.1e}", zorder=3, **style)
        axes.set_xscale("log")
        low, high = min(self.smoothed), max(self.smoothed[0], *self.losses[: max(len(self.losses) // 2, 1)])
        axes.set_ylim(
            low - 0.12 * (high - low), high + 0.25 * (high - low) or None
        )  # the blow-up at the end runs out of sight
        axes.set_xlabel("learning rate", fontsize=9, color=ink)
        axes.set_ylabel("loss", fontsize=9, color=ink)
        axes.tick_params(length=0, labelsize=9, labelcolor=ink, which="both")
        axes.grid(color=rule, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(rule)
        axes.legend(frameon=False, fontsize=9, labelcolor=ink, loc="lower left")
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
) -> RateTest:
    """The range test: one update at each of `steps` rates from `start` to `end`, each the same factor above the last.

    It ends early where the loss diverges. `check` is a rate to be judged too (see `check_lr`). Small data is gone through
    several times. Several optimizers rise together, in the ratio of their rates.
    """
    _refuse_iterators(batches)
    if not 0 < start < end < math.inf or steps < 10:
        raise LaminaError(
            f"find_lr was given start={start}, end={end} and steps={steps}.",
            "0 < start < end, and at least 10 steps, were expected.",
            "Usual are start=1e-7, end=10 and steps=100.",
        )
    verdict = None if check is None else check_lr(step, batches, check, seed=seed)
    rates = [start * (end / start) ** (index / (steps - 1)) for index in range(steps)]
    losses: list[float] = []
    smoothed: list[float] = []
    mean, diverged = 0.0, False
    with untouched(step, batches):
        for loss in _losses(step, batches, rates, seed):
            if not math.isfinite(loss):
                diverged = True
                break
            losses.append(loss)
            mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
            smoothed.append(mean / (1 - _SMOOTHING ** len(losses)))
            best = min(smoothed)
            if smoothed[-1] > best + max(3 * abs(best), smoothed[0] - best):
                diverged = True
                break
    if not losses:
        raise DataError(
            "The loss of the first batch, before any update, is no number.",
            "A range test begins from a network whose loss is finite.",
            "Check the data for NaN and for values that are not scaled, and the weights of the network.",
        )
    return RateTest(tuple(rates[: len(losses)]), tuple(losses), tuple(smoothed), diverged, verdict)


def check_lr(step: Step, batches: Iterable[Any], rate: float, *, steps: int = 80, seed: int = 0) -> Verdict:
    """A verdict on a learning rate, from four runs of `steps` updates on the same batches: at it, a tenth, ten times, and 0.

    What a run has learned is how far its loss is below that at rate 0, in the mean over the last quarter of the steps.
    "diverging": worse than nothing; "too high": less than 95 % of what a tenth of the rate has; "too low": less than 80 % of what
    ten times the rate has, or nothing yet; else "good". A difference within the noise decides nothing.
    """
    _refuse_iterators(batches)
    if not 0 < rate < math.inf or steps < 8:
        raise LaminaError(
            f"check_lr was given the rate {rate} and {steps} steps.",
            "A rate above 0, and at least 8 steps, were expected.",
            "Pass for example check_lr(step, batches, 0.01).",
        )
    ends: dict[float, list[float]] = {}
    for tried in (0.0, rate / _NEIGHBOUR, rate, rate * _NEIGHBOUR):
        with untouched(step, batches):
            losses = [*itertools.takewhile(math.isfinite, _losses(step, batches, [tried] * steps, seed))]
        ends[tried] = losses[-(steps // 4) :] if len(losses) == steps else []
    still = ends.pop(0.0)
    if not still:
        raise DataError(
            "The loss without any update is no number.", "A finite loss was expected.", "Check the data for NaN."
        )
    untrained, noise = float(np.mean(still)), float(np.std(still) / math.sqrt(len(still)))
    means = {tried: float(np.mean(losses)) if losses else math.inf for tried, losses in ends.items()}
    lower, own, higher = (untrained - mean for mean in means.values())
    return Verdict(_word(lower, own, higher, noise), rate, means, untrained, noise, steps)


def _word(lower: float, own: float, higher: float, noise: float) -> Word:
    """The verdict from what three rates have learned."""
    if own < -noise:
        return "diverging"
    if lower - own > max(0.05 * lower, noise):
        return "too high"
    if own <= noise or higher - own > max(0.2 * higher, noise):
        return "too low"
    return "good"


def valley(losses: Sequence[float]) -> int:
    """The place in the middle of the longest run of ever lower losses, gaps allowed (fastai's `valley`)."""
    longest = [1] * len(losses)
    for index in range(1, len(losses)):
        longest[index] += max((longest[j] for j in range(index) if losses[j] > losses[index]), default=0)
    last = int(np.argmax(longest))
    first = max(last - longest[last] + 1, 0)
    return (first + last) // 2


def _losses(step: Step, batches: Iterable[Any], rates: Sequence[float], seed: int) -> Iterator[float]:
    """The loss at each rate, measured before its update; an update that accumulates is given as many batches as it wants."""
    updates = list(step.updates.values())
    first = updates[0].learning_rate
    ratios = [update.learning_rate / first if first else 1.0 for update in updates]
    many = max(int(getattr(update, "accumulate", 1)) for update in updates)
    for update in updates:
        update.schedule = None
        update.plan(len(rates))  # for an average that asks how far it is
    frozen = [m for net in step.networks.values() if net.training for m in net.modules() if not m.training]
    for net in step.networks.values():
        net.train()
    for module in frozen:  # as in the loop: a frozen BatchNorm stays so
        module.training = False
    endless, world = _endless(batches), World.current()
    for number, rate in enumerate(rates):
        for update, ratio in zip(updates, ratios, strict=True):
            update.learning_rate = rate * ratio
        total, count = 0.0, 0.0
        for part in range(many):
            random.reseed(random.key(seed, number * many + part))
            logs = step.train(next(endless))
            weight = float(logs.count)
            total, count = total + weight * float(_loss(logs.values)), count + weight
        told = [float(world.sum(torch.tensor(value, dtype=torch.float64))) for value in (total, count)]
        yield told[0] / told[1] if told[1] else math.nan  # of all processes, or each would see another end


def _loss(values: dict[str, Tensor]) -> Tensor:
    """The loss among the figures of a step, or the sum of those that are called so (d_loss, g_loss)."""
    if "loss" in values:
        return values["loss"]
    named = [value for name, value in values.items() if name.endswith("loss")]
    if not named:
        raise LaminaError(
            f"The step logs {', '.join(values) or 'nothing'}.", "A figure called loss was expected.", "Log the loss."
        )
    return sum(named[1:], named[0])


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    for epoch in itertools.count():
        empty = True
        for batch in batches.epoch(epoch) if hasattr(batches, "epoch") else batches:
            empty = False
            yield batch
        if empty:
            raise DataError(
                "The data gave no batch.", "At least one was expected.", "Check the length of the data set."
            )


def _refuse_iterators(batches: Iterable[Any]) -> None:
    if hasattr(batches, "__next__"):  # and no iter(batches): a DataLoader's would draw from torch's generator
        raise DataError(
            f"A {type(batches).__name__} came as data, whose batches are gone once they have been used.",
            "Trying rates must leave the data as it was.",
            "Pass a list of batches, a DataLoader, arrays or a data set.",
        )
