"""Typed results: what a model says about one picture. A result prints itself, draws itself and becomes JSON."""

from __future__ import annotations

import html
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from lamina.core.errors import LaminaError, ShapeError, unknown_name
from lamina.structures import draw

NONE = "none of these"  # the answer where no class is probable enough


@dataclass(frozen=True, eq=False)
class Classification:
    """What one picture shows: a probability for each class. `image` and `path` say which picture it was, if known.

    Where the most probable class lies below the `threshold`, the answer is NONE, "none of these".
    """

    classes: tuple[str, ...]
    probs: Float[np.ndarray, " K"]
    image: draw.Picture | None = None
    path: str | None = None
    threshold: float = 0.0

    def __post_init__(self) -> None:
        probs = _checked_row(self.probs, self.classes)
        check_threshold(self.threshold)
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "probs", probs)

    @property
    def is_known(self) -> bool:
        """Whether the most probable class reaches the threshold."""
        return self.probability >= self.threshold

    @property
    def index(self) -> int:
        """The most probable class, 0 .. K-1."""
        return int(self.probs.argmax())

    @property
    def label(self) -> str:
        """The name of the most probable class, or NONE below the threshold."""
        return self.classes[self.index] if self.is_known else NONE

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
        detail = percent(self.probability) if self.is_known else ""
        return draw.captioned(
            _shown(self.image, self.path, "classification"), self.label, detail=detail, side_px=side_px
        )

    def to_dict(self, *, top: int = 5) -> dict[str, Any]:
        """What JSON needs: path (if known), label, index, probability of the most probable class, and the `top` classes.

        Below the threshold the label is NONE and the index None.
        """
        where = {} if self.path is None else {"path": str(self.path)}
        asked = {"threshold": self.threshold} if self.threshold else {}
        best = [{"label": label, "probability": probability} for label, probability in self.top(top)]
        index = self.index if self.is_known else None
        return {**where, "label": self.label, "index": index, "probability": self.probability, **asked, "top": best}

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        if not self.is_known:
            return f"{where}{NONE} (nearest: {self.classes[self.index]} {percent(self.probability)})"
        others = ", ".join(f"{label} {percent(p)}" for label, p in self.top(3)[1:] if p >= 0.01)
        return f"{where}{self.label} {percent(self.probability)}" + (f" (or {others})" if others else "")

    def __repr__(self) -> str:
        where = "" if self.path is None else f", path={str(self.path)!r}"
        return f"Classification(label={self.label!r}, index={self.index}, probability={self.probability:.4f}{where})"

    def _repr_html_(self) -> str:
        none = "" if self.is_known else f'<tr><td style="text-align:left"><b>{NONE}</b></td><td></td><td></td></tr>'
        return _page(self.image, self.path, none + _bars(self.top()))


