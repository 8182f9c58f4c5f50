"""From what is known of a picture to the targets that a detector's losses compare, and these losses.

The target of a picture is float32 (1 + M, 6): x1 y1 x2 y2 (px of the network's input), label, crowd (0 or 1); rows without an object have
label -1. So has the first row, which is the picture itself: (0, 0, its own width, its own height), in its own pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from lamina.core.errors import DataError
from lamina.data.prepared import Picture, Prepared, fitted
from lamina.networks.ssdlite import WEIGHTS as SSD_WEIGHTS
from lamina.structures import boxes
from lamina.structures.annotation import Annotation
from lamina.structures.box_deltas import from_sides, to_deltas, to_sides

if TYPE_CHECKING:
    from lamina.data.augment.sample import SampleTransforms

_OF_A_MOSAIC = 4  # pictures
_PAIRS = 1 << 22  # of places and objects that are compared at once: some 16 MB for each of a dozen numbers
NOTHING, IGNORED = -1, -2  # what a place shows: nothing, or what is neither right nor wrong
_NEGATIVES = 3  # for each place that shows an object
_CROWDED = 0.5  # the share of a place that lies within a crowd, from which on it is ignored


# Pictures -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Objects:
    """The objects of a picture as its target (1 + M, 6), M = `most`; of more the largest are kept.

    Boxes that cover nothing are left out. Raises DataError for labels that are no class.
    """

    most: int
    classes: int

    def __call__(self, annotation: Annotation) -> Float32[Tensor, "M 6"]:
        """The target of one picture, without its size."""
        target = torch.zeros(1 + self.most, 6)
        target[:, 4] = NOTHING
        if annotation.boxes_xyxy is None or not len(annotation.boxes_xyxy):
            return target
        corners = annotation.boxes_xyxy.float()
        labels = torch.zeros(len(corners)) if annotation.labels is None else annotation.labels.float()
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if len(wrong):
            raise DataError(
                f"An object has the label {int(wrong[0])}.",
                f"Classes are 0 to {self.classes - 1}.",
                "Name all classes: Detector(classes=[...]).",
            )
        crowd = torch.zeros(len(corners)) if annotation.crowd is None else annotation.crowd.float()
        rows = torch.cat([corners, labels[:, None], crowd[:, None]], dim=1)[~boxes.is_degenerate(corners)]
        if len(rows) > self.most:
            rows = rows[boxes.area_px(rows[:, :4]).argsort(descending=True, stable=True)[: self.most].sort().values]
        target[1 : 1 + len(rows)] = rows
        return target


class Framed(Prepared):
    """Prepared pictures whose targets tell the size that each has itself."""

    def __getitem__(self, index: int) -> tuple[Picture, Tensor]:
        picture, annotation = self.dataset[index]
        if self.augment is not None:
            picture, annotation = self.augment(picture, annotation)
        height, width = picture.shape[-2:]
        picture, annotation = fitted(picture, covering(annotation, (height, width)), self.preprocess)
        target = self.encode(annotation)
        target[0, :4] = torch.tensor([0, 0, width, height])
        return picture, target

    def augmented(self, augment: SampleTransforms | None) -> Self:
        """The same samples, changed as training sees them; in a mosaic there are the objects of four."""
        assert isinstance(self.encode, Objects)
        encode = replace(self.encode, most=self.encode.most * pictures_in(augment))
        return type(self)(self.dataset, self.preprocess, encode, augment=augment)


def covering(annotation: Annotation, size: tuple[int, int]) -> Annotation:
    """The annotation with the objects alone whose boxes cover something of a picture of this (height, width)."""
    corners = annotation.boxes_xyxy
    if corners is None:
        return annotation
    nothing = boxes.is_degenerate(corners) | boxes.is_degenerate(boxes.clip(corners, size))
    return annotation.objects(~nothing) if bool(nothing.any()) else annotation


def pictures_in(change: Any) -> int:
    """Of how many pictures, each with its objects, a changed one may be made: of a mosaic's four, also within other transforms."""
    from lamina.data.augment.sample import Mosaic, SampleTransforms  # torchvision's transforms take seconds to import

    if isinstance(change, Mosaic):
        return _OF_A_MOSAIC
    return math.prod(map(pictures_in, change.transforms)) if isinstance(change, SampleTransforms) else 1


def trimmed(targets: Float[Tensor, "B M 6"]) -> Float[Tensor, "B M2 6"]:
    """Targets without the rows that are empty in all pictures of the batch."""
    most = int((targets[..., 4] >= 0).sum(1).max()) if len(targets) else 0
    return targets[:, : 2 + max(most - 1, 0)].contiguous()


class Truths(NamedTuple):
    """The targets of a batch by what they mean."""

    boxes: Float[Tensor, "B M 4"]
    labels: Int64[Tensor, "B M"]  # -1 where there is none
    crowd: Bool[Tensor, "B M"]
    real: Bool[Tensor, "B M"]  # an object of its own, and no crowd

    @classmethod
    def of(cls, targets: Float[Tensor, "B M 6"]) -> Truths:
        """Of targets as they come."""
        labels, crowd = targets[..., 4].long(), targets[..., 5] > 0
        return cls(targets[..., :4].float(), labels, crowd & (labels >= 0), (labels >= 0) & ~crowd)


