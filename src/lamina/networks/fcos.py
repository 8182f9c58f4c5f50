"""FCOS: Fully Convolutional One-Stage Object Detection (Tian, Shen, Chen & He 2019, arXiv:1904.01355), as improved in arXiv:2006.09214.

It stands on the maps of any backbone. For pictures of H x W px and K classes:

    trunk         maps of strides 8, 16, 32                                       B C H/8 W/8 .. B C H/32 W/32
    pyramid       strides 8 .. 128, 256 channels                                  B 256 H/8 W/8 .. B 256 H/128 W/128
    classes       4 x [3x3x256, GroupNorm of 32, ReLU], 3x3xK, on every level     B A K
    around        4 x [3x3x256, GroupNorm of 32, ReLU], on every level
    sides         3x3x4 on `around`, ReLU                                         B A 4
    centredness   3x3x1 on `around`                                               B A
    places        one a cell: a square of one stride around its point             A 4

No anchors: `deltas` say how far the left, top, right and bottom side of a box lie from the point, in strides; `centredness` how near the
point is to the middle. Groups have 8 channels each. Parameters beside the trunk's, for resnet50 and K = 91: 8,814,688 (torchvision's: the
same). Initial values are the paper's, as in RetinaNet.
Departs from the paper: points lie at the left upper corners of cells, and sides are made positive by ReLU (there exp), as in the weights
that torchvision publishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.predictions import Predictions, at_places, joined
from lamina.networks.retinanet import PRIOR, tower
from lamina.networks.trunk import Trunk
from lamina.nn import Pyramid

_GROUP = 8  # channels


class FCOS(nn.Module):
    """Two small networks on every level of a feature pyramid; see the table above."""

    def __init__(
        self, trunk: Trunk, num_classes: int = 80, *, channels: int = 256, convs: int = 4, levels: int = 5
    ) -> None:
        super().__init__()
        if channels % _GROUP:
            raise LaminaError(
                f"channels is {channels}.",
                f"A multiple of {_GROUP} was expected, the channels of a group.",
                "Usual is 256.",
            )
        self.trunk, self.num_classes = trunk, num_classes
        self.pyramid = Pyramid(trunk.dims, channels=channels, levels=levels)
        groups = channels // _GROUP
        self.classes = tower(channels, num_classes, convs=convs, groups=groups)
        self.around = tower(channels, 4, convs=convs, groups=groups)
        self.sides = self.around.pop(len(self.around) - 1)
        self.centredness = tower(channels, 1, convs=0)
        nn.init.constant_(self.classes[-1].bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "B C H W"]) -> Predictions:
        logits, sides, middles, places = [], [], [], []
        for stride, x in self.pyramid(self.trunk(images)).items():
            logits.append(at_places(self.classes(x), self.num_classes))
            around = self.around(x)
            sides.append(at_places(F.relu(self.sides(around)), 4))
            middles.append(at_places(self.centredness(around), 1))
            places.append(points(x, stride))
        return Predictions(joined(logits), joined(sides), joined(middles)[..., 0], torch.cat(places))


def points(x: Float[Tensor, "B C H W"], stride: int) -> Float[Tensor, "N 4"]:
    """A square of one stride around the left upper corner of each cell, by rows and columns."""
    height, width = x.shape[-2:]
    rows, columns = (torch.arange(count, device=x.device, dtype=torch.float32) * stride for count in (height, width))
    corners = torch.stack([columns[None].expand(height, -1), rows[:, None].expand(-1, width)], dim=-1).flatten(0, 1)
    return torch.cat([corners - stride / 2, corners + stride / 2], dim=1)


STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {"fcos": (FCOS, "resnet18")}
