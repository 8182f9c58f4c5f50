"""How training went: every figure over the epochs, training beside validation."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lamina.core.errors import DataError
from lamina.explain.drawn import INK, RULE, TRAIN, VALIDATION

_NOT_CURVES = {"epoch", "lr", "learning_rate", "seconds", "time", "images_per_second"}
_SMALLER_IS_BETTER = ("loss", "error", "mse", "mae", "squared", "absolute", "hinge", "divergence", "crossentropy")
_SHARES = ("accuracy", "precision", "recall", "f1", "iou", "AP")


@dataclass(frozen=True)
class Curve:
    """One figure over the epochs (counted from 1); a value is NaN where an epoch has none."""

    name: str
    epochs: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]

    @property
    def smaller_is_better(self) -> bool:
        """Whether the best epoch is the lowest."""
        return any(part in self.name for part in _SMALLER_IS_BETTER)

    @property
    def best(self) -> tuple[int, float] | None:
        """Epoch and value of the best validation (of training, where there is none); None if nothing is finite."""
        values = np.array(self.validation if np.isfinite(self.validation).any() else self.train)
        if not np.isfinite(values).any():
            return None
        place = int(np.nanargmin(values) if self.smaller_is_better else np.nanargmax(values))
        return self.epochs[place], float(values[place])


def is_share(name: str) -> bool:
    """Whether a figure of that name lies in 0..1 and is read in per cent."""
    return any(part in name for part in _SHARES)


def learning_curves(history: Any) -> tuple[Curve, ...]:
    """The curves of a training run, loss and accuracy first.

    `history`: what `fit` returned, its dict of lists, or the path of a results.csv. Rates and times are left out.
    """
    if isinstance(history, str | os.PathLike):
        table = _read(Path(history))
    else:
        source = getattr(history, "history", history)
        if not isinstance(source, Mapping):
            raise DataError(
                f"A {type(history).__name__} came as history.",
                "Learning curves are drawn from what `fit` returned, its dict of lists, or the path of a results.csv.",
                "Pass one of these, or None for a report without curves.",
            )
        table = {str(name): _numbers(name, values) for name, values in source.items()}
        epochs = getattr(history, "epoch", None)
        if epochs:
            table.setdefault("epoch", [float(epoch) for epoch in epochs])
    length = max((len(values) for values in table.values()), default=0)
    names = [name.removeprefix("val_") for name in table]
    names = [name for name in dict.fromkeys(names) if name not in _NOT_CURVES]
    names.sort(key=lambda name: ("loss", "accuracy").index(name) if name in ("loss", "accuracy") else 2)
    epochs = _epochs(table.get("epoch"), length)
    curves = [
        Curve(name, epochs, _padded(table.get(name), length), _padded(table.get(f"val_{name}"), length))
        for name in names
    ]
    return tuple(curve for curve in curves if curve.best is not None)


def curves_figure(history: Any) -> Figure:
    """The learning curves beside each other; `history` as for `learning_curves`."""
    curves = learning_curves(history)
    figure = Figure(figsize=(4.2 * max(len(curves), 1), 3.0), layout="constrained")
    if not curves:
        figure.text(0.5, 0.5, "no epoch was finished", ha="center", va="center")
    for place, curve in enumerate(curves):
        axes = figure.add_subplot(1, len(curves), place + 1)
        draw_curve(axes, curve)
        axes.set_title(curve.name, fontsize=10)
    return figure


def draw_curve(axes: Axes, curve: Curve) -> None:
    """One curve on matplotlib axes: training dashed, validation solid, the best epoch marked."""
    share = is_share(curve.name)
    scale = 100.0 if share else 1.0
    few = "o" if len(curve.epochs) < 3 else ""
    for values, color, dashes, label in (
        (curve.train, TRAIN, (0, (3, 2)), "training"),
        (curve.validation, VALIDATION, "solid", "validation"),
    ):
        points = np.array(values) * scale
        seen = np.isfinite(points)
        if seen.any():  # without the gaps: validation may run every few epochs only
            x = np.array(curve.epochs)[seen]
            axes.plot(x, points[seen], color=color, linestyle=dashes, linewidth=1.6, marker=few, ms=4, label=label)
    best = curve.best
    if best is not None:
        color = VALIDATION if np.isfinite(curve.validation).any() else TRAIN
        axes.plot(best[0], best[1] * scale, "o", color=color, ms=5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if share:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.margins(x=0.03, y=0.08)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=2.2)


def _read(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        raise DataError(
            f"There is no file {path}.",
            "Learning curves are read from the results.csv of a run.",
            "Give the path of an existing run, or None for a report without curves.",
        )
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in (rows[0] if rows else {}) if name]
    return {name: _numbers(name, [row[name] for row in rows]) for name in names}


def _numbers(name: object, values: Sequence[Any]) -> list[float]:
    try:
        return [float(value) if value not in ("", None) else np.nan for value in values]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The figures of {name!r} in the history are no numbers ({error}).",
            "Each name has one number for each epoch; an empty cell stands for none.",
            "Pass what `fit` returned, or the results.csv as the run wrote it.",
        ) from None


def _padded(values: Sequence[float] | None, length: int) -> tuple[float, ...]:
    given = tuple(values or ())
    return given + (np.nan,) * (length - len(given))


def _epochs(given: Sequence[float] | None, length: int) -> tuple[int, ...]:
    """Epochs counted from 1; a file that counts from 0 is shifted."""
    if not given or len(given) != length or not np.isfinite(given).all():
        return tuple(range(1, length + 1))
    shift = 1 if min(given) == 0 else 0
    return tuple(int(epoch) + shift for epoch in given)
