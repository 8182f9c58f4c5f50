"""How numbers about detections are told: a curve of precision over recall, and tables as text and HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Of one class at one overlap: recall and precision (R), 0 to 1, and the least score of a detection that is needed for each.

    Of recall that is never reached, precision is 0 and the score NaN.
    """

    recall: Float[np.ndarray, " R"]
    precision: Float[np.ndarray, " R"]
    scores: Float[np.ndarray, " R"]


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows below one another, the first cell of each to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """The same for a page; the first row is the head."""
    head, *others = ([html.escape(cell) for cell in row] for row in rows)
    lines = "".join(f'<tr><td style="text-align:left">{"</td><td>".join(row)}</td></tr>' for row in others)
    return f"<table><tr><th>{'</th><th>'.join(head)}</th></tr>{lines}</table>"


def brief(share: float) -> str:
    """Three decimals; "-" for NaN, where there is nothing to find."""
    return "-" if np.isnan(share) else f"{share:.3f}"


def mean(values: Float[np.ndarray, "*N"]) -> float:
    """The mean of what is not NaN; NaN where all is."""
    held = values[~np.isnan(values)]
    return float(held.mean()) if held.size else float("nan")
