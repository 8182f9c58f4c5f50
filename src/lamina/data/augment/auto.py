"""Augmentations that choose by chance among simple operations, so that nothing has to be tuned: TrivialAugment, RandAugment, AugMix.

Strengths are continuous, where the papers draw one of 31 steps; what comes in from outside a picture is black.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.data.augment.operations import OPERATIONS, PHOTOMETRIC, USUAL, WIDE, applied
from lamina.data.augment.transform import Images, Uniforms, check, each, require

_STEPS = 30  # of a magnitude, as the papers count


@dataclass(frozen=True)
class TrivialAugment:
    """One operation at one strength for each image, all equally likely (Müller & Hutter 2021, arXiv:2103.10158)."""

    wide: bool = True

    @property
    def draws(self) -> int:
        """Which, how strong."""
        return 2

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images, each changed by one operation."""
        check(images, uniforms, self.draws)
        return applied(images, which(uniforms[:, 0]), 2 * uniforms[:, 1] - 1, WIDE if self.wide else USUAL)


@dataclass(frozen=True)
class RandAugment:
    """`operations` one after the other, each of the strength `magnitude` of 30 (Cubuk 2020, arXiv:1909.13719)."""

    operations: int = 2
    magnitude: float = 9

    def __post_init__(self) -> None:
        require("operations", self.operations, self.operations >= 1, "a number of operations, at least 1")
        require("magnitude", self.magnitude, 0 <= self.magnitude <= _STEPS, f"from 0 to {_STEPS}")

    @property
    def draws(self) -> int:
        """Which and which way, for each operation."""
        return 2 * self.operations

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images, each changed by operations of its own."""
        check(images, uniforms, self.draws)
        for first in range(0, self.draws, 2):
            ways = torch.where(uniforms[:, first + 1] < 0.5, -1.0, 1.0)
            images = applied(images, which(uniforms[:, first]), ways * (self.magnitude / _STEPS), USUAL)
        return images


@dataclass(frozen=True)
class AugMix:
    """The image mixed with three chains of one to three operations each (Hendrycks 2020, arXiv:1912.02781, algorithm 1).

    Strengths lie between 0.1 and `severity` of 10; not `geometric`: changes of light only. The shares of the chains are
    Dirichlet(1, 1, 1), that of all Beta(1, 1).
    The loss between several such views, the paper's second half, is not part of this.
    """

    severity: float = 3
    geometric: bool = True

    def __post_init__(self) -> None:
        require("severity", self.severity, 0.1 <= self.severity <= 10, "from 0.1 to 10")

    @property
    def draws(self) -> int:
        """For each chain its length, three operations with strengths, and its share; the share of them all."""
        return 3 * (1 + 3 * 2 + 1) + 1

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """Images, each mixed with changed ones of itself."""
        check(images, uniforms, self.draws)
        chains = uniforms[:, 1:].view(len(images), 3, 8)
        shares = -(1 - chains[:, :, 7]).clamp(min=1e-6).log()  # exponentials, over their sum: a Dirichlet of ones
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6)
        mixed = torch.zeros_like(images)
        for number in range(3):
            mixed += each(shares[:, number], images) * self._chain(images, chains[:, number])
        return torch.lerp(images, mixed, each(uniforms[:, 0], images))

    def _chain(self, images: Images, numbers: Tensor) -> Images:
        length = 1 + (numbers[:, 0] * 3).floor()
        for step in range(3):
            signed = 2 * numbers[:, 2 + 2 * step] - 1
            strengths = signed.sign() * (0.1 + signed.abs() * (self.severity - 0.1)) / 10
            count = len(OPERATIONS) if self.geometric else len(PHOTOMETRIC)
            chosen = torch.where(step < length, which(numbers[:, 1 + 2 * step], count), 0)
            images = applied(images, chosen, strengths, USUAL)
        return images


def which(uniforms: Tensor, count: int = len(OPERATIONS)) -> Tensor:
    """The number of one of the first `count` operations (B), all equally likely."""
    return (uniforms * count).to(torch.int64).clamp_(max=count - 1)
