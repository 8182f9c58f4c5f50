"""How figures look, and how they are shown: in a notebook, as a file, and inline in the report's page, light or dark."""

from __future__ import annotations

import base64
import io
import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamina.core.files import replacing

_DPI = 150

# Neutral, line, accent: figures that use them are told apart without colour by dashes and markers.
INK, RULE, TRAIN, VALIDATION = "#4b4843", "#d9d5cd", "#8a857c", "#b4430f"
# The page's names for them, so that they follow the light and the dark scheme.
_THEME = {INK: "--ink", RULE: "--rule", TRAIN: "--muted", VALIDATION: "--wrong"}


class Drawn(ABC):
    """Something with a `figure()`: it shows itself in a notebook, and saves itself as a picture."""

    @abstractmethod
    def figure(self) -> Figure:
        """A matplotlib figure."""

    def save(self, path: str | os.PathLike[str], *, dpi: int = _DPI) -> Path:
        """Writes the figure, in the format that the file's ending names (.png, .svg, .pdf); gives the path."""
        target = Path(path)
        with replacing(target) as temporary:
            self.figure().savefig(temporary, format=target.suffix.lstrip(".") or "png", dpi=dpi)
        return target

    def _repr_html_(self) -> str:
        return f'<img alt="" src="{png_url(self.figure())}" style="max-width:100%">'


def png_url(figure: Figure, *, dpi: int = 110, transparent: bool = False) -> str:
    """A figure as text for an `<img src=...>`, on white paper or on that of the page."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, transparent=transparent)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def stretched(tiles: Float[np.ndarray, "N ..."]) -> Float[np.ndarray, "N ..."]:
    """Each tile scaled by itself to 0..1; one that is all the same is grey."""
    axes = tuple(range(1, tiles.ndim))
    low, high = tiles.min(axis=axes, keepdims=True), tiles.max(axis=axes, keepdims=True)
    return np.where(high > low, (tiles - low) / np.maximum(high - low, 1e-12), 0.5)


def mosaic(
    axes: Axes,
    tiles: Sequence[np.ndarray],
    *,
    columns: int,
    names: Sequence[str] = (),
    smooth: bool = False,
) -> None:
    """Tiles (h w or h w 3, 0..1) row by row on one pair of axes, with thin gaps, and a name in the corner of each."""
    height, width = tiles[0].shape[:2]
    gap = max(1, round(0.08 * max(height, width)))
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4))  # the paper shows between them
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width, :3] = tile if tile.ndim == 3 else tile[..., None]
        sheet[top : top + height, left : left + width, 3] = 1
    axes.imshow(sheet, interpolation="bilinear" if smooth else "nearest")
    for place, name in enumerate(names):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
        axes.text(left - 0.5, top - 0.5, name, fontsize=6, ha="left", va="top", bbox=box, parse_math=False)
    axes.set_axis_off()


def across_of(count: int) -> int:
    """How many tiles stand side by side: about as many as below one another, without a ragged last row where that goes."""
    near = max(1, round((count * 1.3) ** 0.5))
    return next((across for across in range(near, max(near // 2, 0), -1) if count % across == 0), near)


def plain(axes: Axes) -> None:
    """The look of all figures of the report: thin lines behind the data, no box."""
    axes.tick_params(length=0, pad=6, labelsize=9, labelcolor=INK)  # the two zeros of a corner stay apart
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


def percents(value: float, _: object = None) -> str:
    """0.25 as `25 %`."""
    return f"{100 * value:g} %"


def inline(figure: Figure, *, label: str) -> str:
    """The figure as an `<svg>` to stand in a page; `label` says what it shows to who cannot see it.

    Drawn in INK, RULE, TRAIN and VALIDATION it follows the page's colours; its paper is see-through.
    """
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the letters are the browser's
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = stream.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)  # inline in HTML they are implied
    for color, name in _THEME.items():
        svg = svg.replace(color, f"var({name})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def panel(title: str, figure: Figure, *, note: str = "", label: str = "") -> str:
    """A figure with its title and a quiet line above it; several stand side by side in a `<div class="panels">`."""
    drawn = inline(figure, label=label or title)
    return f'<div class="panel"><h3>{escape(title)}</h3><p class="quiet">{escape(note)}</p>{drawn}</div>'
