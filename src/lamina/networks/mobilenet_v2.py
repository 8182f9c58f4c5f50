"""MobileNet v2 (Sandler, Howard, Zhu, Zhmoginov & Chen 2018, "MobileNetV2: Inverted Residuals and ...", arXiv:1801.04381, table 2).

For 224x224x3, 1000 classes and width 1, 3,504,872 parameters (the paper: 3.4 million). A block [t, c] is 1x1 to t times the channels
(left out where t is 1), a 3x3 kernel for each of these, 1x1 to c channels without ReLU; where it changes neither size nor channels
its input is added. BatchNorm follows each convolution, ReLU6 each but a block's last; none has a bias:

    features.0          3x3x32, stride 2                  B   32 112 112        928
    features.1          [1, 16]                           B   16 112 112        896
    features.2 .. 3     [6, 24] stride 2, [6, 24]         B   24  56  56     13,968
    features.4 .. 6     [6, 32] stride 2, 2 x [6, 32]     B   32  28  28     39,696
    features.7 .. 10    [6, 64] stride 2, 3 x [6, 64]     B   64  14  14    183,872
    features.11 .. 13   3 x [6, 96]                       B   96  14  14    303,168
    features.14 .. 16   [6, 160] stride 2, 2 x [6, 160]   B  160   7   7    795,264
    features.17         [6, 320]                          B  320   7   7    473,920
    features.18         1x1x1280                          B 1280   7   7    412,160
    classifier          mean over the places, dropout, K  B    K          1,281,000

`width` multiplies the channels of all layers, rounded to multiples of 8; the last 1280 are never fewer. `padding` "torch" puts a zero
on all four sides; "same" is TensorFlow's, which at a stride of 2 puts the odd zero below and to the right: weights that were trained
there want it. Keys are torchvision's. Any picture size. The initial values are torchvision's: He's (fan out), the class layer normal
with 0.01. No departures; dropout is 20 %, as in torchvision, for the paper tells none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.mobilenet_v1 import check_width
from lamina.networks.network import Network
from lamina.nn import Stages, padded_conv2d
from lamina.nn.convolution import Padding

_BLOCKS = (  # expansion, channels, how many, stride of the first
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
_ENDS: dict[int, int | str] = {2: 1, 4: 3, 8: 6, 16: 13, 32: 18}  # the last layer of each stride


class MobileNetV2(Network):
    """17 inverted residual blocks between two convolutions; see the table above."""

    class_layers = ("classifier.1",)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        width: float = 1.0,
        padding: Padding = "torch",
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_width(width)
        channels, dims = _scaled(32 * width), []
        layers: list[nn.Module] = [_conv_norm(in_channels, channels, 3, 2, padding=padding)]
        dims.append(channels)
        for expansion, wanted, count, first_stride in _BLOCKS:
            for stride in (first_stride, *[1] * (count - 1)):
                wide = _scaled(wanted * width)
                layers.append(_Block(channels, wide, expansion=expansion, stride=stride, padding=padding))
                channels = wide
                dims.append(channels)
        last = _scaled(1280 * max(width, 1.0))
        layers.append(_conv_norm(channels, last, 1, padding=padding))
        dims.append(last)
        self.features = Stages(layers, ends=_ENDS)
        self.feature_dims: Mapping[int, int] = {stride: dims[int(index)] for stride, index in _ENDS.items()}
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        x = F.adaptive_avg_pool2d(self.features.last(images), 1).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, *, expansion: int, stride: int, padding: Padding) -> None:
        super().__init__()
        wide = in_channels * expansion
        expanded = [_conv_norm(in_channels, wide, 1, padding=padding)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expanded,
            _conv_norm(wide, wide, 3, stride, groups=wide, padding=padding),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.adds = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.conv(x)
        return x + changed if self.adds else changed


def _conv_norm(
    in_channels: int, channels: int, kernel_size: int, stride: int = 1, *, groups: int = 1, padding: Padding
) -> nn.Sequential:
    conv = padded_conv2d(in_channels, channels, kernel_size, stride, groups=groups, padding=padding)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6(inplace=True))


def _scaled(channels: float) -> int:
    """The nearest multiple of 8, but no less than 90 % of what was asked for (and 8)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


VARIANTS: dict[str, Callable[..., nn.Module]] = {"mobilenet_v2": MobileNetV2}
