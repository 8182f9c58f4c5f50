"""A small table of the figures of several ways to answer, and what the last gains over the best of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.training.history import more_is_better

_LONGEST = 48  # characters of a name; paths lose their beginning


@dataclass(frozen=True)
class Comparison:
    """Figures by name of each row; the last row is compared with the best of the others, by each figure for itself.

    `beside` holds a word or number for each row, such as its weight, under the heading `heading`.
    """

    names: Sequence[str]
    figures: Sequence[Mapping[str, float]]
    beside: Sequence[str] = ()
    heading: str = ""

    @property
    def gain(self) -> dict[str, float]:
        """What the last row has more of (of losses: less is negative) than the best of the others."""
        last, others = self.figures[-1], self.figures[:-1]
        return {name: last[name] - self._best(name, others) for name in last if all(name in row for row in others)}

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        beside = self.beside or [""] * len(self.names)
        rows = [
            {"name": name, **({self.heading: told} if told else {}), **figures}
            for name, told, figures in zip(self.names, beside, self.figures, strict=True)
        ]
        return {"rows": rows, "gain": self.gain}

    def __str__(self) -> str:
        keys = list(self.figures[-1])
        over = "gain" if len(self.names) == 2 else "gain over the best of them"
        beside = [self.heading, *(self.beside or [""] * len(self.names)), ""]
        falling = [key for key in keys if not more_is_better(key)]
        mixed = 0 < len(falling) < len(keys)  # then a plus means two things
        lines = [["", *(f"{key} (less is better)" if mixed and key in falling else key for key in keys)]]
        lines += [
            [_short(name), *(shown(key, row[key]) for key in keys)]
            for name, row in zip(self.names, self.figures, strict=True)
        ]
        lines.append([over, *(shown(key, self.gain[key], signed=True) for key in keys)])
        if self.heading:
            lines = [[line[0], told, *line[1:]] for line, told in zip(lines, beside, strict=True)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        return "\n".join(line.rstrip() for line in padded)

    __repr__ = __str__

    @staticmethod
    def _best(name: str, rows: Sequence[Mapping[str, float]]) -> float:
        values = [row[name] for row in rows if not math.isnan(row[name])] or [math.nan]
        return max(values) if more_is_better(name) else min(values)


def shown(name: str, value: float, *, signed: bool = False) -> str:
    """A figure as tables have it: accuracies in per cent."""
    if "accuracy" in name or name.startswith("top"):
        return f"{100 * value:+.2f}  " if signed else f"{100 * value:.2f} %"
    return f"{value:+.4f}" if signed else f"{value:.4f}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"
