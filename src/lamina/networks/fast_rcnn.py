"""Fast R-CNN (Girshick 2015, arXiv:1504.08083): regions that somebody else proposes, judged on one map of the whole picture.

For pictures of H x W px, P regions of each and K classes:

    trunk     the map of stride 16                              B C H/16 W/16
    pooled    aligned 7x7                                       B P C 7 7
    judge     1024, ReLU, 1024, ReLU; K + 1 classes, 4 K deltas    B P K+1, B P K 4

The last class is background, so that class 0 is the first one. With resnet18 (whose last stage is not used, 8,393,728 parameters) and 20
classes there are 25,175,717 parameters. `pyramid=True` stands on a feature pyramid instead. It is Faster R-CNN without its proposer.

Departs from the paper: RoIAlign (He 2017, arXiv:1703.06870) with 2 x 2 samples a cell in place of maximum pooling over rounded cells;
layers of 1024 channels where VGG16's have 4096.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lamina.networks.faster_rcnn import chosen_strides, freeze_unused, maps_of
from lamina.networks.regions import Judge, Judged, RegionPredictions
from lamina.networks.trunk import Trunk


class FastRCNN(nn.Module):
    """Judges regions (B P 4) of pictures, xyxy in px; rows of zeros are none. For the arguments see FasterRCNN."""

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int,
        *,
        pyramid: bool = False,
        strides: Sequence[int] | None = None,
        dims: tuple[int, int] = (256, 1024),
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
        self.judger = Judge(dims[0] if pyramid else channels[0], num_classes, dim=dims[1])

    def maps(self, images: Float[Tensor, "B C H W"]) -> dict[int, Tensor]:
        """What regions are pooled from, {stride: map}."""
        return maps_of(self.trunk, self.pyramid, self.strides, images)

    def judge(self, maps: Mapping[int, Tensor], regions: Float[Tensor, "B P 4"]) -> Judged:
        """What regions hold."""
        judged: Judged = self.judger(maps, regions)
        return judged

    def forward(self, images: Float[Tensor, "B C H W"], regions: Float[Tensor, "B P 4"]) -> RegionPredictions:
        judged = self.judge(self.maps(images), regions)
        return RegionPredictions(*judged, regions, (regions[..., 2:] > regions[..., :2]).all(-1))
