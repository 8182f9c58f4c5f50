"""Pictures of a search: the figure against each drawn value, and how much each of them mattered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from lamina.training.tuner.space import Choice, Range

if TYPE_CHECKING:
    from lamina.training.tuner.study import Study, Trial

INK, RULE, POINT, BEST = "#4b4843", "#d9d5cd", "#8a857c", "#b4430f"
_COLUMNS, _WIDTH, _HEIGHT = 3, 3.0, 2.1  # inches: at 110 dpi the picture is 1,000 px wide, and is read at that size
_DENSE = 26  # letters that fit side by side under a panel


def slices(study: Study) -> Figure | None:
    """A panel for each drawn name: the monitored figure of every trial against its value. None before the first figure.

    Filled dots were trained to their end, hollow ones stopped early, the coloured one is the best. Few trials far below the
    others are left out of the frame, and said so.
    """
    trials = [
        trial for trial in study.trials if math.isfinite(trial.figure) and trial.outcome in ("done", "stopped early")
    ]
    names = [name for name in study.space if any(name in trial.drawn for trial in trials)]
    if not names:
        return None
    done = [trial for trial in trials if trial.outcome == "done"]
    best = study.best if done else None
    rows, columns = math.ceil(len(names) / _COLUMNS), min(len(names), _COLUMNS)
    figure = Figure(figsize=(_WIDTH * columns + 0.1, _HEIGHT * rows + 0.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.06)  # type: ignore[union-attr, call-arg]
    grid: Any = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for place, name in enumerate(names):
        axes = grid[place // columns][place % columns]
        _slice(axes, study.space[name], [trial for trial in trials if name in trial.drawn], name, best)
        if place % columns == 0:
            axes.set_ylabel(study.monitor, fontsize=8, color=INK)
    for place in range(len(names), rows * columns):
        grid[place // columns][place % columns].set_visible(False)
    hidden = _frame(grid[0][0], [trial.figure for trial in trials], study.more_is_better)
    stopped = len(trials) - len(done)
    words = [f"{len(done)} trials (filled)", f"{stopped} stopped early (hollow)" if stopped else ""]
    words += [f"best: trial {best.number}" if best is not None else "", f"{hidden} outside the frame" if hidden else ""]
    figure.suptitle(", ".join(word for word in words if word), fontsize=9, color=INK)
    return figure


def importance(study: Study) -> Figure | None:
    """A bar for each drawn name: its share in what sets good trials apart. None where that cannot be told."""
    shares = study.importance()
    if not shares:
        return None
    names = list(shares)[::-1]
    figure = Figure(figsize=(6.0, 0.28 * len(names) + 1.1), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(names, [100 * shares[name] for name in names], color=POINT, height=0.65)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8, color=INK)
    done = sum(trial.outcome == "done" for trial in study.trials)
    axes.set_title(f"share in what sets good trials apart ({study.monitor}, {done} trials)", fontsize=9, color=INK)
    axes.set_xlim(0, max(1.0, 112 * max(shares.values())))
    axes.xaxis.set_visible(False)
    _plain(axes)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    return figure


def _slice(axes: Axes, entry: Range | Choice, trials: Sequence[Trial], name: str, best: Trial | None) -> None:
    values: Any = [trial.drawn[name] for trial in trials]
    _plain(axes)
    if isinstance(entry, Choice):
        labels = [_short(str(label)) for label in entry.options]
        options = list(entry.options.values())
        places = [next(i for i, option in enumerate(options) if option is v or option == v) for v in values]
        # Beside each other, by their numbers: equal values would hide one another.
        values = [place + 0.6 * (0.618 * trial.number % 1) - 0.3 for place, trial in zip(places, trials, strict=True)]
        crowded = sum(len(label) + 1 for label in labels) > _DENSE
        turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axes.set_xticks(range(len(labels)), labels, **turned)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    elif entry.log:
        axes.set_xscale("log")
        axes.set_xlim(entry.low * (entry.low / entry.high) ** 0.05, entry.high * (entry.high / entry.low) ** 0.05)
        ticks = _log_ticks(entry.low, entry.high)
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        reach = 0.05 * (entry.high - entry.low)
        axes.set_xlim(entry.low - reach, entry.high + reach)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=entry.whole))
    for trial, value in zip(trials, values, strict=True):
        is_best = best is not None and trial.number == best.number
        color = BEST if is_best else POINT
        face = color if trial.outcome == "done" else "none"
        size, height = (42, 4) if is_best else (24, 3)
        axes.scatter([value], [trial.figure], s=size, facecolors=face, edgecolors=color, linewidths=1.0, zorder=height)
    axes.set_title(
        name, fontsize=9, fontweight="bold", color=INK, loc="left", pad=4
    )  # under turned labels it would drift


def _frame(axes: Axes, figures: Sequence[float], more_is_better: bool) -> int:
    """Sets the height of all panels so that a few very bad trials do not press the others together; returns how many are outside."""
    values = np.array(figures)
    low, high = (float(value) for value in np.quantile(values, [0.25, 0.75]))
    reach = 3.0 * (high - low)
    if len(values) < 8 or reach == 0:
        return 0
    inside = values >= low - reach if more_is_better else values <= high + reach
    kept = values[inside]
    margin = 0.06 * max(float(kept.max() - kept.min()), 1e-6)
    axes.set_ylim(float(kept.min()) - margin, float(kept.max()) + margin)
    return int((~inside).sum())


def _short(label: str) -> str:
    return label if len(label) <= 14 else f"{label[:13]}…"


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten where there are two or more, else both ends and their middle."""
    tens = [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]
    return tens if len(tens) > 1 else [low, math.sqrt(low * high), high]


def _plain(axes: Axes) -> None:
    axes.tick_params(length=0, labelsize=8, labelcolor=INK)
    axes.grid(color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
