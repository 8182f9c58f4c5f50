"""FCN (Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", arXiv:1411.4038).

On VGG-16, whose dense layers are convolutions here, for 224x224x3 and 21 classes; FCN-8s has 134,385,311 parameters with BatchNorm:

    trunk         pool5                               B  512   7   7     14,723,136
    score.fc6     7x7x4096, dropout                   B 4096   7   7    102,764,544
    score.fc7     1x1x4096, dropout                   B 4096   7   7     16,781,312
    score.fr      1x1xK                               B    K   7   7         86,037
    skips.16      x 2, + 1x1xK of pool4               B    K  14  14   7,056 + 10,773
    skips.8       x 2, + 1x1xK of pool3               B    K  28  28    7,056 + 5,397
                  x 8, bilinear                       B    K 224 224

FCN-16s ends after pool4 (x 16), FCN-32s without skips (x 32). A "x 2" is a 4x4 transposed convolution that begins as bilinear
interpolation and learns; the last one is fixed, as in section 4.3. The layers that score pool4 and pool3 begin with zeros.

It stands on other networks too: the maps of strides 16 and 8 take the places of pool4 and pool3, and instead of fc6 and fc7 there
is one 3x3 convolution to a quarter of the channels with BatchNorm and dropout of 0.1, torchvision's head (`hidden` brings the dense
layers back).

Departs from the paper: fc6 keeps the size of its map by padding it, where the paper pads the picture by 100 px; the last
interpolation repeats what stands at the edges; fc6 and fc7 begin with fresh values. Any picture size: it is padded to a multiple
of the coarsest stride, and the logits are cut back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.pixelwise import Pixelwise, enlarged
from lamina.networks.trunk import Trunk
from lamina.networks.vgg import VGG
from lamina.nn import ConvNorm, max_pool_2x2

_DENSE = 4096  # channels of fc6 and fc7


class FCN(Pixelwise):
    """Logits (B K H W) from the coarsest map of a network and those down to stride `finest`, 8, 16 or 32; see the table above."""

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int,
        *,
        finest: int = 8,
        hidden: int | None = None,
        dropout: float | None = None,
    ) -> None:
        super().__init__(trunk)
        if finest not in (8, 16, 32):
            raise LaminaError(f"finest is {finest}.", "FCN-8s, 16s and 32s are known.", "Pass 8, 16 or 32.")
        self.pools = isinstance(trunk.net, VGG)
        channels = trunk.dims[self.stride]
        if hidden is not None or self.pools:
            self.score = _dense(channels, num_classes, hidden or _DENSE, dropout=0.5 if dropout is None else dropout)
        else:
            self.score = _plain(channels, num_classes, dropout=0.1 if dropout is None else dropout)
        self.skips = nn.ModuleDict()
        if finest < 32 < self.stride:
            raise LaminaError(
                f"FCN-{finest}s was asked for on {type(trunk.net).__name__}, whose coarsest map has stride {self.stride}.",
                "A skip doubles the scores, up to the map of stride 16: strides up to 32 were expected.",
                "Use fcn32s, or another backbone, such as resnet18.",
            )
        for stride in (16, 8):
            if finest <= stride < self.stride:
                # the paper's pool4 is VGG's map of stride 8 after its pooling
                found = trunk.channels(stride // 2 if self.pools else stride)
                self.skips[str(stride)] = _Skip(found, num_classes)

    def logits(self, maps: Mapping[int, Tensor], size: Sequence[int]) -> Float[Tensor, "B K H W"]:
        x = self.score(maps[self.stride])
        for name, skip in self.skips.items():
            stride = int(name)
            x = skip(x, max_pool_2x2(maps[stride // 2]) if self.pools else maps[stride])
        return enlarged(x, size)


class _Skip(nn.Module):
    """Scores of twice the size, and those of a finer map added."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, padding=1, bias=False)
        self.score = nn.Conv2d(channels, num_classes, 1)
        with torch.no_grad():
            self.up.weight.copy_(bilinear_kernel(num_classes, 4))
        nn.init.zeros_(self.score.weight)
        assert self.score.bias is not None
        nn.init.zeros_(self.score.bias)

    def forward(self, x: Tensor, finer: Tensor) -> Tensor:
        answer: Tensor = self.up(x) + self.score(finer)
        return answer


def bilinear_kernel(channels: int, side: int) -> Float[Tensor, "C C S S"]:
    """The weight of a transposed convolution of an even `side` and half that stride which interpolates each channel by itself."""
    factor = side // 2
    steps = torch.arange(side)
    ramp = 1 - (steps - (factor - 0.5)).abs() / factor
    kernel = torch.zeros(channels, channels, side, side)
    kernel[range(channels), range(channels)] = ramp[:, None] * ramp
    return kernel


def _dense(channels: int, num_classes: int, hidden: int, *, dropout: float) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, before, kernel in (("fc6", channels, 7), ("fc7", hidden, 1)):
        conv = nn.Conv2d(before, hidden, kernel, padding=kernel // 2)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        layers |= {name: conv, f"relu{name[-1]}": nn.ReLU(inplace=True), f"drop{name[-1]}": nn.Dropout(dropout)}
    layers["fr"] = nn.Conv2d(hidden, num_classes, 1)
    return nn.Sequential(layers)


def _plain(channels: int, num_classes: int, *, dropout: float) -> nn.Sequential:
    between = max(channels // 4, 1)
    return nn.Sequential(ConvNorm(channels, between), nn.Dropout(dropout), nn.Conv2d(between, num_classes, 1))


STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "fcn32s": (partial(FCN, finest=32), "vgg16_bn"),
    "fcn16s": (partial(FCN, finest=16), "vgg16_bn"),
    "fcn8s": (partial(FCN, finest=8), "vgg16_bn"),
}
