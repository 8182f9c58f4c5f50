"""Heat over a picture: where an answer comes from, in the picture's own pixels, drawn so that it reads in grey too."""

from __future__ import annotations

import functools
import html
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from lamina.core.files import replacing
from lamina.data.geometry import Window
from lamina.structures import draw
from lamina.structures.results import percent

# From nothing to most, ever lighter, so that the order survives a grey print.
_COLOURS = np.array(
    [(20, 11, 53), (96, 24, 110), (176, 50, 90), (230, 104, 44), (252, 177, 40), (252, 250, 190)], float
)
_MARGIN, _TEXT_PX, _LINE_PX, _BAR_PX = 10, 12, 17, 90
_LINES = (0.5,)  # heat at which a line is drawn
_UNSEEN = 0.45  # lightness that is left where the network did not look
_LARGEST_PX = 1200  # of a saved picture


@dataclass(frozen=True, eq=False)
class Heat:
    """Where in a picture one answer comes from. `heat` lies in 0..1, 1 where most; the network saw the `window` of the picture.

    `grid` is what was measured (h w, 0..1), evenly over the window. `answer` is the probability of the class `label`, or the number
    of that name where `is_number`; `method` and `layer` say how it was found.
    """

    grid: Float[np.ndarray, "h w"]
    picture: Image.Image
    window: Window
    label: str
    answer: float
    method: str
    layer: str = ""
    is_number: bool = False

    @functools.cached_property
    def heat(self) -> Float[np.ndarray, "H W"]:
        """The heat of each pixel of the picture, 0..1; 0 where the network did not see it."""
        return self.at((self.picture.height, self.picture.width))

    @property
    def is_empty(self) -> bool:
        """Whether nothing in the picture speaks for the answer."""
        return not bool(self.grid.any())

    def at(self, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
        """The heat at another size (height, width) of the whole picture."""
        rows = self._places(size[0], self.picture.height, self.window.top, self.window.height)
        columns = self._places(size[1], self.picture.width, self.window.left, self.window.width)
        where = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]
        grid = torch.from_numpy(np.ascontiguousarray(self.grid, np.float32))[None, None]
        found = F.grid_sample(grid, where, mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
        inside = (rows.abs() <= 1)[:, None] & (columns.abs() <= 1)[None]
        return (found * inside).numpy()

    @staticmethod
    def _places(count: int, length: int, first: float, extent: float) -> torch.Tensor:
        """Where the centres of `count` pixels over a picture of `length` lie in the window: -1 at its start, 1 at its end."""
        centres = (torch.arange(count, dtype=torch.float32) + 0.5) * (length / count)
        return (centres - first) / extent * 2 - 1

    @property
    def peak(self) -> tuple[int, int]:
        """The row and column of the hottest pixel."""
        row, column = np.unravel_index(int(self.heat.argmax()), self.heat.shape)
        return int(row), int(column)

    @property
    def told(self) -> str:
        """The answer in words: the class and its probability, or the number."""
        return f"{self.label} {self.answer:.5g}" if self.is_number else f"{self.label} {percent(self.answer)}"

    def overlay(self, *, side_px: int | None = None) -> Image.Image:
        """The picture under its heat, RGB, of its own size or with `side_px` on its longer side; nothing is written on it."""
        picture = self.picture.convert("RGB")
        if side_px is not None:
            scale = side_px / max(picture.size)
            size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
            crisp = scale >= 2
            picture = picture.resize(size, Image.Resampling.NEAREST if crisp else Image.Resampling.LANCZOS)
        heat = self.at((picture.height, picture.width))
        pixels = np.asarray(picture).astype(np.float32)
        grey = pixels.mean(axis=2, keepdims=True)
        cover = heat[..., None]
        # Dim and nearly grey where it is cold, so that light stands for heat; the colour comes on top of what lies below.
        ground = (0.7 * grey + 0.3 * pixels) * 0.7
        lit = 0.55 * pixels + 0.45 * _coloured(heat)
        shown = ground * (1 - cover) + lit * cover
        for level in _LINES:
            edge = _edge(heat >= level)
            shown[_wider(edge)] = (25, 20, 20)
            shown[edge] = (255, 255, 255)
        left, top, right, bottom = self._seen(picture.size)
        unseen = np.ones(heat.shape, bool)
        unseen[top:bottom, left:right] = False
        shown[unseen] *= _UNSEEN
        return Image.fromarray(shown.clip(0, 255).astype(np.uint8))

    def _seen(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The part that the network saw, in pixels of a picture drawn at `size` (width, height)."""
        across, down = size[0] / self.picture.width, size[1] / self.picture.height
        left, right = max(0.0, self.window.left), min(float(self.picture.width), self.window.right)
        top, bottom = max(0.0, self.window.top), min(float(self.picture.height), self.window.bottom)
        return round(left * across), round(top * down), round(right * across), round(bottom * down)

    def draw(self, *, side_px: int = 320) -> Image.Image:
        """The picture under its heat, on paper, with the answer below and a legend."""
        shown = self.overlay(side_px=side_px)
        bold, letters = draw.font("DejaVuSans-Bold.ttf", _TEXT_PX + 1), draw.font("DejaVuSans.ttf", _TEXT_PX)
        width = max(shown.width, 220) + 2 * _MARGIN
        sheet = Image.new("RGB", (width, shown.height + 2 * _MARGIN + 3 * _LINE_PX), draw.PAPER)
        sheet.paste(shown, ((width - shown.width) // 2, _MARGIN))
        pen, room = ImageDraw.Draw(sheet), width - 2 * _MARGIN
        y = shown.height + _MARGIN + 4 + _LINE_PX // 2
        pen.text((_MARGIN, y), draw.shortened(self.told, bold, room), fill=draw.INK, font=bold, anchor="lm")
        how = self.how
        pen.text(
            (_MARGIN, y + _LINE_PX), draw.shortened(how, letters, room), fill=draw.MUTED, font=letters, anchor="lm"
        )
        y += 2 * _LINE_PX
        x = _MARGIN
        for text, after in (("none", 6), ("", 6), ("most", 0)):
            if text:
                pen.text((x, y), text, fill=draw.MUTED, font=letters, anchor="lm")
                x += int(letters.getlength(text)) + after
            else:
                bar = _coloured(np.linspace(0, 1, _BAR_PX, dtype=np.float32)[None].repeat(8, 0))
                sheet.paste(Image.fromarray(bar.astype(np.uint8)), (x, y - 4))
                pen.line((x + _BAR_PX // 2, y - 6, x + _BAR_PX // 2, y + 5), fill=draw.INK)  # where the line lies
                x += _BAR_PX + after
        return sheet

    @property
    def how(self) -> str:
        """The method and the layer, in words."""
        nothing = ": nothing speaks for it" if self.is_empty else ""
        return f"{self.method}{f' at {self.layer}' if self.layer else ''}{nothing}"

    def save(self, path: str | os.PathLike[str], *, side_px: int | None = None) -> Path:
        """Writes what `draw` gives; in the picture's own size where nobody says, or smaller for a large one. Gives the path."""
        target = Path(path)
        side = min(max(320, max(self.picture.size)), _LARGEST_PX) if side_px is None else side_px
        with replacing(target) as temporary:
            kind = Image.registered_extensions().get(target.suffix.lower(), "PNG")
            self.draw(side_px=side).save(temporary, format=kind)
        return target

    def png(self, *, side_px: int | None = None) -> bytes:
        """What `overlay` gives, as the bytes of a PNG file."""
        stream = io.BytesIO()
        self.overlay(side_px=side_px).save(stream, "PNG")
        return stream.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: answer, method, layer, the hottest pixel, and the heat as it was measured (h w)."""
        row, column = self.peak
        return {
            "label": self.label,
            ("value" if self.is_number else "probability"): self.answer,
            "method": self.method,
            "layer": self.layer,
            "peak": {"row": row, "column": column},
            "window": dict(zip(("top", "left", "bottom", "right"), map(float, self.window), strict=True)),
            "grid": [[round(float(value), 4) for value in line] for line in self.grid],
        }

    def __repr__(self) -> str:
        return f"Heat({self.told}, {self.how}, {self.picture.width} x {self.picture.height} px)"

    def _repr_html_(self) -> str:
        told = html.escape(f"{self.told}: {self.how}")
        return f'<img alt="{told}" src="{draw.encoded(self.draw(), "PNG")}" style="max-width:100%">'


def normalised(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """What is positive of the values, by the largest, 0..1; zeros where nothing is."""
    positive = np.maximum(values, 0).astype(np.float32)
    most = float(positive.max())
    return positive / most if most > 0 and np.isfinite(most) else np.zeros_like(positive)


_TABLE = np.stack(
    [np.interp(np.arange(256), np.linspace(0, 255, len(_COLOURS)), _COLOURS[:, channel]) for channel in range(3)],
    axis=-1,
).astype(np.float32)


def _coloured(heat: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W 3"]:
    return np.asarray(_TABLE[(heat * 255).round().astype(np.uint8)])


def _edge(inside: UInt8[np.ndarray, "H W"] | Any) -> Any:
    """The pixels of a region that touch one that is none of it."""
    padded = np.pad(inside, 1, mode="edge")
    return inside & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])


def _wider(edge: Any) -> Any:
    padded = np.pad(edge, 1)
    return padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
