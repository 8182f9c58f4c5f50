"""ResNets of 18 to 152 layers (He, Zhang, Ren & Sun 2016, "Deep Residual Learning", arXiv:1512.03385), and their plain twins.

ResNet-18 for 224x224x3 and 1000 classes, 11,689,512 parameters; BatchNorms' weights and biases are in the figures:

    conv1   7x7x64, stride 2                         B   64 112 112      9,536 parameters
    layer1  max 3, stride 2; 2 x [3x3x64, 3x3x64]    B   64  56  56    147,968
    layer2  2 x [3x3x128, 3x3x128], stride 2         B  128  28  28    525,568, with a projection of 8,448
    layer3  2 x [3x3x256, 3x3x256], stride 2         B  256  14  14  2,099,712                     33,280
    layer4  2 x [3x3x512, 3x3x512], stride 2         B  512   7   7  8,393,728                    132,096
    fc      mean over the places, K                  B    K            513,000

ResNet-50, 25,557,032 parameters, has bottlenecks; in the last column the projection of the first of a stage:

    conv1   as above                                 B   64 112 112      9,536
    layer1  3 x [1x1x64,  3x3x64,  1x1x256]          B  256  56  56    215,808                     16,896
    layer2  4 x [1x1x128, 3x3x128, 1x1x512]          B  512  28  28  1,219,584                    132,096
    layer3  6 x [1x1x256, 3x3x256, 1x1x1024]         B 1024  14  14  7,098,368                    526,336
    layer4  3 x [1x1x512, 3x3x512, 1x1x2048]         B 2048   7   7 14,964,736                  2,101,248
    fc      as above                                 B    K          2,049,000

    depth    blocks a stage      parameters      of the plain twin
      18     2  2  2  2          11,689,512      11,515,688
      34     3  4  6  3          21,797,672      21,623,848
      50     3  4  6  3          25,557,032
     101     3  4 23  3          44,549,160
     152     3  8 36  3          60,192,808

BatchNorm and ReLU follow each convolution, the last ReLU of a block its sum with the shortcut, which is a 1x1 convolution with
BatchNorm where the shape changes (option B) and else the identity. A plain twin (figure 3, middle) has no shortcuts. Any picture
size. Initial values are He's (fan out) for convolutions, torch's for the class layer.
Departs from the paper: a bottleneck's stride is that of its 3x3 convolution, not of the 1x1 in front of it, as in the
weights that are published today (called v1.5; it costs 0.3 billion multiply-adds more); its table 2 has option A in the networks
of 18 and 34 layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ResNet(Network):
    """18, 34, 50, 101 or 152 layers; see the tables above. Without `shortcuts` it is the plain network."""

    def __init__(
        self, depth: int = 50, num_classes: int = 1000, *, in_channels: int = 3, shortcuts: bool = True
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise LaminaError(
                f"depth is {depth}.",
                f"The paper's networks have {', '.join(map(str, BLOCKS))} layers.",
                "Pass one of these.",
            )
        block = _Basic if depth < 50 else _Bottleneck
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels, stages = 64, []
        for index, count in enumerate(BLOCKS[depth]):
            width = 64 * 2**index
            blocks = []
            for place in range(count):
                stride = 2 if index and not place else 1
                blocks.append(block(channels, width, stride=stride, shortcut=shortcuts))
                channels = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, num_classes)
        self.feature_dims = {2: 64} | {4 * 2**index: 64 * 2**index * block.expansion for index in range(4)}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        x = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(images)), inplace=True)))
        x = self.layer4(self.layer3(self.layer2(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        maps = {2: F.relu(self.bn1(self.conv1(images)), inplace=True)}
        maps[4] = self.layer1(self.maxpool(maps[2]))
        maps[8] = self.layer2(maps[4])
        maps[16] = self.layer3(maps[8])
        maps[32] = self.layer4(maps[16])
        return maps


class _Basic(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, *, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.has_shortcut = shortcut
        self.downsample = _projection(in_channels, width, stride) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.has_shortcut:
            y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class _Bottleneck(nn.Module):
    """1x1 to a quarter of the channels, 3x3, and 1x1 back."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.has_shortcut = shortcut
        self.downsample = _projection(in_channels, 4 * width, stride) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        if self.has_shortcut:
            y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


def _projection(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """The shortcut where the shape changes; None where it is the identity."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))


VARIANTS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in BLOCKS},
    "plain18": partial(ResNet, 18, shortcuts=False),
    "plain34": partial(ResNet, 34, shortcuts=False),
}
