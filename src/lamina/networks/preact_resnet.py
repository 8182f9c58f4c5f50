"""Pre-activation ResNets (He, Zhang, Ren & Sun 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027).

BatchNorm and ReLU stand in front of each convolution and nothing behind the sum of a unit with its shortcut, so the shortcuts
of a stage are one straight line. Two forms:

PreactResNet-50 for 224x224x3 and 1000 classes, 25,549,352 parameters; BatchNorms' weights and biases are in the figures:

    conv1   7x7x64, stride 2, BatchNorm, ReLU          B   64 112 112      9,536 parameters
    layer1  max 3, stride 2; 3 x [1x1x64, 3x3, 1x1]    B  256  56  56    214,784
    layer2  4 x [1x1x128, 3x3, 1x1], stride 2          B  512  28  28  1,218,048
    layer3  6 x [1x1x256, 3x3, 1x1], stride 2          B 1024  14  14  7,095,296
    layer4  3 x [1x1x512, 3x3, 1x1], stride 2          B 2048   7   7 14,958,592
    bn2     BatchNorm, ReLU                            B 2048   7   7      4,096
    fc      mean over the places, K                    B    K          2,049,000

CifarPreactResNet-164 for 32x32x3 and 10 classes, 1,703,258 parameters (the paper: 1.7 million), (depth - 2) / 9 units a stage:

    conv1   3x3x16, BatchNorm, ReLU                    B   16  32  32        464 parameters
    layer1  18 x [1x1x16, 3x3, 1x1x64]                 B   64  32  32     81,920
    layer2  18 x [1x1x32, 3x3, 1x1x128], stride 2      B  128  16  16    326,272
    layer3  18 x [1x1x64, 3x3, 1x1x256], stride 2      B  256   8   8  1,291,520
    bn2     BatchNorm, ReLU                            B  256   8   8        512
    linear  mean over the places, K                    B    K              2,570

The others: 18 and 34 layers, and CIFAR-110 of two 3x3 convolutions a unit; 101, 152 and 200, and CIFAR-1001 (10.3 million; the
paper: 10.2) of bottlenecks. As in the paper's appendix, the first unit's activation stands in front of its shortcut too, and the
last one is followed by another. Where the shape changes, the shortcut is a 1x1 convolution of the activated map, or "pad" (see
nn.ChannelPad2d), CIFAR-110's. Any picture size; maps that `features` gives are sums, the last one is activated.
Initial values are He's (fan out) for convolutions, torch's for the class layer. Departures: none known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network
from lamina.nn import ChannelPad2d

Shortcut = Literal["pad", "projection"]
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


class PreactResNet(Network):
    """18 to 200 layers for large pictures; see the first table above."""

    def __init__(self, depth: int = 50, num_classes: int = 1000, *, in_channels: int = 3) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise LaminaError(
                f"depth is {depth}.",
                f"These networks have {', '.join(map(str, BLOCKS))} layers.",
                "Pass one of these, or take CifarPreactResNet for small pictures.",
            )
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        bottleneck = depth >= 50
        stages = _stages(64, BLOCKS[depth], width=64, bottleneck=bottleneck, shortcut="projection")
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        channels = 2048 if bottleneck else 512
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        self.feature_dims = {2: 64, 4: channels // 8, 8: channels // 4, 16: channels // 2, 32: channels}
        _fill(self)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        x = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(images)), inplace=True)))
        x = self.layer4(self.layer3(self.layer2(x)))
        logits: Tensor = self.fc(F.relu(self.bn2(x), inplace=True).mean((2, 3)))
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        maps = {2: F.relu(self.bn1(self.conv1(images)), inplace=True)}
        maps[4] = self.layer1(self.maxpool(maps[2]))
        maps[8] = self.layer2(maps[4])
        maps[16] = self.layer3(maps[8])
        maps[32] = F.relu(self.bn2(self.layer4(maps[16])), inplace=True)
        return maps


class CifarPreactResNet(Network):
    """6n + 2 layers for small pictures, or 9n + 2 in bottlenecks; see the second table above."""

    class_layers = ("linear",)

    def __init__(
        self,
        depth: int = 110,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        bottleneck: bool = False,
        shortcut: Shortcut = "pad",
    ) -> None:
        super().__init__()
        layers = 9 if bottleneck else 6
        if depth < layers + 2 or (depth - 2) % layers:
            raise LaminaError(
                f"depth is {depth}, with bottleneck={bottleneck}.",
                f"These networks have {layers}n + 2 layers.",
                "Pass 20, 56 or 110, or with bottlenecks 29, 164 or 1001.",
            )
        if shortcut not in get_args(Shortcut):
            raise LaminaError(
                f"shortcut is {shortcut!r}.", f"There are {', '.join(get_args(Shortcut))}.", "Pass one of these."
            )
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks = [(depth - 2) // layers] * 3
        self.layer1, self.layer2, self.layer3 = _stages(16, blocks, width=16, bottleneck=bottleneck, shortcut=shortcut)
        channels = 256 if bottleneck else 64
        self.bn2 = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, num_classes)
        self.feature_dims: Mapping[int, int] = {1: channels // 4, 2: channels // 2, 4: channels}
        _fill(self)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.linear(self.features(images)[4].mean((2, 3)))
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        first = self.layer1(F.relu(self.bn1(self.conv1(images)), inplace=True))
        second = self.layer2(first)
        return {1: first, 2: second, 4: F.relu(self.bn2(self.layer3(second)), inplace=True)}


class _Unit(nn.Module):
    """Two 3x3 convolutions or a bottleneck, each behind its BatchNorm and ReLU; the network's first has had its first ones."""

    def __init__(
        self, in_channels: int, width: int, *, stride: int, bottleneck: bool, shortcut: Shortcut, is_first: bool
    ) -> None:
        super().__init__()
        channels = 4 * width if bottleneck else width
        self.bn1 = None if is_first else nn.BatchNorm2d(in_channels)
        if bottleneck:
            self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.is_bottleneck = bottleneck
        self.downsample: nn.Module | None = None
        if stride > 1 or in_channels != channels:
            self.downsample = (
                ChannelPad2d(channels - in_channels, stride=stride)
                if shortcut == "pad"
                else nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        active = x if self.bn1 is None else F.relu(self.bn1(x), inplace=True)
        y = self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True))
        if self.is_bottleneck:
            y = self.conv3(F.relu(self.bn3(y), inplace=True))
        y += x if self.downsample is None else self.downsample(active)
        return y  # type: ignore[no-any-return]


def _stages(
    in_channels: int, blocks: Sequence[int], *, width: int, bottleneck: bool, shortcut: Shortcut
) -> list[nn.Sequential]:
    """One stage for each number of units; from the second on, each doubles the width and halves the resolution."""
    stages: list[nn.Sequential] = []
    for index, count in enumerate(blocks):
        units = []
        for place in range(count):
            is_first, stride = index == place == 0, 2 if index and not place else 1
            units.append(
                _Unit(in_channels, width, stride=stride, bottleneck=bottleneck, shortcut=shortcut, is_first=is_first)
            )
            in_channels = 4 * width if bottleneck else width
        stages.append(nn.Sequential(*units))
        width *= 2
    return stages


def _fill(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


VARIANTS: dict[str, Callable[..., nn.Module]] = {
    **{f"preact_resnet{depth}": partial(PreactResNet, depth) for depth in BLOCKS},
    "cifar_preact_resnet110": partial(CifarPreactResNet, 110),
    "cifar_preact_resnet164": partial(CifarPreactResNet, 164, bottleneck=True, shortcut="projection"),
    "cifar_preact_resnet1001": partial(CifarPreactResNet, 1001, bottleneck=True, shortcut="projection"),
}
