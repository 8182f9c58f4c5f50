"""How results draw themselves: pixels to Pillow pictures, a caption under a picture, several on a sheet, a picture as text for a page.

What is annotated is drawn by `drawing.annotated`.
"""

from __future__ import annotations

import base64
import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, Union

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from lamina.core.errors import DataError, ShapeError

Picture: TypeAlias = Union[Image.Image, np.ndarray, Tensor, str, "os.PathLike[str]"]

_CHANNELS = (1, 3, 4)
PAPER, INK, MUTED = (250, 249, 247), (28, 27, 25), (107, 104, 98)


def picture(image: Picture) -> Image.Image:
    """The image as a Pillow picture, mode L or RGB, pixel for pixel.

    Takes uint8 pixels (H W, 1 H W, 3 H W, or H W C as `channels_last` knows it; any other number of channels is averaged to
    grey), a Pillow picture, or the path of one (turned as its EXIF note says). Floats are refused: nobody knows how they were
    scaled.
    """
    if isinstance(image, str | os.PathLike):
        with Image.open(image) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    if isinstance(image, Image.Image):
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    pixels = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"The picture to draw holds {pixels.dtype} numbers.",
            "Pixels to draw are uint8, 0 to 255.",
            "Pass the picture as it was before normalising, or `(x * 255).astype('uint8')` if it lies in 0 to 1.",
        )
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ShapeError(
            f"The picture to draw has shape {pixels.shape}.",
            "One picture is (H, W), (C, H, W) or (H, W, C), and not empty.",
            "Pass one picture of a batch, such as `images[0]`.",
        )
    if channels_last(pixels.shape):
        pixels = pixels[..., :3].transpose(2, 0, 1)
    if len(pixels) == 3:
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    grey = pixels[0] if len(pixels) == 1 else pixels.mean(axis=0).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(grey))


def channels_last(shape: Sequence[int]) -> bool:
    """Whether pixels of this shape are taken for H W C: 1, 3 or 4 channels, behind sides that are no numbers of channels."""
    return shape[0] > _CHANNELS[-1] < shape[1] and shape[2] in _CHANNELS


def captioned(image: Picture, caption: str, *, detail: str = "", side_px: int = 256) -> Image.Image:
    """The picture on paper with its caption below and a quieter `detail` at the right: RGB, at least `side_px` wide.

    A small picture is enlarged by a whole factor, so that every pixel stays a square; a large one is shrunk.
    """
    shown = _scaled(picture(image).convert("RGB"), side_px)
    margin, text_px = 12, 20
    width = max(shown.width, side_px) + 2 * margin
    sheet = Image.new("RGB", (width, shown.height + 3 * margin + text_px + 6), PAPER)
    sheet.paste(shown, ((width - shown.width) // 2, margin))
    pen = ImageDraw.Draw(sheet)
    baseline = shown.height + 2 * margin + text_px
    detail_font, caption_font = font("DejaVuSans.ttf", 14), font("DejaVuSans-Bold.ttf", text_px)
    room = width - 2 * margin
    if detail:
        pen.text((width - margin, baseline), detail, fill=MUTED, font=detail_font, anchor="rs")
        room -= int(detail_font.getlength(detail)) + margin
    pen.text((margin, baseline), shortened(caption, caption_font, room), fill=INK, font=caption_font, anchor="ls")
    return sheet


def grid(pictures: Sequence[Image.Image], *, columns: int | None = None) -> Image.Image:
    """Pictures on one sheet of paper, row by row, about as high as wide where `columns` is not said. Raises DataError for none."""
    if not pictures:
        raise DataError("No picture came.", "At least one was expected.", "Pass a longer list.")
    width = max(each.width for each in pictures)
    mean_height = sum(each.height for each in pictures) / len(pictures)
    across = columns or max(1, round((len(pictures) * mean_height * 1.4 / width) ** 0.5))
    across = min(across, len(pictures))
    rows = [pictures[first : first + across] for first in range(0, len(pictures), across)]
    heights = [max(each.height for each in row) for row in rows]
    sheet = Image.new("RGB", (width * across, sum(heights)), PAPER)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, each in enumerate(row):
            sheet.paste(each, (place * width + (width - each.width) // 2, top))
        top += height
    return sheet


def data_url(image: Picture, *, side_px: int = 160) -> str:
    """The picture as text for an `<img src=...>`, its longer side at most `side_px`.

    Up to 64 pixels it is PNG and exact; beyond that JPEG, a tenth of the size for photographs.
    """
    shown = picture(image)
    if max(shown.size) > side_px:
        shown = shown.copy()
        shown.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    exact = max(shown.size) <= 64
    return encoded(shown, "PNG") if exact else encoded(shown, "JPEG")


def encoded(shown: Image.Image, kind: str) -> str:
    """A Pillow picture as a data URL; `kind` is "PNG" or "JPEG"."""
    stream = io.BytesIO()
    shown.save(stream, kind, optimize=True, **({"quality": 82} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _scaled(shown: Image.Image, side_px: int) -> Image.Image:
    longest = max(shown.size)
    if longest > 2 * side_px:
        return ImageOps.contain(shown, (2 * side_px, 2 * side_px), Image.Resampling.LANCZOS)
    factor = -(-side_px // longest)
    return shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)


def shortened(text: str, font: ImageFont.FreeTypeFont, room_px: float) -> str:
    """The text, or what of it fits into `room_px`, with an ellipsis."""
    if font.getlength(text) <= room_px:
        return text
    while text and font.getlength(text + "…") > room_px:
        text = text[:-1]
    return text.rstrip() + "…"


@functools.cache
def font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib: Pillow's own knows few letters beyond English."""
    import matplotlib  # slow to import, and needed only here

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size_px)
