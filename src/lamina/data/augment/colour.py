"""Brightness, contrast, saturation and hue. The factors mean what they mean in torchvision; results are clamped to 0..255."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamina.core.errors import ShapeError
from lamina.data.augment.transform import Images, Uniforms, check, each, require, require_share

Range = float | tuple[float, float]
_WHITE = 255.0
_LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601), as torchvision rounds them


@dataclass(frozen=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue by random factors, all equally likely, in this order.

    A number b stands for the factors 1 - b to 1 + b (not below 0), for the hue -b to b (in turns, at most 0.5); a pair is
    the range itself. 0 leaves that property alone. (torchvision shuffles the order for each picture.)
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            low, high = _bounds(getattr(self, name), 1.0)
            require(
                name, getattr(self, name), 0 <= low <= high, "a number, at least 0, or a pair of them, the lower first"
            )
        low, high = _bounds(self.hue, 0.0)
        require("hue", self.hue, -0.5 <= low <= high <= 0.5, "at most 0.5, or a pair in -0.5..0.5, the lower first")

    @property
    def draws(self) -> int:
        """One for each of the four."""
        return 4

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images in other light. Raises ShapeError where contrast, saturation or hue came to neither 1 nor 3 channels."""
        check(images, uniforms, self.draws)
        changes: list[tuple[Range, float, Any]] = [
            (self.brightness, 1.0, adjust_brightness),
            (self.contrast, 1.0, adjust_contrast),
            (self.saturation, 1.0, adjust_saturation),
            (self.hue, 0.0, adjust_hue),
        ]
        for column, (given, middle, change) in enumerate(changes):
            low, high = _bounds(given, middle)
            if low != middle or high != middle:
                images = change(images, low + uniforms[:, column] * (high - low))
        return images


@dataclass(frozen=True)
class RandomGrayscale:
    """Takes the colour out of an image with probability `p`; it keeps its channels, all equal."""

    p: float = 0.1

    def __post_init__(self) -> None:
        require_share("p", self.p)

    @property
    def draws(self) -> int:
        """Whether."""
        return 1

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images, some of them grey."""
        check(images, uniforms, self.draws)
        return torch.lerp(images, grey(images).expand_as(images), each(uniforms[:, 0] < self.p, images))


def adjust_brightness(images: Images, factors: Tensor) -> Images:
    """Each image times its factor (B): 0 is black, 1 the image, 2 twice as bright."""
    return (images * each(factors, images)).clamp_(0, _WHITE)


def adjust_contrast(images: Images, factors: Tensor) -> Images:
    """Each image's distance from its mean grey, times its factor (B): 0 is grey all over, 1 the image."""
    share = each(factors, images)
    return (images * share).add_((1 - share) * grey(images).mean(dim=(1, 2, 3), keepdim=True)).clamp_(0, _WHITE)


def adjust_saturation(images: Images, factors: Tensor) -> Images:
    """Each pixel's distance from its own grey, times the image's factor (B): 0 is without colour, 1 the image."""
    if images.shape[1] == 1:
        return images
    return torch.lerp(grey(images).expand_as(images), images, each(factors, images)).clamp_(0, _WHITE)


def adjust_hue(images: Images, turns: Tensor) -> Images:
    """Each image's hue (as in HSV) moved round the circle by `turns` (B): 1 / 3 makes red green, green blue, blue red."""
    if images.shape[1] == 1:
        return images
    _require_colours(images)
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    # Sixths of a turn from red. lerp by 0 or 1 chooses, and on a CPU is several times as fast as torch.where.
    from_blue_or_green = torch.lerp(
        4 * chroma + (red - green), 2 * chroma + (blue - red), (value == green).to(value.dtype)
    )
    hue = torch.lerp(from_blue_or_green, green - blue, (value == red).to(value.dtype)) / chroma.clamp(min=1e-3)
    hue = hue + turns.to(images.dtype)[:, None, None] * 6
    # Red, green and blue are one trapezoid over the circle, begun at three places: low for two sixths, then up, high, down.
    place = hue[:, None] + torch.arange(5, 0, -2, device=images.device)[:, None, None]
    place -= (place / 6).floor_().mul_(6)
    return value[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)


def grey(images: Images) -> Images:
    """The brightness of each pixel (B 1 H W), by the eye's sensitivity to red, green and blue."""
    if images.shape[1] == 1:
        return images
    _require_colours(images)
    red, green, blue = images.chunk(3, dim=1)  # scalars and no tensor of weights: moving one to a device waits for it
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _bounds(given: Range, middle: float) -> Sequence[float]:
    if not isinstance(given, int | float):
        return given
    return (max(middle - given, 0.0) if middle else -given), middle + given


def _require_colours(images: Tensor) -> None:
    if images.shape[1] != 3:
        raise ShapeError(
            f"The images have {images.shape[1]} channels.",
            "Colours are changed in images of 3 channels, red, green and blue (or 1, grey).",
            "Leave the changes of colour out, or give them the first three channels.",
        )
