"""Samples mixed in pairs, images and targets alike.

The partner of the image at place b in its batch is the one before it; of the first, the last. That is a function of the
places only, so a run repeats itself and goes on after a stop; where a batch is split over processes the partners come from
each one's own part. Every image is one partner, and with shuffled data a chance one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from lamina.core.errors import DataError, ShapeError
from lamina.data.augment.erase import inside
from lamina.data.augment.transform import Images, Shares, Uniforms, check, each, require, require_share

_CELLS = 1024  # of the table of a beta distribution's quantiles
_MOST = 32.0  # alpha: beyond, the ends of the table are no numbers any more, and all shares are near 1/2


@dataclass(frozen=True)
class Mixup:
    """Blends each image and its target with its partner's: a share l of its own, 1 - l of the other.

    Zhang 2018, arXiv:1710.09412: l is drawn from Beta(alpha, alpha), here for each image (the paper's code: for each batch).
    Usual are 0.1 to 0.4, up to 1 for long training. `p` is the probability that an image is mixed at all.
    """

    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        _require_alpha("Mixup", self.alpha)
        require_share("p", self.p)

    @property
    def draws(self) -> int:
        """Share, whether."""
        return 2

    def mix(self, images: Images, targets: Shares, uniforms: Uniforms) -> tuple[Images, Shares]:
        """Blended images and targets."""
        check(images, uniforms, self.draws)
        own = torch.where(uniforms[:, 1] < self.p, beta_quantiles(uniforms[:, 0], self.alpha), 1.0)
        return torch.lerp(_partners(images), images, each(own, images)), _blended(targets, own)


@dataclass(frozen=True)
class CutMix:
    """Puts a block of its partner into each image, and into its target in the proportion of the pixels that are covered.

    Yun 2019, arXiv:1905.04899: the block has the image's shape and the share 1 - l of its area, l from Beta(alpha, alpha), and its
    centre is anywhere, so a part of it may lie outside. `p` is the probability that an image is mixed at all.
    """

    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        _require_alpha("CutMix", self.alpha)
        require_share("p", self.p)

    @property
    def draws(self) -> int:
        """Share, across, down, whether."""
        return 4

    def mix(self, images: Images, targets: Shares, uniforms: Uniforms) -> tuple[Images, Shares]:
        """Images with a block of their partners, and targets."""
        check(images, uniforms, self.draws)
        rows, columns = images.shape[2:]
        side = (1 - beta_quantiles(uniforms[:, 0], self.alpha)).sqrt() * (uniforms[:, 3] < self.p)
        height, width = (side * rows).floor(), (side * columns).floor()
        left = (uniforms[:, 1] * columns).floor() - (width / 2).floor()
        top = (uniforms[:, 2] * rows).floor() - (height / 2).floor()
        block = inside(images, left=left, top=top, width=width, height=height)
        own = 1 - block.sum(dim=(1, 2, 3)) / (rows * columns)
        return torch.lerp(images, _partners(images), block.to(images.dtype)), _blended(targets, own)


def shares(labels: Integer[Tensor, " B"], num_classes: int) -> Shares:
    """Labels as the share that each class has of the sample: 1 for its own. A label of no class has none."""
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(torch.float32)


def beta_quantiles(uniforms: Float[Tensor, " B"], alpha: float) -> Float[Tensor, " B"]:
    """Draws from Beta(alpha, alpha), one for each number in [0, 1): the inverse of its distribution function.

    Read off a table of 1,024 cells, linearly; off the quantile by less than 0.001 for alpha of 0.05 to 2 within the middle 99.8 %.
    """
    table = _table(alpha, uniforms.device)
    place = uniforms.to(torch.float32) * _CELLS
    cell = place.floor().clamp(max=_CELLS - 1)
    low = cell.to(torch.int64)
    return torch.lerp(table[low], table[low + 1], place - cell)


@functools.lru_cache(maxsize=32)
def _table(alpha: float, device: torch.device) -> Tensor:
    """The quantiles 0, 1 / 1,024, ..., 1 of Beta(alpha, alpha) on the device.

    The density x^(a-1) (1-x)^(a-1) has poles at 0 and 1 where a < 1. Up to 1/2 the substitution s = x^a takes that at 0 away,
    ds = a x^(a-1) dx, and what is left, (1-x)^(a-1), is smooth; above 1/2 the distribution is the same reversed.
    """
    steps = torch.linspace(0, 1, 16 * _CELLS + 1, dtype=torch.float64)
    s = (steps if alpha < 1 else steps**alpha) * 0.5**alpha  # even in s, or where a > 1 in x: there s is steep
    x = s ** (1 / alpha)
    density = (1 - x) ** (alpha - 1)
    mass = torch.cat((s.new_zeros(1), torch.cumsum((density[1:] + density[:-1]) / 2 * s.diff(), 0)))
    mass = mass / mass[-1] / 2  # half of it lies below 1/2
    wanted = torch.arange(_CELLS // 2 + 1, dtype=torch.float64) / _CELLS
    right = torch.searchsorted(mass, wanted).clamp(1, len(mass) - 1)
    between = (wanted - mass[right - 1]) / (mass[right] - mass[right - 1])
    lower = (s[right - 1] + between * (s[right] - s[right - 1])) ** (1 / alpha)
    return torch.cat((lower, 1 - lower[:-1].flip(0))).to(device, torch.float32)


def _require_alpha(kind: str, alpha: float) -> None:
    require("alpha", alpha, 0 < alpha <= _MOST, f"above 0 and at most {_MOST:g} (leave {kind} out for none)")


def _partners(values: Tensor) -> Tensor:
    return values.roll(1, 0)


def _blended(targets: Tensor, own: Tensor) -> Tensor:
    if not targets.is_floating_point():
        raise DataError(
            f"Targets of the type {targets.dtype} came to be mixed.",
            "Mixing needs the share of each class, (B K).",
            "Give Compose num_classes=..., or make the labels one-hot: numpy.eye(K)[labels].",
        )
    if targets.dim() > 2:
        raise ShapeError(
            f"Targets of the shape {tuple(targets.shape)} came to be mixed.",
            "Mixing takes one target for each image: shares of classes (B K), or a number.",
            "Leave Mixup and CutMix out.",
        )
    own = own.to(targets.dtype)
    return torch.lerp(_partners(targets), targets, own if targets.dim() == 1 else own[:, None])
