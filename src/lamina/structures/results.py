"""Typed results: what a model says about one picture. A result prints itself, draws itself and becomes JSON."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from lamina.core.errors import ShapeError
from lamina.structures import draw


@dataclass(frozen=True, eq=False)
class Classification:
    """What one picture shows: a probability for each class. `image` and `path` say which picture it was, if known."""

    classes: tuple[str, ...]
    probs: Float[np.ndarray, " K"]
    image: draw.Picture | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        probs = np.asarray(self.probs)
        if probs.shape != (len(self.classes),) or probs.size == 0:
            raise ShapeError(
                f"probs has shape {probs.shape} beside {len(self.classes)} classes.",
                "A classification holds one probability for each class.",
                "Pass one row of the predictions, and the classes that the model was trained on.",
            )
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "probs", probs)

    @property
    def index(self) -> int:
        """The most probable class, 0 .. K-1."""
        return int(self.probs.argmax())

    @property
    def label(self) -> str:
        """The name of the most probable class."""
        return self.classes[self.index]

    @property
    def probability(self) -> float:
        """The probability of that class, 0 to 1."""
        return float(self.probs[self.index])

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes with their probabilities, best first (all, if there are fewer)."""
        best = np.argsort(-self.probs, kind="stable")[:count]
        return [(self.classes[i], float(self.probs[i])) for i in best]

    def draw(self, *, side_px: int = 256) -> Image.Image:
        """The picture with the class and its probability below, as a Pillow picture."""
        shown = self.image if self.image is not None else self.path
        if shown is None:
            raise ShapeError(
                "This classification has no picture.",
                "To draw itself it must know its image or the path of one.",
                "Make it with `image=` or `path=`.",
            )
        return draw.captioned(shown, self.label, detail=percent(self.probability), side_px=side_px)

    def to_dict(self, *, top: int = 5) -> dict[str, Any]:
        """What JSON needs: path (if known), label, index, probability and the `top` classes."""
        where = {} if self.path is None else {"path": str(self.path)}
        best = [{"label": label, "probability": probability} for label, probability in self.top(top)]
        return {**where, "label": self.label, "index": self.index, "probability": self.probability, "top": best}

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        others = ", ".join(f"{label} {percent(p)}" for label, p in self.top(3)[1:] if p >= 0.01)
        return f"{where}{self.label} {percent(self.probability)}" + (f" (or {others})" if others else "")

    def __repr__(self) -> str:
        where = "" if self.path is None else f", path={str(self.path)!r}"
        return f"Classification(label={self.label!r}, index={self.index}, probability={self.probability:.4f}{where})"

    def _repr_html_(self) -> str:
        shown = self.image if self.image is not None else self.path
        img = "" if shown is None else f'<img alt="" src="{draw.data_url(shown, side_px=320)}" style="{_IMAGE_STYLE}">'
        rows = "".join(
            f'<tr><td style="text-align:left">{html.escape(label)}</td><td>{percent(p)}</td>'
            f'<td style="width:8em"><div style="height:.6em;background:#c2622d;width:{100 * p:.1f}%"></div></td></tr>'
            for label, p in self.top()
        )
        return f'<div style="display:flex;gap:1em;align-items:center">{img}<table>{rows}</table></div>'


def percent(share: float) -> str:
    """A share as a person writes it, `99.87 %`; never rounded up to 100 nor down to 0 when it is neither."""
    rounded = round(100 * share, 2)
    if rounded >= 100 and share < 1:
        return "> 99.99 %"
    if rounded <= 0 and share > 0:
        return "< 0.01 %"
    return f"{rounded:.2f} %"


_IMAGE_STYLE = "width:128px;height:128px;object-fit:contain;image-rendering:pixelated;border-radius:6px"
