"""What draws itself: a figure in a notebook, a file on disk; and tiles set side by side."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamina.core.files import replacing

_DPI = 150


class Drawn:
    """Something with a `figure()`: it shows itself in a notebook, and saves itself as a picture."""

    def figure(self) -> Figure:
        """A matplotlib figure."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str], *, dpi: int = _DPI) -> Path:
        """Writes the figure, in the format that the file's ending names (.png, .svg, .pdf); gives the path."""
        target = Path(path)
        with replacing(target) as temporary:
            self.figure().savefig(temporary, format=target.suffix.lstrip(".") or "png", dpi=dpi)
        return target

    def _repr_html_(self) -> str:
        return f'<img alt="" src="{png_url(self.figure())}" style="max-width:100%">'


def png_url(figure: Figure, *, dpi: int = 110) -> str:
    """A figure as text for an `<img src=...>`."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
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
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile if tile.ndim == 3 else tile[..., None]
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