# Losses ---------------------------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """The parts of a loss by name, how many samples (or places) they are the mean of, and what the network said of the pictures."""

    losses: dict[str, Tensor]
    samples: int | Tensor
    predictions: Any


Measure = Callable[[nn.Module, Tensor, Tensor], Measured]


def matched(
    places: Float[Tensor, "*B A 4"],
    truths: Truths,
    *,
    near: float,
    far: float,
    best: str = "ties",
) -> Int64[Tensor, "B A"]:
    """Which object each place shows: its number, NOTHING, or IGNORED. Places are the same in all pictures (A 4), or each has its own.

    It is the one that overlaps the place most, if by `near` or more (intersection over union); below `far` it is nothing, between
    the two, and within a crowd, it is ignored. The places that overlap an object more than all others do show something in any case:
    the object that overlaps them most (best="ties": Ren 2015, section 3.1.2), or that object itself (best="own": Liu 2016,
    section 2.2), unless best="" (Girshick 2015, section 2.3).
    """
    count, number = places.shape[-2], truths.boxes.shape[1]
    overlaps = places.new_full((len(truths.boxes), count), -1.0)
    which = torch.zeros_like(overlaps, dtype=torch.int64)
    crowded = torch.zeros_like(overlaps)
    chosen = torch.zeros_like(overlaps, dtype=torch.bool)
    firsts = []
    step = max(1, _PAIRS // max(1, overlaps.numel()))
    for start in range(0, number, step):
        part = slice(start, start + step)
        shares = _shares(places, truths.boxes[:, part], truths.crowd[:, part])
        crowded = torch.maximum(crowded, (shares * truths.crowd[:, part, None]).amax(1))
        shares = shares.masked_fill(~truths.real[:, part, None], -1.0)
        found, rows = shares.max(dim=1)
        which = torch.where(found > overlaps, rows + start, which)
        overlaps = torch.maximum(overlaps, found)
        highest, place = shares.max(dim=2)
        if best == "ties":
            chosen |= ((shares == highest[..., None]) & (highest[..., None] > 0)).any(1)
        firsts.append(torch.where(highest > 0, place, count))
    made = torch.where(overlaps < near, IGNORED, which)
    made = torch.where((overlaps < far) & (crowded <= _CROWDED), NOTHING, made)
    if best != "own":
        return torch.where(chosen, which, made)
    spare = torch.cat([made, made.new_zeros(len(made), 1)], dim=1)  # a place for objects that overlap none
    order = torch.arange(number, device=made.device).expand(len(made), -1)
    return spare.scatter(1, torch.cat(firsts, dim=1), order)[:, :count]


def _shares(
    places: Float[Tensor, "*B A 4"], corners: Float[Tensor, "B M 4"], crowd: Bool[Tensor, "B M"]
) -> Float[Tensor, "B M A"]:
    """Intersection over union; with a crowd, over the place."""
    left, top, right, bottom = places[..., None, :, :].unbind(-1)
    x1, y1, x2, y2 = corners[..., None].unbind(2)
    shared = (torch.minimum(right, x2) - torch.maximum(left, x1)).clamp_(min=0)
    shared *= (torch.minimum(bottom, y2) - torch.maximum(top, y1)).clamp_(min=0)
    own = (right - left) * (bottom - top)
    other = (x2 - x1) * (y2 - y1)
    whole = torch.where(crowd[..., None], own, own + other - shared)
    return shared / whole.clamp(min=1e-9)


def _focal(
    logits: Float[Tensor, "B A K"], match: Int64[Tensor, "B A"], labels: Int64[Tensor, "B M"]
) -> Float[Tensor, " B"]:
    """The focal loss (Lin 2017, eq. 5: gamma 2, alpha 0.25) of each picture, summed; ignored places have none."""
    from torchvision.ops import (
        sigmoid_focal_loss,
    )  # torchvision takes seconds to import, and most models have no need of it

    shown = labels.gather(1, match.clamp(min=0))
    goals = (shown[..., None] == torch.arange(logits.shape[2], device=logits.device)) & (match >= 0)[..., None]
    values: Tensor = sigmoid_focal_loss(logits, goals.to(logits.dtype))
    return (values.sum(2) * (match != IGNORED)).sum(1)


def shown_boxes(truths: Truths, match: Int64[Tensor, "B A"], places: Float[Tensor, "A 4"]) -> Float[Tensor, "B A 4"]:
    """The box that each place shows; where it shows none the place itself, which is finite in every formula."""
    found = truths.boxes.gather(1, match.clamp(min=0)[..., None].expand(-1, -1, 4))
    return torch.where((match >= 0)[..., None], found, places)


def _retinanet(net: nn.Module, images: Tensor, targets: Tensor) -> Measured:
    """Lin 2017, section 4: anchors of an overlap of 0.5 show an object, below 0.4 nothing; each picture by its number of them."""
    said, truths = net(images), Truths.of(targets)
    match = matched(said.places, truths, near=0.5, far=0.4)
    positive = match >= 0
    each = positive.sum(1).clamp(min=1)
    goals = to_deltas(shown_boxes(truths, match, said.places), said.places)
    apart = (F.l1_loss(said.deltas.float(), goals, reduction="none") * positive[..., None]).sum((1, 2))
    losses = {"class": (_focal(said.logits.float(), match, truths.labels) / each).mean(), "box": (apart / each).mean()}
    return Measured(losses, len(images), said)


def _fcos(net: nn.Module, images: Tensor, targets: Tensor) -> Measured:
    """Tian 2019, eq. 2 and 3, with the generalised overlap of boxes: all by the number of points in the batch that show an object."""
    from torchvision.ops import generalized_box_iou_loss

    said, truths = net(images), Truths.of(targets)
    match = points_shown(said.places, truths)
    positive = match >= 0
    count = positive.sum().clamp(min=1)
    true = shown_boxes(truths, match, said.places)
    made = from_sides(said.deltas.float(), said.places)
    apart = generalized_box_iou_loss(made, true, reduction="none")
    sides = to_sides(true, said.places).clamp(min=0)
    across, down = sides[..., 0::2], sides[..., 1::2]
    shares = (across.amin(-1) / across.amax(-1).clamp(min=1e-9)) * (down.amin(-1) / down.amax(-1).clamp(min=1e-9))
    middle = F.binary_cross_entropy_with_logits(said.centredness.float(), shares.sqrt(), reduction="none")
    losses = {
        "class": _focal(said.logits.float(), match, truths.labels).sum() / count,
        "box": (apart * positive).sum() / count,
        "centre": (middle * positive).sum() / count,
    }
    return Measured(losses, count, said)


def points_shown(places: Float[Tensor, "A 4"], truths: Truths) -> Int64[Tensor, "B A"]:
    """Which object each point shows (Tian 2019, section 3.2, with centre sampling): its number, or NOTHING.

    The object's middle lies within 1.5 strides, the point within its box, and the farthest side between 4 and 8 strides away (nearer
    on the finest level, farther on the coarsest); of several the smallest. Within a crowd a point is IGNORED.
    """
    middles, strides = (places[:, :2] + places[:, 2:]) / 2, places[:, 2] - places[:, 0]
    nearest = torch.where(strides > strides.min(), 4 * strides, 0.0)
    farthest = torch.where(strides < strides.max(), 8 * strides, torch.inf)
    best = places.new_full((len(truths.boxes), len(places)), torch.inf)
    match = torch.full_like(best, NOTHING, dtype=torch.int64)
    crowded = torch.zeros_like(best, dtype=torch.bool)
    step = max(1, _PAIRS // max(1, best.numel()))
    for start in range(0, truths.boxes.shape[1], step):
        part = slice(start, start + step)
        corners = truths.boxes[:, part, None]
        sides = torch.cat([middles - corners[..., :2], corners[..., 2:] - middles], dim=-1)
        inside, reach = sides.amin(-1) > 0, sides.amax(-1)
        near = (middles - (corners[..., :2] + corners[..., 2:]) / 2).abs().amax(-1) < 1.5 * strides
        crowded |= (inside & truths.crowd[:, part, None]).any(1)
        shows = inside & near & (reach > nearest) & (reach < farthest) & truths.real[:, part, None]
        areas = boxes.area_px(truths.boxes[:, part])[..., None].masked_fill(~shows, torch.inf)
        smallest, rows = areas.min(dim=1)
        match = torch.where(smallest < best, rows + start, match)
        best = torch.minimum(best, smallest)
    return torch.where((match < 0) & crowded, IGNORED, match)


def _ssdlite(net: nn.Module, images: Tensor, targets: Tensor) -> Measured:
    """Liu 2016, eq. 1 and 2, with three of the worst boxes that show nothing for each that shows an object (of empty pictures three)."""
    said, truths = net(images), Truths.of(targets)
    match = matched(said.places, truths, near=0.5, far=0.5, best="own")
    positive = match >= 0
    count = positive.sum().clamp(min=1)
    goals = to_deltas(shown_boxes(truths, match, said.places), said.places, SSD_WEIGHTS)
    apart = F.smooth_l1_loss(said.deltas.float(), goals, reduction="none").sum(2) * positive
    logits = said.logits.float()
    shown = truths.labels.gather(1, match.clamp(min=0)).where(positive, logits.shape[2] - 1)
    missed = F.cross_entropy(logits.flatten(0, 1), shown.flatten(), reduction="none").view_as(shown)
    others = missed.detach().masked_fill(match != NOTHING, -torch.inf)
    rank = others.argsort(dim=1, descending=True).argsort(dim=1)
    worst = (rank < _NEGATIVES * positive.sum(1, keepdim=True).clamp(min=1)) & (match == NOTHING)
    losses = {"class": (missed * (positive | worst)).sum() / count, "box": apart.sum() / count}
    return Measured(losses, count, said)


LOSSES: dict[str, Measure] = {  # by the network's class name
    "FCOS": _fcos,
    "RetinaNet": _retinanet,
    "SSDLite": _ssdlite,
}
