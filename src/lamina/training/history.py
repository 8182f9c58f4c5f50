"""What was logged in each epoch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH_PX, _HEIGHT_PX = 120, 22  # of a figure's course


# What names of figures end in, behind a "_" or alone.
_MORE = re.compile(
    r"(^|_)(acc|accuracy|top_?\d+|precision|recall|f1|score|auc|m?iou|dice|r2|m?ap\d*|psnr|ssim)$", re.IGNORECASE
)
_LESS = re.compile(
    r"(^|_)\w*(loss|mse|mae|rmse|errors?|entropy|divergence|distance|perplexity|fid|ece|brier)$", re.IGNORECASE
)


def more_is_better(name: str) -> bool | None:
    """Whether a figure of that name, such as "val_accuracy", is the better the more it is; None where the name does not tell."""
    return True if _MORE.search(name) else False if _LESS.search(name) else None


class History:
    """What was logged: `history["val_loss"][3]` belongs to `epoch[3]`."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the figures of one epoch; NaN where one was not logged, such as those of a metric that a resumed run added."""
        for name in logs:
            self.history.setdefault(name, [math.nan] * len(self.epoch))
        for name, values in self.history.items():
            values.append(logs.get(name, math.nan))
        self.epoch.append(epoch)

    def _repr_html_(self) -> str:
        """A line for each figure: its course, its best and its last value."""
        rows = []
        for name, values in self.history.items():
            known = [value for value in values if math.isfinite(value)]
            if not known:
                continue
            best = (max if more_is_better(name) else min)(known)
            figures = "".join(f"<td>{value:.4g}</td>" for value in (known[0], best, known[-1]))
            rows.append(f'<tr><td style="text-align:left">{escape(name)}</td><td>{_course(known)}</td>{figures}</tr>')
        head = "<tr><th></th><th></th><th>first</th><th>best</th><th>last</th></tr>"
        return f"<p>{len(self.epoch)} epochs</p><table>{head}{''.join(rows)}</table>"

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs: {', '.join(self.history)})"


def _course(values: Sequence[float]) -> str:
    """The values as a small line."""
    low, high = min(values), max(values)
    across, up = _WIDTH_PX / max(len(values) - 1, 1), _HEIGHT_PX / (high - low or 1.0)
    points = " ".join(f"{2 + across * place:.1f},{2 + up * (high - value):.1f}" for place, value in enumerate(values))
    return (
        f'<svg width="{_WIDTH_PX + 4}" height="{_HEIGHT_PX + 4}" role="img" aria-label="from {values[0]:.4g} to {values[-1]:.4g}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )
