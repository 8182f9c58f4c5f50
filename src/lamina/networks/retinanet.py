"""RetinaNet: Focal Loss for Dense Object Detection (Lin, Goyal, Girshick, He & Dollar 2017, arXiv:1708.02002).

It stands on the maps of any backbone. For pictures of H x W px and K classes:

    trunk     maps of strides 8, 16, 32                        B C H/8 W/8 .. B C H/32 W/32
    pyramid   strides 8 .. 128, 256 channels                   B 256 H/8 W/8 .. B 256 H/128 W/128
    classes   4 x [3x3x256, ReLU], 3x3x(9 K), on every level   B A K
    boxes     4 x [3x3x256, ReLU], 3x3x(9 4), on every level   B A 4
    places    9 anchors a cell: 3 forms x 3 sides              A 4

The sides of anchors are `anchor` (4), `anchor` x 2^(1/3) and `anchor` x 2^(2/3) strides, in whole pixels, their forms 1:2, 1:1 and
2:1. `deltas` say where a box lies as seen from its anchor (structures.box_deltas). Parameters beside the trunk's, for resnet50 and
K = 91: 10,560,087 (torchvision's: the same). Initial values are the paper's: normal with 0.01, and biases by which every class has the
probability 0.01 everywhere, or the many places with nothing would drown the first steps.
Departs from the paper: the level of stride 64 is made of that of stride 32, not of the trunk's map, as in the weights that
torchvision publishes. A trunk without a map of stride 32 has that level made of the one before.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.predictions import Predictions, at_places, joined
from lamina.networks.regions import RATIOS, anchors
from lamina.networks.trunk import Trunk
from lamina.nn import Pyramid

PRIOR = 0.01  # the probability of a class before anything is learnt
_SIDES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))


class RetinaNet(nn.Module):
    """Two small networks on every level of a feature pyramid; see the table above."""

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int = 80,
        *,
        channels: int = 256,
        convs: int = 4,
        levels: int = 5,
        anchor: float = 4.0,
    ) -> None:
        super().__init__()
        self.trunk, self.num_classes, self.anchor = trunk, num_classes, anchor
        self.pyramid = Pyramid(trunk.dims, channels=channels, levels=levels)
        count = len(_SIDES) * len(RATIOS)
        self.classes = tower(channels, count * num_classes, convs=convs)
        self.boxes = tower(channels, count * 4, convs=convs)
        nn.init.constant_(self.classes[-1].bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "B C H W"]) -> Predictions:
        maps = self.pyramid(self.trunk(images))
        logits = joined([at_places(self.classes(x), self.num_classes) for x in maps.values()])
        deltas = joined([at_places(self.boxes(x), 4) for x in maps.values()])
        places = [
            anchors(x, stride, [int(self.anchor * stride * share) for share in _SIDES]) for stride, x in maps.items()
        ]
        return Predictions(logits, deltas, None, torch.cat(places))


def tower(channels: int, outputs: int, *, convs: int, groups: int = 0) -> nn.Sequential:
    """3x3 convolutions with ReLU, behind a GroupNorm where there are `groups`, and one to the outputs; normal with 0.01."""
    layers: list[nn.Module] = []
    for _ in range(convs):
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        layers += [nn.GroupNorm(groups, channels)] if groups else []
        layers.append(nn.ReLU(inplace=True))
    layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {"retinanet": (RetinaNet, "resnet18")}
