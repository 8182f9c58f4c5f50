"""DenseNets for large pictures (Huang, Liu, van der Maaten & Weinberger 2016, "Densely Connected ...", arXiv:1608.06993, table 1).

DenseNet-121 for 224x224x3 and 1000 classes, 7,978,856 parameters; 169 has 14,149,480, 201 20,013,928 and 161 28,681,000:

    conv0        7x7x64, stride 2; BatchNorm, ReLU       B   64 112 112      9,536
    pool0        maximum of 3x3, stride 2                B   64  56  56
    denseblock1   6 x [1x1x128, 3x3x32]                  B  256  56  56    335,040
    transition1  1x1x128; mean of 2x2                    B  128  28  28     33,280
    denseblock2  12 x [1x1x128, 3x3x32]                  B  512  28  28    919,680
    transition2  1x1x256; mean of 2x2                    B  256  14  14    132,096
    denseblock3  24 x [1x1x128, 3x3x32]                  B 1024  14  14  2,837,760
    transition3  1x1x512; mean of 2x2                    B  512   7   7    526,336
    denseblock4  16 x [1x1x128, 3x3x32]                  B 1024   7   7  2,158,080
    norm5        BatchNorm                               B 1024   7   7      2,048
    classifier   ReLU, mean over the places, K           B    K          1,025,000

A layer [1x1, 3x3] sees the maps of all layers of its block before it, side by side, and adds 32 channels (the growth rate) to
them. BatchNorm and ReLU stand before each of its convolutions, and before a transition's: DenseNet-BC, bottlenecks of 4 times
the growth rate and transitions to half of the channels. No convolution has a bias. Keys are torchvision's. Any picture size from
29 px. Initial values are He's (fan in), biases 0. No departures; the paper drops nothing out on ImageNet, and 20 % after each
layer of a block (`dropout`) where pictures are few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network
from lamina.nn import Stages


class DenseNet(Network):
    """Four dense blocks of so many layers; see the table above."""

    class_layers = ("classifier",)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        layers: Sequence[int] = (6, 12, 24, 16),
        growth_rate: int = 32,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(layers) != 4 or min(layers) < 1 or growth_rate < 1:
            raise LaminaError(
                f"A DenseNet was asked for with layers={tuple(layers)} and growth_rate={growth_rate}.",
                "It has four dense blocks, of at least one layer each, and a growth rate of at least 1.",
                "Pass for example layers=(6, 12, 24, 16), growth_rate=32.",
            )
        width = 2 * growth_rate
        stages: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(width),
            "relu0": nn.ReLU(inplace=True),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        ends: dict[int, int | str] = {2: "relu0", 4: "denseblock1", 8: "denseblock2", 16: "denseblock3", 32: "norm5"}
        dims = [width]
        for index, count in enumerate(layers, start=1):
            stages[f"denseblock{index}"] = _dense_block(width, count, growth_rate=growth_rate, dropout=dropout)
            width += count * growth_rate
            dims.append(width)
            if index < 4:
                stages[f"transition{index}"] = _transition(width, width // 2)
                width //= 2
        stages["norm5"] = nn.BatchNorm2d(width)
        self.features = Stages(stages, ends=ends)
        self.feature_dims: Mapping[int, int] = dict(zip(ends, dims, strict=True))
        self.classifier = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        x = F.relu(self.features.last(images), inplace=True)
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class _DenseLayer(nn.Module):
    """The maps that came, and `growth_rate` new ones computed from them."""

    def __init__(self, in_channels: int, *, growth_rate: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth_rate)
        self.conv2 = nn.Conv2d(4 * growth_rate, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(F.relu(self.norm1(x), inplace=True))
        new = self.conv2(F.relu(self.norm2(new), inplace=True))
        return torch.cat((x, self.dropout(new)), 1)


def _dense_block(in_channels: int, count: int, *, growth_rate: int, dropout: float) -> nn.Sequential:
    block = nn.Sequential()
    for index in range(count):
        layer = _DenseLayer(in_channels + index * growth_rate, growth_rate=growth_rate, dropout=dropout)
        block.add_module(f"denselayer{index + 1}", layer)
    return block


def _transition(in_channels: int, channels: int) -> nn.Sequential:
    transition = nn.Sequential()
    transition.add_module("norm", nn.BatchNorm2d(in_channels))
    transition.add_module("relu", nn.ReLU(inplace=True))
    transition.add_module("conv", nn.Conv2d(in_channels, channels, 1, bias=False))
    transition.add_module("pool", nn.AvgPool2d(2, stride=2))
    return transition


VARIANTS: dict[str, Callable[..., nn.Module]] = {
    "densenet121": DenseNet,
    "densenet161": partial(DenseNet, layers=(6, 12, 36, 24), growth_rate=48),
    "densenet169": partial(DenseNet, layers=(6, 12, 32, 32)),
    "densenet201": partial(DenseNet, layers=(6, 12, 48, 32)),
}
