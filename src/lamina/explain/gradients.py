"""How large gradients are by depth, as `callbacks.GradientNorms` wrote them: whether they vanish or explode, and when."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lamina.core.errors import DataError
from lamina.explain.drawn import INK, TRAIN, VALIDATION, plain
from lamina.training.gradient_norms import GRADIENTS

_STAGES = (("begin", TRAIN, (0, (1.2, 1.6)), "^"), ("middle", INK, (0, (6, 2)), "s"), ("end", VALIDATION, "solid", "o"))
_NAMED = 12  # layers whose names find room


@dataclass(frozen=True, eq=False)
class GradientRecord:
    """Norms of the gradients (steps, layers); the layers from the input on; NaN where a layer had none."""

    steps: Int64[np.ndarray, " S"]
    layers: tuple[str, ...]
    norms: Float[np.ndarray, "S L"]


def gradient_norms(path: str | os.PathLike[str]) -> GradientRecord:
    """What a run's gradients.csv tells; `path` is the file or the run's folder. Raises DataError where it is none."""
    file = Path(path) / GRADIENTS if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise DataError(
            f"There is no file {file}.",
            "Gradient norms are read from the gradients.csv of a run.",
            "Train with log_every=50 (--log-every 50), or with callbacks=[lamina.callbacks.GradientNorms()].",
        )
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if row]
    try:
        names, body = tuple(rows[0][1:]), rows[1:]
        steps = np.array([int(row[0]) for row in body], np.int64)
        norms = np.array([[float(cell) for cell in row[1:]] for row in body], np.float64).reshape(len(body), len(names))
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read as gradient norms ({error}).",
            "Its first row is step and the layers, every other one a number for each.",
            "Take the file as lamina.callbacks.GradientNorms wrote it.",
        ) from None
    return GradientRecord(steps, names, norms)


def gradient_norms_figure(path: str | os.PathLike[str]) -> Figure:
    """Gradient norms by depth at three times (as Glorot & Bengio 2010, figure 7), and over the steps for three depths."""
    record = gradient_norms(path)
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_by_depth(left, record)
    draw_by_step(right, record)
    return figure


def draw_by_depth(axes: Axes, record: GradientRecord) -> None:
    """The norm of each layer's gradient: medians of the first, middle and last tenth of training."""
    depth = np.arange(1, len(record.layers) + 1)
    count = len(record.steps)
    width = max(count // 10, 1)
    starts = (0, (count - width) // 2, count - width)
    for (label, color, dashes, marker), start in list(zip(_STAGES, starts, strict=True))[:: 1 if count > 2 else 2]:
        rows = record.norms[start : start + width]
        middle = np.array([np.median(column[ok]) if (ok := column > 0).any() else np.nan for column in rows.T])
        few = marker if len(depth) <= 40 else ""
        axes.plot(depth, middle, color=color, linestyle=dashes, marker=few, ms=4, linewidth=1.6, label=label)
    if len(depth) <= _NAMED:
        short = [name if len(name) <= 14 else f"…{name[-13:]}" for name in record.layers]
        axes.set_xticks(depth, short, rotation=40, ha="right", parse_math=False)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("layer with weights, from the input on", fontsize=9, color=INK)
    _finish(axes, record)


def draw_by_step(axes: Axes, record: GradientRecord) -> None:
    """The norm over the steps, of the first, the middle and the last layer with weights."""
    last = len(record.layers) - 1
    chosen = sorted({0, last // 2, last})
    for (_, color, dashes, _), at in zip(_STAGES, chosen, strict=False):
        name = record.layers[at] if len(record.layers[at]) <= 20 else f"…{record.layers[at][-19:]}"
        few = "o" if len(record.steps) < 3 else ""
        label = name.replace("$", r"\$")
        values = np.where(record.norms[:, at] > 0, record.norms[:, at], np.nan)
        axes.plot(record.steps, values, color=color, linestyle=dashes, marker=few, ms=4, linewidth=1.3, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step", fontsize=9, color=INK)
    _finish(axes, record)


def _finish(axes: Axes, record: GradientRecord) -> None:
    if (record.norms > 0).any() and np.isfinite(record.norms[record.norms > 0]).any():
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=2.6)
    else:
        axes.text(0.5, 0.5, "no step was recorded", ha="center", transform=axes.transAxes, color=TRAIN)
    axes.set_ylabel("norm of the gradient", fontsize=9, color=INK)
    axes.minorticks_off()
    plain(axes)
