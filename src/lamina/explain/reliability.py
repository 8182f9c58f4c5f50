"""Calibration as pictures: how often answers of each confidence are right, and how often they are wrong where they are sure."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lamina.explain.calibrated import Calibration
from lamina.explain.drawn import INK, TRAIN, VALIDATION, percents, plain


def reliability_figure(calibration: Calibration, *, beside: Calibration | None = None) -> Figure:
    """The reliability diagram: the accuracy of each bin over its confidence, with 95 % intervals; below, the answers of each bin.

    On the dashed line a model is as often right as it says, below it says too much. `beside` is drawn hollow: the
    same answers by another temperature, say.
    """
    figure = Figure(figsize=(4.0, 3.9), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=TRAIN, linestyle=(0, (3, 2)), linewidth=1.2, label="as it says")
    _draw(upper, calibration, hollow=False, label="the model" if beside is None else "before")
    if beside is not None:
        _draw(upper, beside, hollow=True, label="after")
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    upper.set_ylabel("share that is right", fontsize=9, color=INK)
    figure.legend(frameon=False, fontsize=9, labelcolor=INK, loc="outside upper center", ncols=3)
    places = [group.confidence for group in calibration.bins]
    counts = [group.count for group in calibration.bins]
    lower.vlines(places, 0.8, counts, color=INK, linewidth=3.5)
    lower.set_yscale("log")
    lower.set_ylim(bottom=0.8, top=2.5 * max(counts))
    lower.set_ylabel("answers", fontsize=9, color=INK)
    lower.set_xlabel("confidence", fontsize=9, color=INK)
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
    for axes in (upper, lower):
        axes.xaxis.set_major_formatter(FuncFormatter(percents))
        plain(axes)
    upper.yaxis.set_major_formatter(FuncFormatter(percents))
    lower.minorticks_off()
    return figure


def sureness_figure(calibration: Calibration) -> Figure:
    """Where sure answers go wrong, on logarithmic axes: mistakes made over mistakes expected, bins of as many answers each.

    On the reliability diagram the answers of a good model all lie in one corner. A bin without a mistake has an arrow from the
    upper end of its 95 % interval.
    """
    figure = Figure(figsize=(4.0, 3.9), layout="constrained")
    axes = figure.add_subplot()
    expected = np.array([max(1 - group.confidence, 1e-7) for group in calibration.bins])
    made = np.array([1 - group.accuracy for group in calibration.bins])
    high = np.array([1 - group.interval[0] for group in calibration.bins])
    low = np.array([1 - group.interval[1] for group in calibration.bins])
    some = made > 0
    floor = min(0.1, expected.min(), *(high[~some] / 4), *made[some], *low[some & (low > 0)]) / 1.5
    axes.plot([floor, 1], [floor, 1], color=TRAIN, linestyle=(0, (3, 2)), linewidth=1.2, label="as it says")
    axes.vlines(expected[some], np.maximum(low[some], floor), high[some], color=VALIDATION, linewidth=1.2)
    axes.plot(expected[some], made[some], "o", color=VALIDATION, ms=5, label="the model")
    for place, top in zip(expected[~some], high[~some], strict=True):
        axes.annotate("", (place, top / 4), (place, top), arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.2})
    if (~some).any():
        axes.plot([], [], color=INK, marker="v", linestyle="none", ms=5, label="no mistake: below")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlim=(floor, 1.3), ylim=(floor, 1.3))
    axes.set_xlabel("mistakes expected (1 - confidence)", fontsize=9, color=INK)
    axes.set_ylabel("mistakes made", fontsize=9, color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(percents))
    axes.yaxis.set_major_formatter(FuncFormatter(percents))
    axes.minorticks_off()
    figure.legend(frameon=False, fontsize=9, labelcolor=INK, loc="outside upper center", ncols=3, columnspacing=1.2)
    plain(axes)
    return figure


def _draw(axes: Axes, calibration: Calibration, *, hollow: bool, label: str) -> None:
    x = [group.confidence for group in calibration.bins]
    color, face = (INK, "none") if hollow else (VALIDATION, VALIDATION)
    low = [group.interval[0] for group in calibration.bins]
    high = [group.interval[1] for group in calibration.bins]
    axes.vlines(x, low, high, color=color, linewidth=1.2, linestyle=":" if hollow else "-")
    marker = "D" if hollow else "o"
    axes.plot(x, [group.accuracy for group in calibration.bins], marker, color=color, mfc=face, ms=5, label=label)
