"""U-Net (Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv:1505.04597).

`UNet` stands on any network. From its coarsest map upwards: twice the size, the network's map of that size beside, two 3x3
convolutions. On MobileNet v2 with width 16, for 256x320x3 and 11 classes 6,628,987 parameters, of which 2,223,872 are the trunk's:

    trunk       the maps of strides 32, 16, 8, 4, 2   B 1280  8 10, 96, 32, 24, 16
    blocks.0    x 2, + map of stride 16, 2 x 3x3      B  256  16  20      3,761,152
    blocks.1    x 2, + map of stride 8, 2 x 3x3       B  128  32  40        479,744
    blocks.2    x 2, + map of stride 4, 2 x 3x3       B   64  64  80        124,672
    blocks.3    x 2, + map of stride 2, 2 x 3x3       B   32 128 160         32,384
    blocks.4    x 2, 2 x 3x3                          B   16 256 320          6,976
    head        1x1                                   B    K 256 320            187

A map of stride s has width x s channels after its block. Sizes are doubled by repeating pixels, and each convolution has BatchNorm:
as in segmentation-models-pytorch, whose last convolution is 3x3. The paper's own form is "unet_2015", on `UNetEncoder`: depth 4 and
width 64, 2x2 transposed convolutions, no BatchNorm; for 1 channel and 2 classes 31,030,658 parameters. It departs from the paper in
its padding, which keeps the size of a picture (theirs shrinks 572 px to 388).

Any picture size: it is padded to a multiple of the coarsest stride, and the logits are cut back.
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
from lamina.networks.pixelwise import Pixelwise, enlarged
from lamina.networks.trunk import Trunk
from lamina.nn import ConvNorm, doubled_conv2d, max_pool_2x2

_USUAL_WIDTH = 16


class UNet(Pixelwise):
    """Logits (B K H W) from the maps of a network, the coarsest first; see the table above.

    `width` channels stand at stride 1, and s times as many at stride s; None: as many as the network has there. Several are those of the
    blocks one by one: where they are fewer than the strides, the finest blocks are left out, which take most of the time, and
    the scores are enlarged (bilinear).
    """

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int,
        *,
        width: int | Sequence[int] | None = _USUAL_WIDTH,
        transposed: bool = False,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(trunk)
        strides = sorted(trunk.dims, reverse=True)
        channels, finer = trunk.dims[self.stride], strides[1:]
        finer += [2**power for power in reversed(range(strides[-1].bit_length() - 1))]  # beyond the finest map
        if isinstance(width, Sequence):
            if not 1 <= len(width) <= len(finer) or min(width) < 1:
                raise LaminaError(
                    f"A U-Net of the widths {list(width)} was asked for.",
                    f"On {type(trunk.net).__name__} 1 to {len(finer)} numbers of channels, each at least 1, were expected.",
                    f"They are those of the strides {', '.join(map(str, finer))}, in this order.",
                )
            widths = list(width)
        else:
            each = width or _USUAL_WIDTH
            widths = [trunk.dims.get(stride, each * stride) if width is None else each * stride for stride in finer]
        self.blocks = nn.ModuleDict()
        for stride, wide in zip(finer, widths, strict=False):
            beside = trunk.dims.get(stride, 0)
            self.blocks[str(stride)] = _Block(channels, beside, wide, transposed=transposed, batch_norm=batch_norm)
            channels = wide
        self.head = nn.Conv2d(channels, num_classes, 1)

    def logits(self, maps: Mapping[int, Tensor], size: Sequence[int]) -> Float[Tensor, "B K H W"]:
        x = maps[self.stride]
        for name, block in self.blocks.items():
            stride = int(name)
            x = block(x, maps.get(stride), [side // stride for side in size])
        scores: Tensor = self.head(x)
        return scores if list(scores.shape[-2:]) == list(size) else enlarged(scores, size)


class _Block(nn.Module):
    """Twice the size, the network's map beside, two convolutions."""

    def __init__(self, in_channels: int, beside: int, channels: int, *, transposed: bool, batch_norm: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, channels, 2, stride=2) if transposed else None
        first = (channels if transposed else in_channels) + beside
        self.convs = nn.Sequential(
            ConvNorm(first, channels, batch_norm=batch_norm), ConvNorm(channels, channels, batch_norm=batch_norm)
        )

    def forward(self, x: Tensor, beside: Tensor | None, size: Sequence[int]) -> Tensor:
        if self.training and self.up is None and list(size) == [2 * side for side in x.shape[-2:]]:
            return self._doubled(x, beside)
        x = self.up(x) if self.up is not None else F.interpolate(x, size=tuple(size), mode="nearest")
        answer: Tensor = self.convs(x if beside is None else torch.cat([x, beside], dim=1))
        return answer

    def _doubled(self, x: Tensor, beside: Tensor | None) -> Tensor:
        """The same, its first convolution in two summands with fewer multiplications.

        Only in training: what is exported keeps its layers in a row, whose BatchNorm becomes part of the convolution.
        """
        first, second = self.convs
        assert isinstance(first, ConvNorm)
        conv = first[0]
        assert isinstance(conv, nn.Conv2d)
        below, across = conv.weight[:, : x.shape[1]], conv.weight[:, x.shape[1] :]
        summed = doubled_conv2d(x, below, conv.bias)
        if beside is not None:
            summed = summed + F.conv2d(beside, across, padding=1)
        for layer in (*list(first)[1:], second):
            summed = layer(summed)
        return summed


class UNetEncoder(Network):
    """The contracting path: `depth` + 1 times two 3x3 convolutions, halved between, each with twice the channels of the one before.

    The classes of whole pictures come from the mean over the coarsest map.
    """

    class_layers = ("fc",)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        depth: int = 4,
        width: int = 64,
        batch_norm: bool = False,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth < 1 or width < 1:
            raise LaminaError(
                f"A U-Net of depth {depth} and width {width} was asked for.",
                "At least one halving and one channel were expected.",
                "The paper has depth=4, width=64.",
            )
        self.stages = nn.ModuleList()
        before = in_channels
        for level in range(depth + 1):
            wide = width * 2**level
            made = nn.Sequential(
                ConvNorm(before, wide, batch_norm=batch_norm), ConvNorm(wide, wide, batch_norm=batch_norm)
            )
            self.stages.append(made)
            before = wide
        self.dropout = nn.Dropout(dropout)  # "at the end of the contracting path"
        self.fc = nn.Linear(before, num_classes)
        self.feature_dims: Mapping[int, int] = {2**level: width * 2**level for level in range(depth + 1)}

    def features(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """The last map of each resolution, by its stride."""
        maps: dict[int, Tensor] = {}
        x = images
        for level, stage in enumerate(self.stages):
            x = stage(max_pool_2x2(x) if level else x)
            maps[2**level] = x
        maps[2 ** (len(self.stages) - 1)] = self.dropout(x)
        return maps

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        coarsest = self.features(images)[2 ** (len(self.stages) - 1)]
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(coarsest, 1).flatten(1))
        return logits


VARIANTS: dict[str, Callable[..., nn.Module]] = {"unet_encoder": UNetEncoder}
STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "unet": (UNet, "mobilenet_v2"),
    "unet_2015": (partial(UNet, width=None, transposed=True, batch_norm=False), "unet_encoder"),
}
