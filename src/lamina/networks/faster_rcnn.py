"""Faster R-CNN (Ren, He, Girshick & Sun 2015, arXiv:1506.01497), with a feature pyramid (Lin 2017, arXiv:1612.03144) or on a single map.

It stands on the maps of any backbone. For pictures of H x W px, K classes, P = 300 regions:

    trunk     maps C of strides 4 .. 32                        B C H/4 W/4 .. B C H/32 W/32
    pyramid   1x1x256 of each + twice the next coarser, 3x3x256   the same strides, 256 channels; and stride 64, every second place
    proposer  3x3xC, ReLU; 1x1xA objectness, 1x1x4A deltas     B N, B N 4        A anchors at each of N / A places
              the best 1000 of each map, suppressed at an overlap of 0.7, the best P of all that is left
    pooled    aligned 7x7 of the map whose stride fits         B P C 7 7
    judge     1024, ReLU, 1024, ReLU; K + 1 classes, 4 K deltas   B P K+1, B P K 4

`pyramid=False` is the first paper's: one map (stride 16), A = 9 anchors at each place. With the pyramid A = 3, of one area a map. Of the
region classes the last is background, so that class 0 is the first one. `propose` and `judge` can be called alone, which training
does: it judges regions that it has chosen.

With the pyramid, resnet50 and 90 classes there are 41,804,306 parameters: torchvision's 41,755,286 without 4,100 for the box of
background, and 53,120 of BatchNorm, which it freezes.

Departs from the papers: regions are pooled by RoIAlign (He 2017, arXiv:1703.06870), 2 x 2 samples a cell; anchors have sides of 4
strides with the pyramid (there 8) and of 4, 8 and 16 on a single map (there 8, 16 and 32), for pictures here are half as large as the
papers' 600 to 800 px (`anchors_px` says others); the judge's two layers have 1024 channels in both forms, as in the pyramid's paper.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.networks.regions import Judge, Judged, Proposals, Proposer, RegionPredictions
from lamina.networks.trunk import Trunk
from lamina.nn import in_eval_mode

_PROBED_PX = 64
PYRAMID = (4, 8, 16, 32)


class FasterRCNN(nn.Module):
    """Proposes regions and judges them, on one trunk.

    `strides` are the trunk's maps that it stands on: those of 4 to 32 with the pyramid, 16 without. `anchors_px`: for each map, the finest
    first, the sides of its anchors; the pyramid has one map more, of twice the last stride. `regions` are judged of each picture. Raises
    LaminaError where the trunk lacks a map, and for anchors that do not fit the maps.
    """

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int,
        *,
        pyramid: bool = True,
        strides: Sequence[int] | None = None,
        anchors_px: Sequence[Sequence[float]] | None = None,
        dims: tuple[int, int] = (256, 1024),
        regions: int = 300,
        tried: int = 1000,
    ) -> None:
        from torchvision.ops import (
            FeaturePyramidNetwork,  # torchvision takes seconds to import, and most models have no need of it
        )

        super().__init__()
        self.trunk, self.num_classes = trunk, num_classes
        self.strides = chosen_strides(trunk, strides, pyramid=pyramid)
        channels = [trunk.channels(stride) for stride in self.strides]
        freeze_unused(trunk, self.strides)
        self.pyramid = FeaturePyramidNetwork(channels, dims[0]) if pyramid else None
        proposing = [*self.strides, 2 * self.strides[-1]] if pyramid else self.strides
        if anchors_px is None:
            anchors_px = [
                [4.0 * stride] if pyramid else [4.0 * stride, 8.0 * stride, 16.0 * stride] for stride in proposing
            ]
        _check_anchors(anchors_px, proposing)
        width = dims[0] if pyramid else channels[0]
        by_stride = dict(zip(proposing, anchors_px, strict=True))
        self.proposer = Proposer(width, by_stride, regions=regions, tried=tried)
        self.judger = Judge(width, num_classes, dim=dims[1])

    def maps(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """What regions are proposed and pooled from, {stride: map}, the finest first."""
        return maps_of(self.trunk, self.pyramid, self.strides, images)

    def propose(self, maps: Mapping[int, Tensor], size: tuple[int, int]) -> Proposals:
        """Regions where something may stand, of pictures of this (height, width) in px; nothing is differentiated through their boxes."""
        proposals: Proposals = self.proposer(self._proposing(maps), size)
        return proposals

    def propose_at(
        self, maps: Mapping[int, Tensor], pictures: Int64[Tensor, " S"], rows: Int64[Tensor, " S"]
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, "S 4"]]:
        """What `propose` says of single anchors (Proposer.at)."""
        return self.proposer.at(self._proposing(maps), pictures, rows)

    def _proposing(self, maps: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        last = self.strides[-1]
        return maps if self.pyramid is None else {**maps, 2 * last: F.max_pool2d(maps[last], 1, 2)}

    def judge(self, maps: Mapping[int, Tensor], regions: Float[Tensor, "B P 4"]) -> Judged:
        """What regions hold."""
        judged: Judged = self.judger(maps, regions)
        return judged

    def forward(self, images: Float[Tensor, "B C H W"]) -> RegionPredictions:
        maps = self.maps(images)
        proposals = self.propose(maps, (images.shape[2], images.shape[3]))
        judged = self.judge(maps, proposals.boxes)
        return RegionPredictions(*judged, proposals.boxes, proposals.scores >= 0, proposals)


def maps_of(
    trunk: Trunk, pyramid: nn.Module | None, strides: Sequence[int], images: Float[Tensor, "B C H W"]
) -> dict[int, Tensor]:
    """The trunk's maps of these strides, through the pyramid where there is one."""
    found = trunk(images)
    taken = OrderedDict((str(stride), found[stride]) for stride in strides)
    if pyramid is not None:
        taken = pyramid(taken)
    return {int(stride): x for stride, x in taken.items()}


