"""Crops: a window of a padded picture, and a window of any size and shape that is resampled to one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.core.errors import ShapeError
from lamina.data.augment.geometry import windows
from lamina.data.augment.transform import Images, Uniforms, check, require, require_range

Padding = Literal["constant", "reflect", "edge"]
_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}  # torchvision's names, torch's names


@dataclass(frozen=True)
class RandomCrop:
    """Pads by `padding` pixels on all sides and cuts a window out, all places equally likely; no pixel is interpolated.

    The window is as large as the image came, or `size` (height, width; one number for both). `padding_mode`: "constant"
    puts 0 outside, "reflect" the mirrored picture without its outermost row, "edge" that row again and again.
    """

    padding: int = 0
    size: int | tuple[int, int] | None = None
    padding_mode: Padding = "constant"

    def __post_init__(self) -> None:
        whole = self.padding >= 0 and self.padding == int(self.padding)
        require("padding", self.padding, whole, "a whole number of pixels, at least 0")
        require("padding_mode", self.padding_mode, self.padding_mode in _MODES, f"one of {', '.join(_MODES)}")
        if self.size is not None:
            require("size", self.size, min(pair(self.size)) >= 1, "in pixels, at least 1")

    @property
    def draws(self) -> int:
        """Across, down."""
        return 2

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Windows (B C height width). Raises ShapeError where the padded images are smaller."""
        check(images, uniforms, self.draws)
        height, width = images.shape[2:] if self.size is None else pair(self.size)
        across, down = images.shape[3] + 2 * self.padding - width, images.shape[2] + 2 * self.padding - height
        mirrored = self.padding_mode == "reflect" and self.padding >= min(images.shape[2:])
        if min(across, down) < 0 or mirrored:
            raise ShapeError(
                f"RandomCrop(padding={self.padding}, size={self.size}) came to images of {images.shape[2]} x {images.shape[3]} px.",
                "The padded image has to hold the window, and a mirrored border has to be narrower than the image.",
                "Pass another padding or size.",
            )
        padded = F.pad(images, (self.padding,) * 4, mode=_MODES[self.padding_mode]) if self.padding else images
        left = (uniforms[:, 0] * (across + 1)).to(torch.int64)
        top = (uniforms[:, 1] * (down + 1)).to(torch.int64)
        return windows(padded, left=left, top=top, height=height, width=width)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts out a window of a share `scale` of the area and of a shape (width / height) in `ratio`, and resamples it to `size`.

    Shares are equally likely, and so are the logarithms of the shapes (Szegedy 2014, section 6). Bilinear with antialias:
    where the window is larger than `size` each pixel is the mean of all that it covers, as in PIL and torchvision. A window
    that is too long for the picture is cut to its side, where torchvision draws again.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        require("size", self.size, min(pair(self.size)) >= 1, "in pixels, at least 1")
        require_range("scale", self.scale, most=1)
        require_range("ratio", self.ratio)

    @property
    def draws(self) -> int:
        """Area, shape, across, down."""
        return 4

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images (B C height width) of the size."""
        check(images, uniforms, self.draws)
        left, top, width, height = self.boxes(uniforms, images.shape[2], images.shape[3])
        rows, columns = pair(self.size)
        across = _weights(left, width, side=images.shape[3], outputs=columns).to(images.dtype)
        down = _weights(top, height, side=images.shape[2], outputs=rows).to(images.dtype)
        lines = torch.bmm(images.flatten(1, 2), across.mT.contiguous()).view(*images.shape[:3], columns)
        return torch.bmm(down, lines.transpose(1, 2).flatten(2)).view(len(images), rows, -1, columns).transpose(1, 2)

    def boxes(self, uniforms: Uniforms, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Left, top, width and height (B) in whole pixels of the windows in images of that size."""
        area, shape, across, down = uniforms.unbind(1)
        area = (self.scale[0] + area * (self.scale[1] - self.scale[0])) * (height * width)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        shape = (low + shape * (high - low)).exp()
        wide = (area * shape).sqrt().round().clamp(1, width)
        high_ = (area / shape).sqrt().round().clamp(1, height)
        return (across * (width - wide + 1)).floor(), (down * (height - high_ + 1)).floor(), wide, high_


def _weights(first: Tensor, length: Tensor, *, side: int, outputs: int) -> Tensor:
    """(B outputs side): how much each pixel of a line gives to each output, for the stretch of `length` pixels from `first` on.

    A triangle about the output's centre, as wide as an output where that is more than a pixel; the rows sum to 1. Two matrix
    products then resample a batch in which every window is another, without the host knowing one.
    """
    step = (length / outputs)[:, None, None]
    outs = torch.arange(outputs, device=first.device, dtype=first.dtype)[:, None] + 0.5
    places = torch.arange(side, device=first.device, dtype=first.dtype) + 0.5
    first, last = first[:, None, None], (first + length)[:, None, None]
    far = (places - (first + outs * step)).abs_().div_(step.clamp(min=1))  # in place from here on: these are large
    weights = far.neg_().add_(1).clamp_(min=0).mul_((places > first) & (places < last))
    return weights.div_(weights.sum(2, keepdim=True))


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size that may be one number."""
    return (size, size) if isinstance(size, int) else size
