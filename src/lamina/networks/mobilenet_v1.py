"""MobileNet v1 (Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile ...", arXiv:1704.04861, table 1).

For 224x224x3, 1000 classes and width 1, 4,231,976 parameters (the paper: 4.2 million). A block is one 3x3 kernel for each channel
("dw"), then 1x1 across channels ("pw"); BatchNorm and ReLU6 follow each convolution, none has a bias:

    conv0     3x3x32, stride 2                B   32 112 112        928
    block1    dw, pw 64                       B   64 112 112      2,528
    block2    dw stride 2, pw 128             B  128  56  56      9,152
    block3    dw, pw 128                      B  128  56  56     18,048
    block4    dw stride 2, pw 256             B  256  28  28     34,688
    block5    dw, pw 256                      B  256  28  28     68,864
    block6    dw stride 2, pw 512             B  512  14  14    134,912
    block7 to block11, each: dw, pw 512       B  512  14  14    268,800
    block12   dw stride 2, pw 1024            B 1024   7   7    531,968
    block13   dw, pw 1024                     B 1024   7   7  1,061,888
    fc        mean over the places, dropout   B    K          1,025,000

`width` multiplies the channels of all layers: 0.75, 0.5 and 0.25 have 2,585,560, 1,331,592 and 470,072 parameters (the paper:
2.6, 1.3 and 0.5 million). `padding` "torch" puts a zero on all four sides; "same" is TensorFlow's, which at a stride of 2 puts the
odd zero below and to the right: the weights that were trained there want it. Departs from the paper: ReLU6 for ReLU, as the authors'
own code and weights have it; stride 1 in block13, where table 1 has a 2 that its sizes contradict. Any picture size. The initial
values are not told: He's (fan in), the class layer normal with 0.01. Keys: features.conv0.{conv,bn}, features.block1.dw.{conv,bn},
features.block1.pw.{conv,bn}, ..., fc.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.network import Network
from lamina.nn import Stages, padded_conv2d
from lamina.nn.convolution import Padding

_BLOCKS = (  # channels and stride
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
_ENDS = {2: 1, 4: 3, 8: 5, 16: 11, 32: 13}  # the last block of each stride


class MobileNetV1(Network):
    """A convolution and 13 separable ones; see the table above."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        width: float = 1.0,
        padding: Padding = "torch",
        in_channels: int = 3,
        dropout: float = 0.001,
    ) -> None:
        super().__init__()
        check_width(width)
        channels = [max(int(wanted * width), 8) for wanted in (32, *(wanted for wanted, _ in _BLOCKS))]
        stages: dict[str, nn.Module] = {"conv0": _conv_norm(in_channels, channels[0], 3, 2, padding=padding)}
        for index, (_, stride) in enumerate(_BLOCKS, start=1):
            before, after = channels[index - 1 : index + 1]
            stages[f"block{index}"] = nn.Sequential(
                OrderedDict(
                    dw=_conv_norm(before, before, 3, stride, groups=before, padding=padding),
                    pw=_conv_norm(before, after, 1, padding=padding),
                )
            )
        self.features = Stages(stages, ends={stride: f"block{index}" for stride, index in _ENDS.items()})
        self.feature_dims: Mapping[int, int] = {stride: channels[index] for stride, index in _ENDS.items()}
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        x = F.adaptive_avg_pool2d(self.features.last(images), 1).flatten(1)
        logits: Tensor = self.fc(self.dropout(x))
        return logits


def check_width(width: float) -> None:
    """Raises LaminaError for what is no width multiplier."""
    if not 0.0 < width < float("inf"):
        raise LaminaError(
            f"width is {width!r}.",
            "The width multiplier of a MobileNet is a number above 0, usually 0.25, 0.5, 0.75 or 1.0.",
            "Pass one of these.",
        )


def _conv_norm(
    in_channels: int, channels: int, kernel_size: int, stride: int = 1, *, groups: int = 1, padding: Padding
) -> nn.Sequential:
    conv = padded_conv2d(in_channels, channels, kernel_size, stride, groups=groups, padding=padding)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels), relu=nn.ReLU6(inplace=True)))


VARIANTS: dict[str, Callable[..., nn.Module]] = {"mobilenet_v1": MobileNetV1}
