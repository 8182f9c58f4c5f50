"""Learning curves of several runs laid over each other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lamina.core.errors import DataError
from lamina.explain.curves import Curve, is_share, learning_curves
from lamina.explain.drawn import INK, percents, plain

MOST = 8  # runs that can be told apart

_RESULTS = "results.csv"
# Told apart without colour by dashes and markers; dark enough on white.
_LINES = (
    ("#b4430f", "solid", "o"),
    ("#16324f", (0, (6, 2)), "s"),
    ("#5f7a1e", (0, (1.2, 1.4)), "^"),
    ("#7a3b78", (0, (6, 2, 1.2, 2)), "D"),
    ("#1d1b18", (0, (3, 1.5)), "v"),
    ("#a07c10", (0, (9, 2)), "P"),
    ("#2f7f86", (0, (1.2, 1.4, 1.2, 1.4, 6, 1.4)), "X"),
    ("#8a857c", "solid", "*"),
)


def overlaid_figure(runs: Mapping[str, Any] | Sequence[str | os.PathLike[str]]) -> Figure:
    """The learning curves of several runs, a panel for each figure: validation as lines, training faint in the same dashes.

    `runs`: names and histories as for `learning_curves`, or folders of runs, which are named by what tells their paths apart.
    Where a run has no validation its training curve is drawn in its place. Raises DataError for none and for more than 8.
    """
    histories = _named(runs)
    curves = {name: {curve.name: curve for curve in learning_curves(history)} for name, history in histories.items()}
    figures = list(dict.fromkeys(figure for of_run in curves.values() for figure in of_run))
    drawn = Figure(figsize=(4.6 * max(len(figures), 1), 3.5), layout="constrained")
    if not figures:
        drawn.text(0.5, 0.5, "no epoch was finished", ha="center", va="center")
    for place, figure in enumerate(figures):
        axes = drawn.add_subplot(1, len(figures), place + 1)
        for (name, of_run), style in zip(curves.items(), _LINES, strict=False):
            if figure in of_run:
                _draw(axes, of_run[figure], name, style)
        axes.set_title(figure, fontsize=10)
        if is_share(figure):
            axes.yaxis.set_major_formatter(FuncFormatter(percents))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch", fontsize=9, color=INK)
        plain(axes)
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, handlelength=3.2)
    return drawn


def _draw(axes: Axes, curve: Curve, name: str, style: tuple[str, Any, str]) -> None:
    color, dashes, marker = style
    epochs, held, train = np.array(curve.epochs), np.array(curve.validation), np.array(curve.train)
    if np.isfinite(held).any() and np.isfinite(train).any():
        seen = np.isfinite(train)
        axes.plot(epochs[seen], train[seen], color=color, linestyle=dashes, linewidth=1.0, alpha=0.35)
    line = held if np.isfinite(held).any() else train
    seen = np.isfinite(line)
    best = curve.best
    told = f"{name} ({best[1]:.4g} in epoch {best[0]})" if best else name
    axes.plot(
        epochs[seen],
        line[seen],
        color=color,
        linestyle=dashes,
        linewidth=1.7,
        marker=marker,
        ms=4.5,
        markevery=max(len(epochs) // 6, 1),
        label=told.replace("$", r"\$"),
    )


def _named(runs: Mapping[str, Any] | Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    given = dict(runs) if isinstance(runs, Mapping) else _by_path([Path(run) for run in runs])
    if not 1 <= len(given) <= MOST:
        raise DataError(
            f"{len(given)} runs came.", f"1 to {MOST} can be told apart in one picture.", "Draw several pictures."
        )
    return {name: _history(history) for name, history in given.items()}


def _history(history: Any) -> Any:
    if isinstance(history, str | os.PathLike) and Path(history).is_dir():
        return Path(history) / _RESULTS
    return history


def _by_path(paths: Sequence[Path]) -> dict[str, Path]:
    """Each path by the part of it that the others do not have."""
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise DataError("The same run came twice.", "Runs are compared with others.", "Name each once.")
    if len({each[-1] for each in parts}) == len(parts):
        return dict(zip((each[-1] for each in parts), paths, strict=True))
    shared = next(at for at, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1)
    return dict(zip(("/".join(each[shared:]) for each in parts), paths, strict=True))
