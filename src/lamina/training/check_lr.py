"""A verdict on one learning rate, from short runs at it and beside it. Everything is afterwards as it was (see `untouched`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lamina.core.errors import DataError, LaminaError
from lamina.training.short_runs import losses_at, refuse_iterators
from lamina.training.step import Step
from lamina.training.untouched import untouched

Word = Literal["too low", "good", "too high", "diverging", "nothing learned"]

_NEIGHBOUR = 10.0  # a rate is compared with those so many times lower and higher
_SURE = 3.0  # standard errors that a loss has to lie below the untrained one, to have fallen
_LEAST = 1e-3  # of the loss: less is no fall either, where there is no noise
# Tried where neither the rate nor its neighbours learned: some rate between them does, if the network learns at all.
ELSEWHERE = (1e-6, 3e-5, 1e-3, 3e-2, 1.0, 30.0)

_REASONS: dict[Word, str] = {
    "too low": "a higher one learns much more in the same time",
    "good": "neither a tenth nor ten times of it learns much more",
    "too high": "a lower one learns more",
    "diverging": "the loss is above that of the untrained network",
    "nothing learned": "the loss did not fall at any rate that was tried",
}
NOTHING = "Check the labels, the loss and the network"  # what to do where nothing is learned


@dataclass(frozen=True)
class Verdict:
    """What a short run says of a learning rate, beside runs on the same batches at a tenth of it, ten times it, and at 0.

    `untrained` is the loss at rate 0, and `losses` maps each rate to its loss: means over the last quarter of the `steps`, infinite
    where the loss was no number any more. `noise` is the standard error of such a mean. `guessing` is the loss of the best
    answer that ignores its input, where it is known; `passes` counts how often a run went through the data, where that is known.
    """

    word: Word
    rate: float
    losses: dict[float, float]
    untrained: float
    noise: float
    steps: int
    guessing: float | None = None
    passes: float | None = None

    def __str__(self) -> str:
        head = f"The learning rate {self.rate:.3g} is {self.word}: {_REASONS[self.word]}."
        if self.word == "nothing learned":
            head = f"At the learning rate {self.rate:.3g} nothing is learned: {_REASONS[self.word]}. {NOTHING}."
        guess = "" if self.guessing is None else f", {self.guessing:.4g} by guessing"
        lines = [head, f"Loss at the end of {self.steps} steps ({self.untrained:.4g} untrained{guess}):"]
        for rate, loss in self.losses.items():
            mark = "  <" if rate == self.rate else ""
            lines.append(f"  {rate:<10.3g}{'diverged' if math.isinf(loss) else f'{loss:.4g}'}{mark}")
        if self.passes is not None and self.passes > 2:
            lines.append(
                f"  A run went {self.passes:.0f} times through the data: learning by heart counts as learning here."
            )
        return "\n".join(lines)

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; a loss that was no number is null."""
        losses = {f"{rate:.6g}": None if math.isinf(loss) else loss for rate, loss in self.losses.items()}
        return {
            "word": self.word,
            "rate": self.rate,
            "losses": losses,
            "untrained": self.untrained,
            "guessing": self.guessing,
            "noise": self.noise,
            "steps": self.steps,
        }


def check_lr(
    step: Step,
    batches: Iterable[Any],
    rate: float,
    *,
    steps: int = 80,
    seed: int = 0,
    guessing: float | None = None,
    elsewhere: Sequence[float] = ELSEWHERE,
) -> Verdict:
    """A verdict on a learning rate, from four runs of `steps` updates on the same batches: at it, a tenth, ten times, and 0.

    What a run has learned is how far its loss is below that at rate 0, and below `guessing` (the loss of the best answer that
    ignores its input) where it is given, in the mean over the last quarter of the steps. Less than three standard errors, or
    than a thousandth, is nothing.

    "diverging": above that at rate 0; "too high": less than 95 % of what a tenth of the rate has; "too low": less than 80 % of
    what ten times the rate has; else "good". Where none of the three has learned, those of `elsewhere` are tried until one
    does: "too low" or "too high" by where it is, and "nothing learned" where none does.
    """
    refuse_iterators(batches)
    if not 0 < rate < math.inf or steps < 8:
        raise LaminaError(
            f"check_lr was given the rate {rate} and {steps} steps.",
            "A rate above 0, and at least 8 steps, were expected.",
            "Pass for example check_lr(step, batches, 0.01).",
        )

    def end(tried: float) -> list[float]:
        with untouched(step, batches):
            losses = [*itertools.takewhile(math.isfinite, losses_at(step, batches, [tried] * steps, seed))]
        return losses[-(steps // 4) :] if len(losses) == steps else []

    def mean(tried: float) -> float:
        losses = end(tried)
        return float(np.mean(losses)) if losses else math.inf

    still = end(0.0)
    if not still:
        raise DataError(
            "The loss without any update is no number.", "A finite loss was expected.", "Check the data for NaN."
        )
    untrained, noise = float(np.mean(still)), float(np.std(still) / math.sqrt(len(still)))
    means = {tried: mean(tried) for tried in (rate / _NEIGHBOUR, rate, rate * _NEIGHBOUR)}
    floor = untrained if guessing is None else min(untrained, guessing)
    lower, own, higher = (floor - loss for loss in means.values())
    learns: float | None = None  # a rate elsewhere that does
    sure = max(_SURE * noise, _LEAST * abs(floor))
    if max(lower, own, higher) <= sure:
        for other in sorted(elsewhere, key=lambda other: abs(math.log(other / rate))):
            if other not in means:
                means[other] = mean(other)
            if floor - means[other] > sure:
                learns = other
                break
    word = _word(lower, own, higher, noise=noise, sure=sure, learns=learns, rate=rate, grew=means[rate] - untrained)
    count = len(batches) if isinstance(batches, Sized) else 0
    passes = steps / count if count else None
    return Verdict(word, rate, dict(sorted(means.items())), untrained, noise, steps, guessing, passes)


def _word(
    lower: float,
    own: float,
    higher: float,
    *,
    noise: float,
    sure: float,
    learns: float | None,
    rate: float,
    grew: float,
) -> Word:
    """The verdict from what three rates have learned, and where none of them did from the rate elsewhere that does."""
    if max(lower, own, higher) <= sure and learns is None:
        return "nothing learned"
    if grew > noise:
        return "diverging"
    if learns is not None:
        return "too low" if learns > rate else "too high"
    if lower - own > max(0.05 * lower, noise):
        return "too high"
    if own <= sure or higher - own > max(0.2 * higher, noise):
        return "too low"
    return "good"
