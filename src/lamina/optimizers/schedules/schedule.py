"""What every schedule of this folder offers beside its formula, and how any schedule is tabulated and drawn."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from lamina.core.errors import LaminaError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Schedule = Callable[[float], float]

_ROUNDING = 1e-9  # epochs; an epoch computed as step / steps * epochs may fall short of its whole number by rounding
_USUAL = 10.0  # epochs that are drawn where nobody says, unless the schedule wants another number
_INK, _RULE, _LINE = "#4b4843", "#d9d5cd", "#b4430f"


class NamedSchedule(ABC):
    """A schedule with a formula, a unit and a length.

    `unit` says what it is called with: the progress 0..1 of training, or the epoch (from 0). `length` is the number of epochs it
    is made for, None for any. Where `base_rate` is a number it takes the place of the optimizer's learning rate: with 1.0
    the factors are the learning rates themselves.
    """

    @property
    def unit(self) -> Literal["progress", "epochs"]:
        """What the schedule is called with."""
        return "progress"

    @property
    def length(self) -> float | None:
        """The number of epochs that it is made for."""
        return None

    @property
    def base_rate(self) -> float | None:
        """What the factors multiply, where that is not the optimizer's learning rate."""
        return None

    @abstractmethod
    def __call__(self, position: float, /) -> float:
        """The factor of the base learning rate."""

    def misfit(self, epochs: float) -> tuple[str, float] | None:
        """Why training of so many epochs does not fit, and how many would; None where it fits."""
        if self.length is None or abs(self.length - epochs) < _ROUNDING:
            return None
        if epochs < self.length:
            return f"it is made for {self.length:g} and would not reach its end", self.length
        return f"it is made for {self.length:g} and would stay at its last rate from there on", self.length

    def plot(
        self,
        epochs: float | None = None,
        steps_per_epoch: int = 100,
        *,
        lr: float = 1.0,
        path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """As the function `plot`."""
        return plot(self, epochs, steps_per_epoch, lr=lr, path=path)


def factors(
    schedule: Schedule, *, epochs: float, steps_per_epoch: int, of: Callable[[float], float] | None = None
) -> list[float]:
    """The factor at each update of a training. `of` is asked in place of the schedule, such as its `momentum`."""
    total = max(round(epochs * steps_per_epoch), 1)
    whole = epochs if getattr(schedule, "unit", "progress") == "epochs" else 1.0
    return [float((of or schedule)(step / total * whole)) for step in range(total)]


def plot(
    schedule: Schedule,
    epochs: float | None = None,
    steps_per_epoch: int = 100,
    *,
    lr: float = 1.0,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """The learning rate over training, drawn; below it the momentum, where the schedule moves it.

    `epochs` may be left out: then as many are drawn as the schedule wants; `lr` is the base learning rate. Written to `path`, where one is
    given. The figure belongs to no window.
    """
    from matplotlib.figure import Figure

    shown = _USUAL if epochs is None else epochs
    if epochs is None and isinstance(schedule, NamedSchedule):
        shown = (schedule.misfit(_USUAL) or ("", _USUAL))[1]
    if not (0 < shown < math.inf) or steps_per_epoch < 1:
        raise LaminaError(
            f"plot was given epochs={epochs} and steps_per_epoch={steps_per_epoch}.",
            "Both are numbers above 0.",
            "Pass for example plot(epochs=30, steps_per_epoch=100).",
        )
    own = getattr(schedule, "base_rate", None)
    base = lr if own is None else own
    curves: list[tuple[str, list[float]]] = []
    values = factors(schedule, epochs=shown, steps_per_epoch=steps_per_epoch)
    label = "factor of the learning rate" if own is None and lr == 1.0 else "learning rate"
    curves.append((label, [base * value for value in values]))
    momentum = getattr(schedule, "momentum", None)
    if momentum is not None:
        moved = factors(schedule, epochs=shown, steps_per_epoch=steps_per_epoch, of=momentum)
        curves.append(("momentum", moved))
    figure = Figure(figsize=(5.6, 2.8 * len(curves)), layout="constrained")
    for place, (name, heights) in enumerate(curves):
        axes = figure.add_subplot(len(curves), 1, place + 1)
        x = [step / steps_per_epoch for step in range(len(heights) + 1)]
        axes.step(x, [*heights, heights[-1]], where="post", color=_LINE, linewidth=1.6)  # held from update to update
        axes.set_ylabel(name, fontsize=9, color=_INK)
        if place == 0:
            axes.set_ylim(bottom=min(0.0, *heights), top=max(heights) * 1.06 or 1.0)
            axes.set_title(_title(schedule), fontsize=9, color=_INK, loc="left", wrap=True)
        if place == len(curves) - 1:
            axes.set_xlabel("epoch", fontsize=9, color=_INK)
        _quiet(axes)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def whole_epoch(epoch: float) -> int:
    """The number of whole epochs that have passed, forgiving the rounding of step / steps * epochs."""
    return math.floor(epoch + _ROUNDING)


def require(holds: bool, came: str, expected: str, remedy: str) -> None:
    """Raises a LaminaError of the three sentences where a setting does not hold."""
    if not holds:
        raise LaminaError(came, expected, remedy)


def require_share(name: str, value: float) -> None:
    """Raises where a value is no share from 0 to 1."""
    require(
        0.0 <= value <= 1.0,
        f"{name} is {value}.",
        "A share from 0 to 1 was expected.",
        "Write 0.1 for a tenth of training or of the rate.",
    )


def _title(schedule: Any) -> str:
    return repr(schedule) if isinstance(schedule, NamedSchedule) else getattr(schedule, "__name__", "schedule")


def _quiet(axes: Any) -> None:
    axes.tick_params(length=0, labelsize=9, labelcolor=_INK)
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)
    axes.margins(x=0.02)
