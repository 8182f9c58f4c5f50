"""The network of cifar10-airbench94 (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498).

32x32x3 form, 10 classes, width 1: 1,972,792 parameters, of which the whitening's 288 and the BatchNorms' 1,152 weights are fixed

    whiten  2x2x24, GELU                     B  24 31 31        312 parameters (288 of them weights: see `whiten`)
    block1  3x3x64, pool 2, 3x3x64           B  64 15 15     50,688, and 256 of its BatchNorms
    block2  3x3x256, pool 2, 3x3x256         B 256  7  7    737,280      1,024
    block3  3x3x256, pool 2, 3x3x256         B 256  3  3  1,179,648      1,024
    head    max over 3x3, K, divided by 9                      2,560

BatchNorm (momentum 0.4 in torch's meaning, epsilon 1e-12, its weight fixed at 1) and GELU follow each convolution, behind
the pool where there is one. 3x3 convolutions have no bias and start as identities in their first channels. Pictures have
at least 9 px a side; the last map is pooled to one place, whatever its size. Departures: none in the network; `width` scales the channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network
from lamina.nn import Conv2d, MaxPool2d


class Airbench(Network):
    """Whitening, three blocks of two convolutions, a linear head; see the table above."""

    class_layers = ("head",)

    def __init__(self, num_classes: int = 10, *, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        whitened = 2 * in_channels * 2**2
        narrow, wide = round(64 * width), round(256 * width)
        if narrow < 1:
            raise LaminaError(f"width is {width!r}.", "One that leaves channels was expected.", "Pass 1.0, or 0.25.")
        self.whiten_conv = nn.Conv2d(in_channels, whitened, 2)
        self.block1 = _block(whitened, narrow)
        self.block2 = _block(narrow, wide)
        self.block3 = _block(wide, wide)
        self.head = nn.Linear(wide, num_classes, bias=False)
        self.feature_dims = {1: whitened, 2: narrow, 4: wide, 8: wide}

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.head(self.features(images)[8].amax((2, 3))) / 9
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        whitened = F.gelu(self.whiten_conv(images))
        first = self.block1(whitened)
        second = self.block2(first)
        return {1: whitened, 2: first, 4: second, 8: self.block3(second)}

    @torch.no_grad()
    def whiten(self, images: Float[Tensor, "B C H W"], *, epsilon: float = 5e-4) -> None:
        """Sets the first convolution so that 2x2 patches of such images come out with unit variance, and fixes its weight.

        Its kernels are the patches' principal directions over the root of their variances, and the same negated (section 3.2).
        """
        channels, size = self.whiten_conv.in_channels, self.whiten_conv.kernel_size[0]
        patches = F.unfold(images.float(), size).transpose(1, 2).reshape(-1, channels * size**2).double()
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        kernels = directions.flip(1).T / (variances.flip(0)[:, None] + epsilon).sqrt()
        kernels = kernels.view(-1, channels, size, size)
        self.whiten_conv.weight.copy_(torch.cat([kernels, -kernels]))
        self.whiten_conv.weight.requires_grad_(False)


def _block(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(in_channels, channels), MaxPool2d(2), _norm(channels), nn.GELU(),
        _convolution(channels, channels), _norm(channels), nn.GELU(),
    )  # fmt: skip


def _convolution(in_channels: int, channels: int) -> nn.Conv2d:
    made = Conv2d(in_channels, channels, 3, padding=1, bias=False)
    nn.init.dirac_(made.weight.data[: min(in_channels, channels)])
    return made


def _norm(channels: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    made.weight.requires_grad_(False)
    return made


VARIANTS: dict[str, Callable[..., nn.Module]] = {"airbench": Airbench}
