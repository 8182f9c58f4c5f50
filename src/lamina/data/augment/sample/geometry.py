"""Flips, crops, turns, shifts, zooms and sizes for single pictures, as torchvision's v2 transforms: all that lies in a picture moves along.

They draw from torch's own generator, which the workers of a loader set anew for each place in the epoch. Pictures are
resampled bilinear with antialias, masks and maps of classes by the nearest pixel; what comes in from outside is `fill`,
in a map of classes IGNORED.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from lamina.data.augment.crop import pair
from lamina.data.augment.sample.moving import centred
from lamina.data.augment.transform import require, require_range, require_share

Range = tuple[float, float]


class RandomFlip(v2.Transform):  # type: ignore[misc]
    """Mirrors with probability `p`, left to right, or upside down where `vertical`."""

    def __init__(self, p: float = 0.5, *, vertical: bool = False) -> None:
        require_share("p", p)
        super().__init__()
        self.p, self.vertical = p, vertical

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Whether."""
        return {"mirror": bool(torch.rand(()) < self.p)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, mirrored or not."""
        if not params["mirror"]:
            return inpt
        return F.vertical_flip(inpt) if self.vertical else F.horizontal_flip(inpt)

    def __str__(self) -> str:
        return f"mirrored {'upside down' if self.vertical else 'left to right'} {often(self.p)}"


class RandomCrop(v2.Transform):  # type: ignore[misc]
    """Cuts out, with probability `p`, a window of a share `scale` of the area, its shape (width / height) the picture's times `ratio`.

    Of `tries` windows the first counts that holds the centre of an object's box; where none does, the picture stays whole. So
    no picture loses all of its objects. An object whose centre is outside is left out (Liu 2016, arXiv:1512.02325, section 2.2).
    """

    def __init__(
        self, scale: Range = (0.3, 1.0), ratio: Range = (3 / 4, 4 / 3), *, p: float = 1.0, tries: int = 20
    ) -> None:
        require_range("scale", scale, most=1)
        require_range("ratio", ratio)
        require_share("p", p)
        super().__init__()
        self.scale, self.ratio, self.p, self.tries = scale, ratio, p, tries

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The window."""
        height, width = size_of(flat_inputs)
        whole = {"top": 0, "left": 0, "height": height, "width": width}
        if torch.rand(()) >= self.p:
            return whole
        boxes = next((each for each in flat_inputs if isinstance(each, tv_tensors.BoundingBoxes)), None)
        for _ in range(self.tries):
            area, shape, across, down = torch.rand(4).tolist()
            share = self.scale[0] + area * (self.scale[1] - self.scale[0])
            low, high = map(math.log, self.ratio)
            stretch = math.exp((low + shape * (high - low)) / 2)
            tall = min(max(round(height * math.sqrt(share) / stretch), 1), height)
            wide = min(max(round(width * math.sqrt(share) * stretch), 1), width)
            top, left = int(down * (height - tall + 1)), int(across * (width - wide + 1))
            if boxes is None or not len(boxes):
                break
            inner = boxes.as_subclass(Tensor) - torch.tensor([left, top, left, top])
            if bool(centred(inner, (tall, wide)).any()):
                break
        else:
            return whole
        return {"top": top, "left": left, "height": tall, "width": wide}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, cut."""
        return F.crop(inpt, **params)

    def __str__(self) -> str:
        return f"cut to a window of {_span(self.scale)} of the area that holds an object's centre {often(self.p)}"


class RandomAffine(v2.Transform):  # type: ignore[misc]
    """Turns by up to `degrees`, shifts by up to a share `shift` of the sides, scales by a factor in `zoom`, about the centre.

    With probability `p`. `fill` comes in from outside the picture.
    """

    def __init__(
        self, degrees: float = 0.0, shift: float = 0.0, zoom: Range = (1.0, 1.0), *, p: float = 1.0, fill: int = 0
    ) -> None:
        require("degrees", degrees, degrees >= 0, "an angle, at least 0")
        require("shift", shift, 0 <= shift < 1, "a share of the side, at least 0 and below 1")
        require_range("zoom", zoom)
        require_share("p", p)
        super().__init__()
        self.degrees, self.shift, self.zoom, self.p, self.fill = degrees, shift, zoom, p, fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Angle, shift and factor; nothing where it does not act."""
        height, width = size_of(flat_inputs)
        whether, angle, across, down, factor = torch.rand(5).tolist()
        if whether >= self.p:
            return {}
        low, high = map(math.log, self.zoom)
        return {
            "angle": (2 * angle - 1) * self.degrees,
            "translate": [(2 * across - 1) * self.shift * width, (2 * down - 1) * self.shift * height],
            "scale": math.exp(low + factor * (high - low)),
            "shear": [0.0, 0.0],
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, moved."""
        return warped(inpt, params, fill=self.fill) if params else inpt

    def __str__(self) -> str:
        told = [f"turned by up to {self.degrees:g} degrees"] * (self.degrees > 0)
        told += [f"shifted by up to {self.shift:.0%} of the sides"] * (self.shift > 0)
        told += [f"scaled by {self.zoom[0]:g} to {self.zoom[1]:g}"] * (self.zoom != (1.0, 1.0))
        return f"{', '.join(told) or 'left where it is'} {often(self.p)}"


class Resize(v2.Transform):  # type: ignore[misc]
    """Stretched to `size` (height, width; one number is the side of a square)."""

    def __init__(self, size: int | tuple[int, int]) -> None:
        require_size(size)
        super().__init__()
        self.size = pair(size)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, stretched."""
        return scaled(inpt, self.size)

    def __str__(self) -> str:
        return f"stretched to {self.size[0]} x {self.size[1]} px (height x width)"


class Letterbox(v2.Transform):  # type: ignore[misc]
    """Scaled as a whole until it fits into `size` (height, width), in the middle, with `fill` around: Preprocess(resize="pad")."""

    def __init__(self, size: int | tuple[int, int], *, fill: int = 0) -> None:
        require_size(size)
        super().__init__()
        self.size, self.fill = pair(size), fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The size within, and the border left, top, right and below."""
        height, width = size_of(flat_inputs)
        scale = min(self.size[0] / height, self.size[1] / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = ((whole - part) // 2 for whole, part in zip(self.size, inner, strict=True))
        return {"inner": inner, "border": [left, top, self.size[1] - inner[1] - left, self.size[0] - inner[0] - top]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, scaled and framed."""
        return padded(scaled(inpt, params["inner"]), params["border"], fill=self.fill)

    def __str__(self) -> str:
        return (
            f"scaled as a whole into {self.size[0]} x {self.size[1]} px (height x width), with a border of {self.fill}"
        )


class RandomScaledCrop(v2.Transform):  # type: ignore[misc]
    """Scaled as a whole to cover `size`, times a factor in `scale`, then a window of `size` of it, with `fill` where it is too small.

    At a factor of at least 1 the window lies within the picture; below it at least the factor's square of it is picture. The usual
    way to pictures of one size for segmentation (Chen 2017, arXiv:1706.05587, section 4.1).
    """

    def __init__(self, size: int | tuple[int, int], scale: Range = (0.5, 2.0), *, fill: int = 0) -> None:
        require_size(size)
        require_range("scale", scale)
        super().__init__()
        self.size, self.scale, self.fill = pair(size), scale, fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The size, the border, and where the window begins."""
        height, width = size_of(flat_inputs)
        factor, across, down = torch.rand(3).tolist()
        low, high = map(math.log, self.scale)
        scale = max(self.size[0] / height, self.size[1] / width) * math.exp(low + factor * (high - low))
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        lacking = [max(whole - part, 0) for whole, part in zip(self.size, inner, strict=True)]
        over = [max(part - whole, 0) for whole, part in zip(self.size, inner, strict=True)]
        above, before = int(down * (lacking[0] + 1)), int(across * (lacking[1] + 1))
        border = [before, above, lacking[1] - before, lacking[0] - above]
        return {"inner": inner, "border": border, "top": int(down * (over[0] + 1)), "left": int(across * (over[1] + 1))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, scaled and cut."""
        framed = padded(scaled(inpt, params["inner"]), params["border"], fill=self.fill)
        return F.crop(framed, params["top"], params["left"], *self.size)

    def __str__(self) -> str:
        low, high = self.scale
        return f"scaled by {low:g} to {high:g}, then a window of {self.size[0]} x {self.size[1]} px (height x width)"


def warped(inpt: Any, params: dict[str, Any], *, fill: int) -> Any:
    """One part of a sample, turned, shifted, scaled and sheared about the centre (the arguments of v2's affine)."""
    if isinstance(inpt, tv_tensors.Image):
        return F.affine(inpt, **params, interpolation=InterpolationMode.BILINEAR, fill=[float(fill)])
    return F.affine(inpt, **params)


def scaled(inpt: Any, size: Sequence[int]) -> Any:
    """One part of a sample, stretched to (height, width). Of the pixels that become one, a mask takes the middle one (v2: the first)."""
    if not isinstance(inpt, tv_tensors.Mask):
        return F.resize(inpt, list(size), antialias=True)
    if tuple(inpt.shape[-2:]) == tuple(size) or not inpt.numel():
        return inpt if inpt.numel() else tv_tensors.Mask(inpt.new_zeros((*inpt.shape[:-2], *size)))
    flat = inpt.as_subclass(Tensor).reshape(1, -1, *inpt.shape[-2:])
    return tv_tensors.Mask(interpolate(flat, list(size), mode="nearest-exact").view(*inpt.shape[:-2], *size))


def padded(inpt: Any, border: Sequence[int], *, fill: int) -> Any:
    """One part of a sample with a border (left, top, right, below)."""
    if not any(border):
        return inpt
    return F.pad(inpt, list(border), fill=float(fill) if isinstance(inpt, tv_tensors.Image) else 0)


def size_of(flat_inputs: list[Any]) -> tuple[int, int]:
    """(height, width) of the picture in a sample."""
    picture = next(
        each for each in flat_inputs if isinstance(each, Tensor) and not isinstance(each, tv_tensors.BoundingBoxes)
    )
    return int(picture.shape[-2]), int(picture.shape[-1])


def require_size(size: int | tuple[int, int]) -> None:
    """Raises DataError unless it is a size in pixels."""
    whole = isinstance(size, int) or (len(size) == 2 and all(isinstance(side, int) for side in size))
    require(
        "size", size, whole and min(pair(size)) >= 1, "in pixels, (height, width) or the side of a square, at least 1"
    )


def often(p: float) -> str:
    """A probability in words."""
    return "always" if p == 1 else "never" if p == 0 else f"in {p:.0%} of cases"


def _span(bounds: Range) -> str:
    return f"{bounds[0]:.0%} to {bounds[1]:.0%}"
