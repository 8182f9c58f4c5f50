"""Blocks that are painted over, so that no single part of the picture can be relied on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.core.errors import ShapeError
from lamina.data.augment.transform import Images, Uniforms, check, require, require_range, require_share

Value = float | tuple[float, ...]


@dataclass(frozen=True)
class RandomErasing:
    """Paints a block over with probability `p`: a share `scale` of the area, of a shape (height / width) in `ratio`.

    Zhong 2017, arXiv:1708.04896, with torchvision's ranges: shares are equally likely, and so are the logarithms of the
    shapes. A block that is too long for the picture is cut to its side, where the paper draws again. `value`, 0..255, is
    the paint: one number, or one for each channel.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: Value = 0.0

    def __post_init__(self) -> None:
        require_share("p", self.p)
        require_range("scale", self.scale, most=1)
        require_range("ratio", self.ratio)

    @property
    def draws(self) -> int:
        """Whether, area, shape, across, down."""
        return 5

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images, some of them with a block of the value."""
        check(images, uniforms, self.draws)
        height, width = images.shape[2:]
        whether, area, shape, across, down = uniforms.unbind(1)
        area = (self.scale[0] + area * (self.scale[1] - self.scale[0])) * (height * width)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        shape = (low + shape * (high - low)).exp()
        tall = (area * shape).sqrt().round().clamp(1, height) * (whether < self.p)
        wide = (area / shape).sqrt().round().clamp(1, width)
        left, top = (across * (width - wide + 1)).floor(), (down * (height - tall + 1)).floor()
        return _painted(images, inside(images, left=left, top=top, width=wide, height=tall), self.value)


@dataclass(frozen=True)
class Cutout:
    """Paints a square of `px` x `px` pixels over, its centre anywhere in the picture, so that a part may lie outside.

    DeVries & Taylor 2017, arXiv:1708.04552. `value`, 0..255, is the paint: one number, or one for each channel (the paper's
    0 comes after normalising, and is the mean colour).
    """

    px: int
    value: Value = 0.0

    def __post_init__(self) -> None:
        require("px", self.px, self.px >= 0 and self.px == int(self.px), "a whole number of pixels, at least 0")

    @property
    def draws(self) -> int:
        """Across, down."""
        return 2

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images, each with a square of the value."""
        check(images, uniforms, self.draws)
        left = (uniforms[:, 0] * images.shape[3]).floor() - self.px // 2
        top = (uniforms[:, 1] * images.shape[2]).floor() - self.px // 2
        side = torch.full_like(left, self.px)
        return _painted(images, inside(images, left=left, top=top, width=side, height=side), self.value)


def inside(images: Images, *, left: Tensor, top: Tensor, width: Tensor, height: Tensor) -> Tensor:
    """Where (B 1 H W) the pixels lie in each image's block (B), of which a part may lie outside the image."""
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    in_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    in_columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def _painted(images: Images, block: Tensor, value: Value) -> Images:
    values = (value,) if isinstance(value, int | float) else value
    if len(values) not in (1, images.shape[1]):
        raise ShapeError(
            f"The value is {value}, for images of {images.shape[1]} channels.",
            "It is one number, or one for each channel.",
            "Pass another value.",
        )
    paint = torch.cat([images.new_full((1, 1, 1, 1), part) for part in values], dim=1)
    return torch.lerp(images, paint, block.to(images.dtype))  # by 0 or 1: chooses, faster than masked_fill
