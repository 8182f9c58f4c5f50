"""Schedules by name, and whether one fits the length of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, overload

from lamina.core.errors import LaminaError, unknown_name
from lamina.optimizers.schedules.combined import Warmup
from lamina.optimizers.schedules.epochs import CosineRestarts, Cyclic, Exponential, PiecewiseConstant, StepDecay
from lamina.optimizers.schedules.progress import (
    Constant,
    Cosine,
    Linear,
    OneCycle,
    OneCycleMomentum,
    Plateau,
    Polynomial,
)
from lamina.optimizers.schedules.schedule import NamedSchedule, Schedule

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "cosine_restarts": CosineRestarts,
    "cyclic": Cyclic,
    "exponential": Exponential,
    "linear": Linear,
    "one_cycle": OneCycle,
    "one_cycle_momentum": OneCycleMomentum,
    "piecewise_constant": PiecewiseConstant,
    "plateau": Plateau,
    "polynomial": Polynomial,
    "step": StepDecay,
    "warmup": Warmup,
}


@overload
def get(spec: None) -> None: ...


@overload
def get(spec: str | Schedule | Callable[[], Schedule]) -> Schedule: ...


def get(spec: str | Schedule | Callable[[], Schedule] | None) -> Schedule | None:
    """The schedule of a name, of a class of this folder, or any function from progress to factor as it is; None stays None."""
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


def check_length(schedule: Schedule | None, epochs: float) -> str | None:
    """The text of a warning where a schedule is longer or shorter than a training of so many epochs, or None.

    A training of another length is allowed (a quick try, a run that is lengthened later), so it is a warning and no error.
    """
    misfit = schedule.misfit(epochs) if isinstance(schedule, NamedSchedule) else None
    if misfit is None:
        return None
    why, fitting = misfit
    return (
        f"The schedule {schedule!r} does not fit a training of {epochs:g} {'epoch' if epochs == 1 else 'epochs'}: {why}. "
        f"Its rates were meant for another length, such as {fitting:g}. "
        f"Train {fitting:g} epochs, or give the schedule the length of this training."
    )
