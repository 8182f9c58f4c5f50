"""SSDlite: the single-shot detector with separable heads (Liu 2016, arXiv:1512.02325; Sandler 2018, arXiv:1801.04381, section 6.2).

It stands on the maps of any backbone. For pictures of 320 x 320 px and K classes, beside mobilenet_v2:

    trunk       maps of strides 16 and 32                                         B  96 20 20, B 1280 10 10
    extras.0    1x1x256, a 3x3 kernel for each, stride 2, 1x1x512                 B 512  5  5
    extras.1    1x1x128, 3x3 each, stride 2, 1x1x256                              B 256  3  3
    extras.2    the same                                                          B 256  2  2
    extras.3    1x1x64,  3x3 each, stride 2, 1x1x128                              B 128  1  1
    classes     a 3x3 kernel for each channel, 1x1x(6 (K + 1)), one for each map  B A K+1
    boxes       a 3x3 kernel for each channel, 1x1x(6 4), one for each map        B A 4
    places      6 boxes a cell                                                    A 4

BatchNorm (epsilon 0.001, momentum 0.03) and ReLU6 follow each convolution but the heads' last. The last of the K + 1 classes is nothing.
The boxes of a level have sides from `smallest` (0.2, the finest) to 0.95 of the picture, one more between two levels, and the forms 1:2,
1:3, 2:1 and 3:1; they are not cut at the picture's edges. What is much smaller than all of them is hardly learnt: for things of 20 of
320 px `smallest` is 0.06. `deltas` are as in structures.box_deltas, with WEIGHTS. Parameters for K = 90, without the
trunk's: 2,156,956. Initial values are torchvision's: normal with 0.03.
Departs from the papers: the map of stride 16 is the trunk's last one of that resolution, not the widened one within the block behind it;
and in training a map of one cell of a single picture is normalised by the running statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.predictions import Predictions, at_places, joined
from lamina.networks.trunk import Trunk
from lamina.nn import SteadyBatchNorm2d, padded_conv2d
from lamina.structures.box_deltas import Weights

WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)  # of the deltas: Liu's code has variances of 0.1 and 0.2
_FORMS = (2.0, 3.0)
_LARGEST = 0.95  # sides of the picture
_FINEST, _COARSEST = 16, 32  # strides that are taken from the trunk
_EXTRAS = (512, 256, 256, 128)


class SSDLite(nn.Module):
    """Two separable convolutions on each of six maps; see the table above. Raises LaminaError where `smallest` is no share below 0.95."""

    def __init__(
        self, trunk: Trunk, num_classes: int = 80, *, levels: int = 6, width: float = 1.0, smallest: float = 0.2
    ) -> None:
        super().__init__()
        if not 0 < smallest < _LARGEST:
            raise LaminaError(
                f"smallest is {smallest!r}.",
                f"The side of the smallest boxes was expected as a share of the picture's, above 0 and below {_LARGEST}.",
                "Usual is 0.2; for things of 20 of 320 px pass 0.06.",
            )
        self.trunk, self.num_classes, self.smallest = trunk, num_classes, smallest
        self.taken = [stride for stride in sorted(trunk.dims) if _FINEST <= stride <= _COARSEST] or [max(trunk.dims)]
        dims = [trunk.dims[stride] for stride in self.taken]
        extras = []
        for number in range(levels - len(dims)):
            made = max(16, int(_EXTRAS[min(number, len(_EXTRAS) - 1)] * width))
            extras.append(_extra(dims[-1], made))
            dims.append(made)
        self.extras = nn.ModuleList(extras)
        count = 2 + 2 * len(_FORMS)
        self.classes = nn.ModuleList([_head(dim, count * (num_classes + 1)) for dim in dims])
        self.boxes = nn.ModuleList([_head(dim, count * 4) for dim in dims])
        for part in (self.extras, self.classes, self.boxes):
            for layer in part.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=0.03)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Predictions:
        found = self.trunk(images)
        maps = [found[stride] for stride in self.taken]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        logits = [at_places(head(x), self.num_classes + 1) for head, x in zip(self.classes, maps, strict=True)]
        deltas = [at_places(head(x), 4) for head, x in zip(self.boxes, maps, strict=True)]
        shapes = [(x.shape[-2], x.shape[-1]) for x in maps]
        return Predictions(joined(logits), joined(deltas), None, default_boxes(shapes, images, smallest=self.smallest))


def default_boxes(
    shapes: list[tuple[int, int]], images: Float[Tensor, "B C H W"], *, smallest: float = 0.2
) -> Float[Tensor, "A 4"]:
    """The boxes (xyxy, px) of maps of these (height, width), the finest first (Liu 2016, section 2.2): by levels, rows, columns, forms."""
    height, width = images.shape[-2:]
    steps = max(len(shapes) - 1, 1)
    sides = [*(smallest + (_LARGEST - smallest) * number / steps for number in range(len(shapes))), 1.0]
    size = torch.tensor([float(width), float(height)], device=images.device)
    places = []
    for (rows, columns), side, following in zip(shapes, sides[:-1], sides[1:], strict=True):
        pairs = [(side, side), (math.sqrt(side * following),) * 2]
        for form in _FORMS:
            long, short = side * math.sqrt(form), side / math.sqrt(form)
            pairs += [(long, short), (short, long)]
        half = torch.tensor(pairs, device=images.device).clamp(max=1.0) / 2
        x, y = (
            (torch.arange(count, device=images.device, dtype=torch.float32) + 0.5) / count for count in (columns, rows)
        )
        middles = torch.stack([x[None].expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1).flatten(0, 1)[:, None]
        places.append(torch.cat([(middles - half) * size, (middles + half) * size], dim=-1).flatten(0, 1))
    return torch.cat(places)


def _conv(in_channels: int, channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = padded_conv2d(in_channels, channels, kernel_size, stride, groups=groups, padding="torch")
    return nn.Sequential(conv, SteadyBatchNorm2d(channels, eps=0.001, momentum=0.03), nn.ReLU6(inplace=True))


def _extra(in_channels: int, channels: int) -> nn.Sequential:
    narrow = channels // 2
    return nn.Sequential(
        _conv(in_channels, narrow, 1),
        _conv(narrow, narrow, 3, stride=2, groups=narrow),
        _conv(narrow, channels, 1),
    )


def _head(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(channels, channels, 3, groups=channels), nn.Conv2d(channels, outputs, 1))


STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {"ssdlite": (SSDLite, "mobilenet_v2")}
