"""SegNet (Badrinarayanan, Kendall & Cipolla 2017, "SegNet: A Deep Convolutional Encoder-Decoder ...", arXiv:1511.00561).

On VGG-16 with BatchNorm, for 224x224x3 and 11 classes, 29,445,643 parameters (the paper: 29.5 million, for 12):

    trunk       VGG's convolutions                    B 512   7   7     14,723,136
    blocks.16   unpooled, 3 x 3x3x512                 B 512  14  14      7,080,960
    blocks.8    unpooled, 2 x 3x3x512, 3x3x256        B 256  28  28      5,900,800
    blocks.4    unpooled, 2 x 3x3x256, 3x3x128        B 128  56  56      1,475,840
    blocks.2    unpooled, 3x3x128, 3x3x64             B  64 112 112        221,568
    blocks.1    unpooled, 3x3x64                      B  64 224 224         36,992
    head        3x3xK                                 B   K 224 224          6,347

Each value goes back to the pixel that was the maximum when the encoder pooled; nothing else is carried over. BatchNorm and ReLU
follow each convolution but the last. Here the decoder's convolutions before a BatchNorm have no bias.

It stands on other networks too, which pool by strides: then the maxima of each 2 x 2 of their maps are the pixels to go back to,
a 1x1 convolution brings channels to those of the finer map where they differ, each block has two convolutions, and beyond the finest
map the logits are interpolated. Any picture size: it is padded to a multiple of the coarsest stride, and the logits are cut back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.pixelwise import Pixelwise, enlarged
from lamina.networks.trunk import Trunk
from lamina.networks.vgg import VGG
from lamina.nn import ConvNorm, switches, unpool

_CONVOLUTIONS = 2  # of a block, where the encoder does not say it


class SegNet(Pixelwise):
    """Logits (B K H W) from the coarsest map of a network and the places of the maxima of its finer ones; see the table above.

    Raises LaminaError for networks whose maps are not each half as large as the one before.
    """

    def __init__(self, trunk: Trunk, num_classes: int) -> None:
        super().__init__(trunk)
        strides = sorted(trunk.dims, reverse=True)
        if len(strides) < 2 or any(one != 2 * other for one, other in itertools.pairwise(strides)):
            raise LaminaError(
                f"{type(trunk.net).__name__} gives maps of the strides {', '.join(map(str, reversed(strides)))}.",
                "SegNet goes back by each pooling in turn: strides that double were expected.",
                "Choose another backbone, such as vgg16_bn or mobilenet_v2.",
            )
        channels = trunk.dims[self.stride]
        counts = _convolutions(trunk.net) if isinstance(trunk.net, VGG) else [_CONVOLUTIONS] * (len(strides) - 1)
        self.narrow, self.blocks = nn.ModuleDict(), nn.ModuleDict()
        for place, stride in enumerate(strides[1:], 1):
            wide, count, is_last = trunk.dims[stride], counts[len(strides) - 1 - place], place == len(strides) - 1
            if wide != channels:
                self.narrow[str(stride)] = ConvNorm(channels, wide, 1)
            after = wide if is_last else trunk.dims[strides[place + 1]]
            layers = [ConvNorm(wide, wide) for _ in range(count - 1)]
            self.blocks[str(stride)] = nn.Sequential(*layers, *([] if is_last else [ConvNorm(wide, after)]))
            channels = after
        self.finest = strides[-1]
        self.head = nn.Conv2d(channels, num_classes, 3, padding=1)

    def logits(self, maps: Mapping[int, Tensor], size: Sequence[int]) -> Float[Tensor, "B K H W"]:
        x = maps[self.stride]
        for name, block in self.blocks.items():
            if name in self.narrow:
                x = self.narrow[name](x)
            x = block(unpool(x, switches(maps[int(name)])))
        scores: Tensor = self.head(x)
        return scores if self.finest == 1 else enlarged(scores, size)


def _convolutions(net: VGG) -> Sequence[int]:
    """How many convolutions each block of the encoder has, the finest first."""
    counts = [0]
    for layer in net.features:
        if isinstance(layer, nn.MaxPool2d):
            counts.append(0)
        counts[-1] += isinstance(layer, nn.Conv2d)
    return counts[:-1]


STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {"segnet": (SegNet, "vgg16_bn")}
