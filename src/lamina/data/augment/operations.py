"""What the automatic augmentations choose from: fourteen simple operations, each at a strength of -1 to 1, for whole batches.

The list and the strengths are AutoAugment's (Cubuk 2019, arXiv:1805.09501, table 6), without those of samples in pairs; WIDE is
TrivialAugment's wider space (Müller & Hutter 2021, arXiv:2103.10158, table 1). What they do is what Pillow does by the same names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from lamina.data.augment.colour import adjust_brightness, adjust_contrast, adjust_saturation
from lamina.data.augment.transform import Images, each

Strengths = Float[Tensor, " B"]
_WHITE = 255.0


@dataclass(frozen=True)
class Most:
    """What the strength 1 means: a slope, a share of the side, degrees, a change of a factor, the bits that are left."""

    shear: float = 0.3
    shift: float = 0.45
    degrees: float = 30.0
    factor: float = 0.9
    bits: int = 4


USUAL = Most()
WIDE = Most(shear=0.99, shift=32 / 224, degrees=135.0, factor=0.99, bits=2)


def posterize(images: Images, bits: Tensor) -> Images:
    """Fewer levels: so many bits (B) of each value are kept, the others are 0."""
    step = each(2.0 ** (8 - bits), images)
    return (images / step).floor_().mul_(step)


def solarize(images: Images, strengths: Strengths) -> Images:
    """Values above a threshold turned into their negatives: none at strength 0, all at 1."""
    threshold = each(_WHITE * (1 - strengths.abs()), images)
    return torch.where(images > threshold, _WHITE - images, images)


def autocontrast(images: Images) -> Images:
    """Each channel stretched over 0..255; one of a single value stays as it is."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    spread = high - low
    flat = spread <= 0
    scale = torch.where(flat, 1.0, _WHITE / spread)
    return ((images - torch.where(flat, 0.0, low)) * scale).clamp_(0, _WHITE)


def equalize(images: Images) -> Images:
    """Each channel's values spread so that all are about equally frequent."""
    batch, channels = images.shape[:2]
    values = images.round().clamp_(0, _WHITE).to(torch.int64).view(batch * channels, -1)
    counts = torch.zeros(batch * channels, 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    last = counts.gather(
        1, values.amax(1, keepdim=True)
    )  # of the brightest value that there is, as Pillow leaves it out
    step = (values.shape[1] - last) // 255
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step == 0, torch.arange(256, device=images.device), table)
    return table.gather(1, values).view_as(images).to(images.dtype)


def sharpen(images: Images, factors: Strengths) -> Images:
    """Each pixel's distance from its smoothed self, times the image's factor (B): 0 is smoothed, 1 the image. The border stays."""
    if min(images.shape[2:]) < 3:
        return images
    kernel = images.new_ones(images.shape[1], 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, kernel / 13, groups=images.shape[1])
    return torch.lerp(smooth, images, each(factors, images)).clamp_(0, _WHITE)


PHOTOMETRIC = (
    "identity",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
GEOMETRIC = ("shear_x", "shear_y", "shift_x", "shift_y", "rotate")
OPERATIONS = (*PHOTOMETRIC, *GEOMETRIC)


def applied(images: Images, chosen: Int64[Tensor, " B"], strengths: Strengths, most: Most) -> Images:
    """To each image one operation, the `chosen`-th of OPERATIONS, at its strength.

    On a processor each is computed for the images that want it; elsewhere for all, because the host would have to wait to know.
    """
    changed = images.clone()
    for number, name in enumerate(PHOTOMETRIC[1:], 1):
        changed = _where(chosen == number, changed, strengths, functools.partial(_lit, name, most))
    moving = chosen >= len(PHOTOMETRIC)
    told = torch.stack([chosen.to(strengths.dtype), strengths], dim=1)
    return _where(moving, changed, told, lambda x, t: _moved(x, t[:, 0].to(torch.int64), t[:, 1], most))


def _lit(name: str, most: Most, images: Images, strengths: Strengths) -> Images:
    match name:
        case "brightness":
            return adjust_brightness(images, 1 + strengths * most.factor)
        case "contrast":
            return adjust_contrast(images, 1 + strengths * most.factor)
        case "saturation":
            return adjust_saturation(images, 1 + strengths * most.factor)
        case "sharpness":
            return sharpen(images, 1 + strengths * most.factor)
        case "posterize":
            return posterize(images, (8 - strengths.abs() * (8 - most.bits)).round())
        case "solarize":
            return solarize(images, strengths)
        case "autocontrast":
            return autocontrast(images)
        case _:
            return equalize(images)


def _where(which: Tensor, images: Images, numbers: Tensor, change: Callable[[Images, Tensor], Images]) -> Images:
    if not images.is_cpu:
        return torch.where(which[:, None, None, None], change(images, numbers), images)
    rows = which.nonzero().flatten()
    if len(rows):
        images[rows] = change(images[rows], numbers[rows])
    return images


def _moved(images: Images, chosen: Tensor, strengths: Strengths, most: Most) -> Images:
    """Shears, shifts and turns about the centre, as one bilinear sampling; what comes in from outside is 0."""
    height, width = images.shape[2:]
    shear_x, shear_y, shift_x, shift_y, turn = (
        torch.where(chosen == len(PHOTOMETRIC) + number, strengths, 0.0) for number in range(len(GEOMETRIC))
    )
    angle = turn * math.radians(most.degrees)
    # From a place of the result to one of the picture, in pixels from the centre; grid_sample's unit is half a side.
    aspect = height / width
    rows = [
        torch.stack([angle.cos(), (shear_x * most.shear - angle.sin()) * aspect, shift_x * (2 * most.shift)], dim=1),
        torch.stack([(shear_y * most.shear + angle.sin()) / aspect, angle.cos(), shift_y * (2 * most.shift)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1).to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
