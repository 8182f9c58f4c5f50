"""A feature pyramid: maps of several strides, each of which knows what the coarser ones saw."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

_FINEST, _COARSEST = 8, 32  # strides that are taken from the network below


class Pyramid(nn.Module):
    """Maps of `levels` strides with `channels` channels each (Lin 2017, arXiv:1612.03144, section 3), {stride: map}, the finest first.

    `dims` are the channels of the maps below by stride. Those of strides 8 to 32 are taken, or the coarsest where none is; a
    coarser level is a 3x3 convolution with stride 2 of the level before it, behind a ReLU from the second one on.
    """

    def __init__(self, dims: Mapping[int, int], *, channels: int = 256, levels: int = 5) -> None:
        from torchvision.ops import (
            FeaturePyramidNetwork,  # torchvision takes seconds to import, and most models have no need of it
        )

        super().__init__()
        taken = [stride for stride in sorted(dims) if _FINEST <= stride <= _COARSEST] or [max(dims)]
        self.taken = taken[:levels]
        self.strides = (*self.taken, *(self.taken[-1] * 2**step for step in range(1, levels + 1 - len(self.taken))))
        self.fpn = FeaturePyramidNetwork([dims[stride] for stride in self.taken], channels)
        more = len(self.strides) - len(self.taken)
        self.coarser = nn.ModuleList([nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(more)])
        for conv in self.coarser:
            nn.init.kaiming_uniform_(conv.weight, a=1)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        x = self.fpn(OrderedDict((str(stride), maps[stride]) for stride in self.taken))
        found = [x[str(stride)] for stride in self.taken]
        for number, conv in enumerate(self.coarser):
            found.append(conv(found[-1] if number == 0 else F.relu(found[-1])))
        return dict(zip(self.strides, found, strict=True))
