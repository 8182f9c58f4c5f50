"""What Fast and Faster R-CNN share: regions pooled from maps of several strides, judged, and proposed.

Regions are boxes in pixels of the network's input, as many (P) for each picture of a batch; where there are fewer, rows of zeros.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lamina.structures.box_deltas import Weights, from_deltas
from lamina.structures.boxes import clip
from lamina.structures.suppression import suppress

RATIOS = (0.5, 1.0, 2.0)  # height over width of anchors
REGION_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)  # of the judge's deltas, as in Fast R-CNN's released code
_WHOLE_PICTURE_PX, _ITS_STRIDE = 224, 16  # a region of this side is pooled from this stride: Lin 2017, equation 1
_SMALLEST_PX = 1e-3  # a side below it is none


class Proposals(NamedTuple):
    """Where something may stand, the most certain first, and what was said of every anchor, of which they are the best."""

    boxes: Float[Tensor, "B P 4"]  # xyxy, px, within the picture; zeros where nothing more is known
    scores: Float[Tensor, "B P"]  # 0 to 1; -1 where nothing more is known
    logits: Float[Tensor, "B N"]  # that an anchor holds something
    deltas: Float[Tensor, "B N 4"]
    places: Float[Tensor, "N 4"]  # the anchors, xyxy, px


class Judged(NamedTuple):
    """What a region holds: the last of its classes is background."""

    logits: Float[Tensor, "B P K1"]
    deltas: Float[Tensor, "B P K 4"]  # from the region to the box of each class, with REGION_WEIGHTS


class RegionPredictions(NamedTuple):
    """What a two-stage detector says of pictures: of each region its classes and boxes, and the proposals that it came from."""

    logits: Float[Tensor, "B P K1"]
    deltas: Float[Tensor, "B P K 4"]
    regions: Float[Tensor, "B P 4"]
    known: Bool[Tensor, "B P"]  # false where there are fewer regions than P
    proposals: Proposals | None = None  # None where the regions were given


def pooled(
    maps: Mapping[int, Tensor], regions: Float[Tensor, "B P 4"], *, cells: int = 7
) -> Float[Tensor, "B P C S S"]:
    """Each region as cells x cells vectors of the map that fits its size (RoIAlign, He 2017; level: Lin 2017, equation 1).

    `maps` are {stride: B C H/stride W/stride}, of one number of channels; from the stride s the regions of about 14 s px a side are pooled.
    """
    pictures, count = regions.shape[:2]
    owner = torch.arange(pictures, device=regions.device, dtype=regions.dtype)
    rows = torch.cat([owner[:, None, None].expand(-1, count, 1), regions], dim=2).flatten(0, 1)
    strides = sorted(maps)
    if len(strides) == 1:
        found = _aligned(maps[strides[0]], rows, strides[0], cells)
        return found.reshape(pictures, count, *found.shape[1:])
    level = levels(rows[:, 1:], strides)
    if torch.compiler.is_exporting():  # the number of regions of a level is not known then: all are pooled from each
        of_levels = [_aligned(maps[stride], rows, stride, cells) for stride in strides]
        found = sum(
            (each * (level == number)[:, None, None, None] for number, each in enumerate(of_levels)),
            torch.zeros_like(of_levels[0]),
        )
        return found.reshape(pictures, count, *found.shape[1:])
    order = level.argsort(stable=True)
    counts = torch.bincount(level, minlength=len(strides)).tolist()
    parts = torch.split(rows[order], counts)
    taken = [_aligned(maps[stride], part, stride, cells) for stride, part in zip(strides, parts, strict=True)]
    found = torch.cat(taken)[order.argsort()]
    return found.reshape(pictures, count, *found.shape[1:])


def levels(regions: Float[Tensor, "N 4"], strides: Sequence[int]) -> Tensor:
    """The place in `strides` (ascending, each twice the one before) of the map from which each region is pooled."""
    sides = regions[:, 2:] - regions[:, :2]
    told = math.log2(_ITS_STRIDE) + torch.log2(sides.prod(dim=1).clamp_min(1e-12).sqrt() / _WHOLE_PICTURE_PX) + 1e-6
    first = math.log2(strides[0])
    return (told.floor() - first).clamp(0, len(strides) - 1).long()


def _aligned(x: Tensor, rows: Float[Tensor, "N 5"], stride: int, cells: int) -> Tensor:
    from torchvision.ops import roi_align  # torchvision takes seconds to import, and most models have no need of it

    # in float32, for places in bfloat16 are a pixel or two off
    taken: Tensor = roi_align(x.float(), rows.float(), cells, spatial_scale=1 / stride, sampling_ratio=2)
    return taken.to(x.dtype)


class Judge(nn.Module):
    """Two linear layers over a pooled region, and from them its class and its box for each class."""

    def __init__(self, in_channels: int, num_classes: int, *, dim: int = 1024, cells: int = 7) -> None:
        super().__init__()
        self.cells, self.num_classes = cells, num_classes
        self.fc6 = nn.Linear(in_channels * cells * cells, dim)
        self.fc7 = nn.Linear(dim, dim)
        self.classes = nn.Linear(dim, num_classes + 1)
        self.boxes = nn.Linear(dim, 4 * num_classes)
        for layer, std in ((self.classes, 0.01), (self.boxes, 0.001)):  # Girshick 2015, section 3.1
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Mapping[int, Tensor], regions: Float[Tensor, "B P 4"]) -> Judged:
        x = pooled(maps, regions, cells=self.cells).flatten(2)
        x = F.relu(self.fc7(F.relu(self.fc6(x))))
        return Judged(self.classes(x), self.boxes(x).unflatten(2, (self.num_classes, 4)))


class Proposer(nn.Module):
    """The region proposal network (Ren 2015, section 3.1): a 3x3 window over each map says of A anchors whether they hold something.

    `anchors_px` are the sides of the square anchors of each stride; each comes in three forms of that area.
    """

    def __init__(self, channels: int, anchors_px: Mapping[int, Sequence[float]], *, regions: int, tried: int) -> None:
        super().__init__()
        self.anchors_px = {int(stride): tuple(sides) for stride, sides in anchors_px.items()}
        self.regions, self.tried, self.overlap = regions, tried, 0.7
        count = len(RATIOS) * len(next(iter(self.anchors_px.values())))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, count, 1)
        self.boxes = nn.Conv2d(channels, 4 * count, 1)
        for layer in (self.conv, self.objectness, self.boxes):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Mapping[int, Tensor], size: tuple[int, int]) -> Proposals:
        """From maps of pictures of this (height, width) in px."""
        logits, deltas, places = [], [], []
        for stride, sides in self.anchors_px.items():
            x = F.relu(self.conv(maps[stride]))
            logits.append(self.objectness(x).permute(0, 2, 3, 1).flatten(1).float())
            told = self.boxes(x).permute(0, 2, 3, 1)
            deltas.append(told.reshape(told.shape[0], -1, 4).float())
            places.append(anchors(x, stride, sides))
        boxes, scores = self._best(logits, deltas, places, size)
        return Proposals(boxes, scores, torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(places))

    def at(
        self, maps: Mapping[int, Tensor], pictures: Int64[Tensor, " S"], rows: Int64[Tensor, " S"]
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, "S 4"]]:
        """What `forward` says of single anchors, by the numbers of their pictures and their rows: logits and deltas.

        A loss looks at a few hundred of the thousands of anchors. Only the windows of these are gone back through.
        """
        logits, deltas, order, first = [], [], [], 0
        for stride, sides in self.anchors_px.items():
            x, count = maps[stride], len(RATIOS) * len(sides)
            last = first + x.shape[2] * x.shape[3] * count
            mine = ((rows >= first) & (rows < last)).nonzero().flatten()
            local = rows[mine] - first
            x = F.relu(
                F.linear(
                    windows(x, pictures[mine], local // count),
                    self.conv.weight.permute(0, 2, 3, 1).flatten(1),
                    self.conv.bias,
                )
            )
            which = (local % count)[:, None]
            logits.append(_pointwise(self.objectness, x).gather(1, which)[:, 0].float())
            told = _pointwise(self.boxes, x).reshape(-1, count, 4)
            deltas.append(told.gather(1, which[..., None].expand(-1, -1, 4))[:, 0].float())
            order.append(mine)
            first = last
        back = torch.cat(order).argsort()
        return torch.cat(logits)[back], torch.cat(deltas)[back]

    @torch.no_grad()
    def _best(
        self, logits: list[Tensor], deltas: list[Tensor], places: list[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        found = []
        for level_logits, level_deltas, level_places in zip(logits, deltas, places, strict=True):
            top, rows = level_logits.topk(min(self.tried, level_logits.shape[1]), dim=1)
            theirs = level_deltas.gather(1, rows[..., None].expand(-1, -1, 4))
            boxes = clip(from_deltas(theirs, level_places[rows]), size)
            covers = (boxes[..., 2:] - boxes[..., :2] >= _SMALLEST_PX).all(-1)
            scores = torch.where(covers, top.sigmoid(), -1.0)
            found.append((boxes, scores.masked_fill(~suppress(boxes, scores, overlap=self.overlap), -1.0)))
        boxes, scores = torch.cat([each for each, _ in found], 1), torch.cat([each for _, each in found], 1)
        scores, rows = scores.topk(min(self.regions, scores.shape[1]), dim=1)
        boxes = boxes.gather(1, rows[..., None].expand(-1, -1, 4))
        return boxes * (scores >= 0)[..., None], scores


def windows(
    x: Float[Tensor, "B C H W"], pictures: Int64[Tensor, " S"], cells: Int64[Tensor, " S"]
) -> Float[Tensor, "S 9*C"]:
    """What a 3x3 window sees around single cells of a map, numbered by rows and columns: zeros beyond its edge."""
    height, width = x.shape[-2:]
    around = torch.arange(-1, 2, device=x.device)
    rows = (cells // width)[:, None, None] + around[:, None]
    columns = (cells % width)[:, None, None] + around
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = (pictures[:, None, None] * height + rows.clamp(0, height - 1)) * width + columns.clamp(0, width - 1)
    found = x.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, places.flatten())
    return (found * inside.flatten()[:, None]).reshape(len(cells), around.numel() ** 2 * x.shape[1])


def _pointwise(conv: nn.Conv2d, x: Float[Tensor, "S C"]) -> Float[Tensor, "S D"]:
    return F.linear(x, conv.weight.flatten(1), conv.bias)


def anchors(x: Float[Tensor, "B C H W"], stride: int, sides: Sequence[float]) -> Float[Tensor, "N 4"]:
    """The anchors of a map: at each place one of each form and side; N goes by rows, columns, forms, sides. Whole pixels."""
    height, width = x.shape[-2:]
    ratios = torch.tensor(RATIOS, device=x.device).sqrt()
    told = torch.tensor(tuple(map(float, sides)), device=x.device)
    wide, high = (told / ratios[:, None]).flatten(), (told * ratios[:, None]).flatten()
    cell = (torch.stack([-wide, -high, wide, high], dim=1) / 2).round()
    rows, columns = (torch.arange(count, device=x.device, dtype=cell.dtype) * stride for count in (height, width))
    corners = torch.stack([columns[None].expand(height, -1), rows[:, None].expand(-1, width)], dim=-1).flatten(0, 1)
    return (corners.repeat(1, 2)[:, None] + cell).flatten(0, 1)
