"""GoogLeNet with BatchNorm, as torchvision's weights need it (Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842).

For 224x224x3 and 1000 classes 6,624,904 parameters, with both auxiliary classifiers 13,004,888. 22 layers with weights; BatchNorm
(epsilon 0.001) and ReLU follow each convolution, no convolution has a bias. [a | b>c | d>e | f] are the channels of an inception
module: 1x1 | 1x1 then 3x3 | 1x1 then 3x3 | maximum of 3x3 then 1x1, side by side; parameters count 2 for each channel's BatchNorm.

    conv1        7x7x64, stride 2                        B   64 112 112      9,536
    maxpool1     3x3, stride 2, rounded up               B   64  56  56
    conv2        1x1x64                                  B   64  56  56      4,224
    conv3        3x3x192                                 B  192  56  56    110,976
    maxpool2     3x3, stride 2, rounded up               B  192  28  28
    inception3a  [ 64 |  96>128 | 16> 32 |  32]          B  256  28  28    155,872
    inception3b  [128 | 128>192 | 32> 96 |  64]          B  480  28  28    340,224
    maxpool3     3x3, stride 2, rounded up               B  480  14  14
    inception4a  [192 |  96>208 | 16> 48 |  64]          B  512  14  14    364,512
    inception4b  [160 | 112>224 | 24> 64 |  64]          B  512  14  14    425,232
    inception4c  [128 | 128>256 | 24> 64 |  64]          B  512  14  14    486,192
    inception4d  [112 | 144>288 | 32> 64 |  64]          B  528  14  14    573,312
    inception4e  [256 | 160>320 | 32>128 | 128]          B  832  14  14    803,840
    maxpool4     2x2, stride 2, rounded up               B  832   7   7
    inception5a  [256 | 160>320 | 32>128 | 128]          B  832   7   7    978,944
    inception5b  [384 | 192>384 | 48>128 | 128]          B 1024   7   7  1,347,040
    fc           mean over the places, dropout, K        B   K           1,025,000
    aux1         behind 4a: 4x4 means, 1x1x128, 1024, dropout, K          3,188,968
    aux2         behind 4d: the same                                      3,191,016

Departs from the paper: BatchNorm, 3x3 kernels in the place of 5x5, 2x2 in maxpool4, no local response normalisation, dropout of
20 % for 40 %; `googlenet_2014` has the paper's. The weights were trained on pictures in -1..1 (mean 0.5, standard deviation 0.5,
which torchvision's `transform_input` makes of its usual ones); this network takes them so and transforms nothing. Any picture
size from 15 px. Initial values are torchvision's: normal with a standard deviation of 0.01, cut at +-2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.network import Network
from lamina.nn import MaxPool2d

# Channels of 1x1 | 1x1 before 3x3 | 3x3 | 1x1 before 5x5 | 5x5 | 1x1 after the maximum (the paper's table 1).
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
STAGES = {
    2: ("conv1",),
    4: ("maxpool1", "conv2", "conv3"),
    8: ("maxpool2", "inception3a", "inception3b"),
    16: ("maxpool3", "inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
    32: ("maxpool4", "inception5a", "inception5b"),
}


class GoogLeNetLogits(NamedTuple):
    """Logits (B K) of the network and of its two auxiliary classifiers; those are None where it was built without them."""

    logits: Tensor
    aux1: Tensor | None = None
    aux2: Tensor | None = None


class GoogLeNet(Network):
    """22 layers; see the table above. Without `auxiliary` both auxiliary classifiers are left out, and their fields are None.

    Where they are there, they answer in eval mode too, for 0.6 % of the multiply-adds. Torchvision's file of weights holds
    them untrained, so `pretrained` builds without.
    """

    class_layers: tuple[str, ...] = ("fc", "aux1.fc2", "aux2.fc2")
    feature_dims: Mapping[int, int] = {2: 64, 4: 192, 8: 480, 16: 832, 32: 1024}
    auxiliary_weight = 0.3  # of each auxiliary loss in training (the paper, section 5)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        auxiliary: bool = True,
        dropout: float = 0.2,
        aux_dropout: float = 0.7,
    ) -> None:
        super().__init__()
        self.conv1 = _Conv(in_channels, 64, kernel_size=7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = _Conv(64, 64, kernel_size=1)
        self.conv3 = _Conv(64, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = _Inception(192, *INCEPTIONS["3a"])
        self.inception3b = _Inception(256, *INCEPTIONS["3b"])
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = _Inception(480, *INCEPTIONS["4a"])
        self.inception4b = _Inception(512, *INCEPTIONS["4b"])
        self.inception4c = _Inception(512, *INCEPTIONS["4c"])
        self.inception4d = _Inception(512, *INCEPTIONS["4d"])
        self.inception4e = _Inception(528, *INCEPTIONS["4e"])
        self.maxpool4 = MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = _Inception(832, *INCEPTIONS["5a"])
        self.inception5b = _Inception(832, *INCEPTIONS["5b"])
        self.aux1 = _Auxiliary(512, num_classes, dropout=aux_dropout) if auxiliary else None
        self.aux2 = _Auxiliary(528, num_classes, dropout=aux_dropout) if auxiliary else None
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        if not auxiliary:
            self.class_layers = ("fc",)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-2, b=2)

    def forward(self, images: Float[Tensor, "B C H W"]) -> GoogLeNetLogits:
        x = self.maxpool1(self.conv1(images))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = None if self.aux1 is None else self.aux1(x)
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = None if self.aux2 is None else self.aux2(x)
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        return GoogLeNetLogits(self.fc(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1))), aux1, aux2)

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        maps, x = {}, images
        for stride, names in STAGES.items():
            for name in names:
                x = self.get_submodule(name)(x)
            maps[stride] = x
        return maps


class _Conv(nn.Module):
    def __init__(self, in_channels: int, channels: int, *, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class _Inception(nn.Module):
    def __init__(
        self, in_channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int
    ) -> None:
        super().__init__()
        self.branch1 = _Conv(in_channels, one, kernel_size=1)
        self.branch2 = nn.Sequential(_Conv(in_channels, reduce3, kernel_size=1), _Conv(reduce3, three, kernel_size=3))
        # 3x3 where the paper has 5x5: the weights were trained so.
        self.branch3 = nn.Sequential(_Conv(in_channels, reduce5, kernel_size=1), _Conv(reduce5, five, kernel_size=3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _Conv(in_channels, pooled, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class _Auxiliary(nn.Module):
    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.conv = _Conv(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, 4)).flatten(1)
        logits: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))
        return logits


VARIANTS: dict[str, Callable[..., nn.Module]] = {"googlenet": GoogLeNet}
