"""ResNets for small pictures, 20 to 110 layers deep (He, Zhang, Ren & Sun 2016, "Deep Residual Learning", section 4.2).

ResNet-20 for 32x32x3 and 10 classes, 269,722 parameters (the paper: 0.27 million); n = (depth - 2) / 6 blocks a stage:

    conv1                     3x3x16           B 16 32 32      432 parameters, and 32 of its BatchNorm
    layer1  n x [3x3x16, 3x3x16]               B 16 32 32   14,016
    layer2  n x [3x3x32, 3x3x32], stride 2     B 32 16 16   51,072
    layer3  n x [3x3x64, 3x3x64], stride 2     B 64  8  8  203,520
    linear  mean over the places, K            B K             650

BatchNorm and ReLU follow each convolution, the last ReLU of a block its sum with the shortcut. A shortcut is the identity;
where a stage begins, "pad" takes every second pixel and fills the new channels with zeros (the paper's option A, half of
them on either side as is usual since), "projection" is a 1x1 convolution with BatchNorm (option B), and "none" leaves out
every shortcut: the paper's plain network, `cifar_plain20` and so on, of as many parameters. Any picture size. Initial values
are He's (fan out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network
from lamina.nn import ChannelPad2d

Shortcut = Literal["pad", "projection", "none"]


class CifarResNet(Network):
    """6n + 2 layers; see the table above."""

    class_layers = ("linear",)
    feature_dims: Mapping[int, int] = {1: 16, 2: 32, 4: 64}

    def __init__(
        self, depth: int = 20, *, num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "pad"
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise LaminaError(
                f"depth is {depth}.",
                "These networks have 6n + 2 layers: 8, 14, 20, 32, 44, 56, 110.",
                "Pass one of these.",
            )
        if shortcut not in get_args(Shortcut):
            raise LaminaError(
                f"shortcut is {shortcut!r}.", f"There are {', '.join(get_args(Shortcut))}.", "Pass one of these."
            )
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1, shortcut=shortcut)
        self.layer2 = _stage(16, 32, blocks, stride=2, shortcut=shortcut)
        self.layer3 = _stage(32, 64, blocks, stride=2, shortcut=shortcut)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.linear(self.features(images)[4].mean((2, 3)))
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        first = self.layer1(F.relu(self.bn1(self.conv1(images))))
        second = self.layer2(first)
        return {1: first, 2: second, 4: self.layer3(second)}


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, *, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        changes = stride > 1 or in_channels != channels
        self.shortcut: nn.Module | None = None
        if shortcut == "pad":
            self.shortcut = ChannelPad2d(channels - in_channels, stride=stride) if changes else nn.Identity()
        elif shortcut == "projection":
            projected = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )
            self.shortcut = projected if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual if self.shortcut is None else residual + self.shortcut(x))


def _stage(in_channels: int, channels: int, blocks: int, *, stride: int, shortcut: Shortcut) -> nn.Sequential:
    first = _Block(in_channels, channels, stride=stride, shortcut=shortcut)
    rest = [_Block(channels, channels, stride=1, shortcut=shortcut) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


_DEPTHS = (20, 32, 44, 56, 110)
VARIANTS: dict[str, Callable[..., nn.Module]] = {
    **{f"cifar_resnet{depth}": partial(CifarResNet, depth) for depth in _DEPTHS},
    **{f"cifar_plain{depth}": partial(CifarResNet, depth, shortcut="none") for depth in _DEPTHS},
}
