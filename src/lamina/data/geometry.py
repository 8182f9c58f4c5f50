"""Which part of a picture the network's input shows: the inverse of the host's resizing, cropping and padding."""

from __future__ import annotations

from typing import NamedTuple

from lamina.data.preprocess import Preprocess


class Window(NamedTuple):
    """A part of a picture in its own pixels; beyond its edges where the input was padded."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        """In pixels of the picture."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """In pixels of the picture."""
        return self.right - self.left


def window(preprocess: Preprocess, size: tuple[int, int]) -> Window:
    """The part of an upright picture of `size` (height, width) that `preprocess.host` makes the network's input of.

    Pixel (y, x) of an input of H x W lies at (top + (y + 0.5) / H * height, left + (x + 0.5) / W * width) of the picture.
    """
    (height, width), (tall, wide) = preprocess.size, size
    if preprocess.resize == "stretch":
        return Window(0.0, 0.0, float(tall), float(wide))
    if preprocess.resize == "pad":
        scale = min(width / wide, height / tall)
        inner_h, inner_w = max(1, round(tall * scale)), max(1, round(wide * scale))
        top, left = -((height - inner_h) // 2), -((width - inner_w) // 2)
    else:
        inner_h, inner_w = int(height / preprocess.crop), int(width / preprocess.crop)
        if inner_h * wide >= inner_w * tall:
            inner_w = max(width, wide * inner_h // tall)
        else:
            inner_h = max(height, tall * inner_w // wide)
        top, left = round((inner_h - height) / 2), round((inner_w - width) / 2)
    rows, columns = tall / inner_h, wide / inner_w  # pixels of the picture to one of the input
    return Window(top * rows, left * columns, (top + height) * rows, (left + width) * columns)