@dataclass(frozen=True, eq=False)
class Labelling:
    """What all one picture shows: a probability for each label by itself; those of at least `threshold` are the answer."""

    classes: tuple[str, ...]
    probs: Float[np.ndarray, " K"]
    threshold: float = 0.5
    image: draw.Picture | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        probs = _checked_row(self.probs, self.classes)
        check_threshold(self.threshold)
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "probs", probs)

    @property
    def labels(self) -> dict[str, float]:
        """The labels of at least the threshold with their probabilities, best first; there may be none."""
        return {label: p for label, p in self.top(len(self.classes)) if p >= self.threshold}

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable labels with their probabilities, best first (all, if there are fewer)."""
        best = np.argsort(-self.probs, kind="stable")[:count]
        return [(self.classes[i], float(self.probs[i])) for i in best]

    def draw(self, *, side_px: int = 256) -> Image.Image:
        """The picture with its labels below, as a Pillow picture."""
        caption = ", ".join(self.labels) or NONE
        return draw.captioned(_shown(self.image, self.path, "labelling"), caption, side_px=side_px)

    def to_dict(self, *, top: int = 5) -> dict[str, Any]:
        """What JSON needs: path (if known), labels with their probabilities, the threshold, and the `top` labels."""
        where = {} if self.path is None else {"path": str(self.path)}
        best = [{"label": label, "probability": probability} for label, probability in self.top(top)]
        return {**where, "labels": self.labels, "threshold": self.threshold, "top": best}

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        named = ", ".join(f"{label} {percent(p)}" for label, p in self.labels.items())
        label, p = self.top(1)[0]
        return where + (named or f"{NONE} (nearest: {label} {percent(p)})")

    def __repr__(self) -> str:
        where = "" if self.path is None else f", path={str(self.path)!r}"
        return f"Labelling(labels={list(self.labels)}, threshold={self.threshold}{where})"

    def _repr_html_(self) -> str:
        return _page(self.image, self.path, _bars(self.top(), bold=set(self.labels)))


@dataclass(frozen=True, eq=False)
class Regression:
    """The numbers of one picture, in the unit of the targets that the model was trained on, with their names."""

    names: tuple[str, ...]
    values: Float[np.ndarray, " D"]
    image: draw.Picture | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.shape != (len(self.names),) or values.size == 0:
            raise ShapeError(
                f"values has shape {values.shape} beside {len(self.names)} names.",
                "A regression holds one number for each name.",
                "Pass one row of the predictions, and the names of its numbers.",
            )
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "values", values)

    @property
    def value(self) -> float:
        """The number, or the first of several."""
        return float(self.values[0])

    def __float__(self) -> float:
        return self.value

    def __getitem__(self, name: str) -> float:
        if name not in self.names:
            raise unknown_name("number", name, self.names)
        return float(self.values[self.names.index(name)])

    def draw(self, *, side_px: int = 256) -> Image.Image:
        """The picture with its numbers below, as a Pillow picture."""
        return draw.captioned(_shown(self.image, self.path, "regression"), self._numbers(), side_px=side_px)

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: path (if known) and the numbers by name."""
        where = {} if self.path is None else {"path": str(self.path)}
        return {**where, "values": {name: float(v) for name, v in zip(self.names, self.values, strict=True)}}

    def _numbers(self) -> str:
        return ", ".join(f"{name} {float(v):.5g}" for name, v in zip(self.names, self.values, strict=True))

    def __str__(self) -> str:
        return ("" if self.path is None else f"{self.path}: ") + self._numbers()

    def __repr__(self) -> str:
        where = "" if self.path is None else f", path={str(self.path)!r}"
        return f"Regression({self._numbers()}{where})"

    def _repr_html_(self) -> str:
        pairs = zip(self.names, self.values, strict=True)
        rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{float(v):.5g}</td></tr>" for name, v in pairs)
        return _page(self.image, self.path, rows)


def check_threshold(threshold: float) -> None:
    """Raises LaminaError for a threshold that is no probability."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise LaminaError(
            f"threshold is {threshold!r}.",
            "A probability from 0 to 1 was expected.",
            "Pass for example threshold=0.6.",
        )


def _checked_row(probs: Any, classes: Sequence[str]) -> np.ndarray[Any, Any]:
    row = np.asarray(probs)
    if row.shape != (len(classes),) or row.size == 0:
        raise ShapeError(
            f"probs has shape {row.shape} beside {len(classes)} classes.",
            "A classification holds one probability for each class.",
            "Pass one row of the predictions, and the classes that the model was trained on.",
        )
    return row


def _shown(image: draw.Picture | None, path: str | None, kind: str) -> draw.Picture:
    if image is None and path is None:
        raise ShapeError(
            f"This {kind} has no picture.",
            "To draw itself it must know its image or the path of one.",
            "Make it with `image=` or `path=`.",
        )
    return path if image is None else image  # type: ignore[return-value]


def _bars(rows: Sequence[tuple[str, float]], *, bold: Container[str] = ()) -> str:
    return "".join(
        f'<tr><td style="text-align:left">{_marked(label, label in bold)}</td><td>{percent(p)}</td>'
        f'<td style="width:8em"><div style="height:.6em;background:#c2622d;width:{100 * p:.1f}%"></div></td></tr>'
        for label, p in rows
    )


def _marked(label: str, bold: bool) -> str:
    return f"<b>{html.escape(label)}</b>" if bold else html.escape(label)


def _page(image: draw.Picture | None, path: str | None, rows: str) -> str:
    shown = image if image is not None else path
    img = "" if shown is None else f'<img alt="" src="{draw.data_url(shown, side_px=320)}" style="{_IMAGE_STYLE}">'
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
