"""ROC and precision-recall curves as pictures that read where the curves of a good model all lie in a corner."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lamina.explain.drawn import INK, RULE, TRAIN, VALIDATION, percents, plain
from lamina.explain.ranking import FALSE_ALARMS, RECALLS, Ranking

_WORST = 3  # drawn by themselves
_BESIDE = 16  # letters of a label up to which two stand side by side
_HEIGHT, _LINE = 3.9, 0.2  # inches: of the figure, and of a line of the legend
_DASHES = ((0, (6, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))
_LOWEST = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)  # where an axis may begin


def roc_figure(ranked: Sequence[Ranking]) -> Figure:
    """ROC curves: the mean of all classes, the three worst by area, and the span of all; false alarms on a logarithmic axis."""
    figure, axes = _figure()
    there = [one for one in ranked if not math.isnan(one.auc)]
    seen = FALSE_ALARMS > 0
    if there:
        begins = _least_alarm(there)
        seen &= begins <= FALSE_ALARMS
        _draw(axes, FALSE_ALARMS[seen], [one.hits[seen] for one in there], there, [one.auc for one in there])
        axes.set_xscale("log")
        axes.set_xlim(begins, 1)
        low = _lowest(np.array([one.hits[seen][len(FALSE_ALARMS[seen]) // 4] for one in there]))
        axes.set_ylim(low, 1 + min(0.002, 0.01 * (1 - low)))
    axes.set_xlabel("share of the other pictures that is taken for it", fontsize=9, color=INK)
    axes.set_ylabel("share of the class that is found", fontsize=9, color=INK)
    _finish(figure, axes)
    return figure


def precision_recall_figure(ranked: Sequence[Ranking]) -> Figure:
    """Precision over recall: the mean of all classes, the three worst by area, and the span of all; the axes begin near the curves."""
    figure, axes = _figure()
    there = [one for one in ranked if not math.isnan(one.average_precision)]
    if there:
        _draw(axes, RECALLS, [one.precisions for one in there], there, [one.average_precision for one in there])
        # Where precision equals recall, of the worst class: below that there is little to see.
        even = np.array([RECALLS[np.abs(one.precisions - RECALLS).argmin()] for one in there])
        low = _lowest(even)
        axes.set(xlim=(low, 1 + 0.002 * (1 - low)), ylim=(low, 1 + 0.01 * (1 - low)))
        axes.xaxis.set_major_locator(MaxNLocator(4))  # 99.85 % is wide
    axes.set_xlabel("recall: share of the class that is found", fontsize=9, color=INK)
    axes.set_ylabel("precision: share that is right", fontsize=9, color=INK)
    _finish(figure, axes)
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.0, _HEIGHT), layout="constrained")
    return figure, figure.add_subplot()


def _draw(
    axes: Axes,
    x: Float[np.ndarray, " M"],
    lines: Sequence[Float[np.ndarray, " M"]],
    ranked: Sequence[Ranking],
    areas: Sequence[float],
) -> None:
    every = np.stack(lines)
    if len(every) > 1:
        axes.fill_between(x, every.min(axis=0), every.max(axis=0), color=RULE, linewidth=0, label="span of all")
        axes.plot(x, every.mean(axis=0), color=INK, linewidth=2.0, label=f"mean ({_area(float(np.mean(areas)))})")
    worst = np.argsort(areas, kind="stable")[:_WORST]
    for place, dashes in zip(worst, _DASHES, strict=False):
        name = ranked[place].name
        name = name if len(name) <= 18 else f"{name[:17]}…"
        label = f"{name} ({_area(areas[place])})".replace("$", r"\$")
        axes.plot(x, lines[place], color=VALIDATION, linestyle=dashes, linewidth=1.5, label=label)


def _area(value: float) -> str:
    return f"{value:.3f}" if value < 0.9995 or value > 1 - 5e-6 else f"{value:.5f}"


def _lowest(values: Float[np.ndarray, " _"]) -> float:
    """Where an axis begins so that these values lie in the upper two thirds."""
    wanted = 1 - 2.5 * (1 - float(values.min()))
    return max((low for low in _LOWEST if low <= wanted), default=0.0)


def _least_alarm(ranked: Sequence[Ranking]) -> float:
    """The lowest false alarm rate worth drawing: one picture in all, or where all curves have risen."""
    total = max(sum(one.support for one in ranked), 10)
    return float(10 ** math.floor(math.log10(1 / total) + 0.5))


def _finish(figure: Figure, axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(percents))
    axes.yaxis.set_major_formatter(FuncFormatter(percents))
    axes.minorticks_off()
    plain(axes)
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        across = 2 if max(map(len, labels)) <= _BESIDE else 1
        figure.set_figheight(_HEIGHT if across == 2 else _HEIGHT + _LINE * (len(labels) // 2))
        figure.legend(
            frameon=False, fontsize=8.5, labelcolor=INK, handlelength=2.6, loc="outside lower center", ncols=across
        )
    else:
        axes.text(0.5, 0.5, "no class with pictures", ha="center", transform=axes.transAxes, color=TRAIN)