def chosen_strides(trunk: Trunk, told: Sequence[int] | None, *, pyramid: bool) -> list[int]:
    """The strides of the maps to stand on, ascending. Raises LaminaError where there are none, and for several without a pyramid."""
    if told is None:
        told = [stride for stride in PYRAMID if stride in trunk.dims] if pyramid else [min(16, max(trunk.dims))]
    strides = sorted(told)
    if not strides:
        trunk.channels(PYRAMID[0])  # which says what there is
    if len(strides) > 1 and (not pyramid or any(b != 2 * a for a, b in itertools.pairwise(strides))):
        raise LaminaError(
            f"strides is {list(told)}{'' if pyramid else ' without a pyramid'}.",
            "One stride was expected, or with the pyramid several, each twice the one before.",
            "Pass strides=[16], or pyramid=True and [4, 8, 16, 32].",
        )
    return strides


def freeze_unused(trunk: Trunk, strides: Sequence[int]) -> None:
    """Says of the trunk's parameters that no map of these strides depends on that they are not trained."""
    if max(trunk.dims) in strides:
        return
    device = next(trunk.parameters()).device
    channels = next(module.in_channels for module in trunk.modules() if isinstance(module, nn.Conv2d))
    with in_eval_mode(trunk):
        maps = trunk(torch.zeros(1, channels, _PROBED_PX, _PROBED_PX, device=device))
    held = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    reached = torch.autograd.grad(sum(maps[stride].sum() for stride in strides), held, allow_unused=True)
    for parameter, gradient in zip(held, reached, strict=True):
        parameter.requires_grad_(gradient is not None)


def _check_anchors(anchors_px: Sequence[Sequence[float]], strides: Sequence[int]) -> None:
    counts = {len(sides) for sides in anchors_px}
    if len(anchors_px) != len(strides) or len(counts) != 1 or not all(side > 0 for each in anchors_px for side in each):
        raise LaminaError(
            f"anchors_px is {[list(each) for each in anchors_px]}.",
            f"Sides in px were expected for each of the strides {', '.join(map(str, strides))}, as many for each.",
            f"Pass for instance {[[4 * stride] for stride in strides]}.",
        )


STANDING: dict[str, tuple[Callable[..., nn.Module], str]] = {"faster_rcnn": (FasterRCNN, "resnet18")}
