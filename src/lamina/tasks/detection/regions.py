"""The losses of detectors that judge regions (Girshick 2015, arXiv:1504.08083; Ren 2015, arXiv:1506.01497), and what of them is found.

Few of the thousands of anchors and regions of a picture take part in a loss: some are drawn, of which a share shows objects. In training
they are drawn anew in each step; in evaluation the same ones every time, so that losses can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lamina.networks.faster_rcnn import FasterRCNN
from lamina.networks.regions import REGION_WEIGHTS, Judged, Proposals, RegionPredictions
from lamina.structures.box_deltas import to_deltas
from lamina.tasks.detection.targets import IGNORED, NOTHING, Measure, Measured, Truths, matched

ANCHORS, REGIONS = 256, 128  # of a picture that are drawn; there are fewer where it is small
_ANCHORS_SHOW, _REGIONS_SHOW = 0.5, 0.25  # the most of them that show objects
_SHARP, _WIDE = (
    1 / 9,
    1.0,
)  # where smooth L1 turns from a parabola: of the proposer (Ren's code) and of the judge (Girshick 2015, eq. 3)


def measured(net: nn.Module, images: Tensor, targets: Tensor) -> Measured:
    """Of Faster R-CNN: objectness and boxes of anchors (Ren 2015, eq. 1), classes and boxes of regions (Girshick 2015, eq. 1).

    Each is the mean over what was drawn of a picture, and then over the pictures.
    """
    detector, truths = cast(FasterRCNN, net), Truths.of(targets)
    maps = detector.maps(images)
    with torch.no_grad():  # thousands of anchors, of which the losses need a few hundred
        proposals = detector.propose(maps, (images.shape[2], images.shape[3]))
    regions, match, taken = drawn_regions(proposals.boxes, proposals.scores >= 0, truths, training=net.training)
    judged = detector.judge(maps, regions)
    losses = proposing_losses(detector, maps, proposals, truths, training=net.training)
    losses |= judging_losses(judged, regions, match, taken, truths)
    said = None
    if not net.training:
        found = detector.judge(maps, proposals.boxes)
        said = RegionPredictions(*found, proposals.boxes, proposals.scores >= 0, proposals)
    return Measured(losses, len(images), said)


def proposing_losses(
    detector: FasterRCNN, maps: Mapping[int, Tensor], proposals: Proposals, truths: Truths, *, training: bool
) -> dict[str, Tensor]:
    """Of anchors: an overlap of 0.7 shows an object, as do those that overlap one most; below 0.3 nothing (Ren 2015, section 3.1.2)."""
    match = matched(proposals.places, truths, near=0.7, far=0.3)
    taken = drawn(match, count=ANCHORS, share=_ANCHORS_SHOW, training=training)
    pictures, rows = taken.nonzero(as_tuple=True)
    shown = match[pictures, rows]
    positive = shown >= 0
    share = 1 / taken.sum(1).clamp(min=1)[pictures] / len(taken)  # of an anchor in the mean over its picture, then all
    logits, deltas = detector.propose_at(maps, pictures, rows)
    apart = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    places = proposals.places[rows]
    boxes = torch.where(positive[:, None], truths.boxes[pictures, shown.clamp(min=0)], places)
    beside = F.smooth_l1_loss(deltas, to_deltas(boxes, places), reduction="none", beta=_SHARP).sum(1)
    return {
        "objectness": (apart * share).sum(),
        "proposal": (torch.where(positive, beside, 0.0) * share).sum(),
    }


def judging_losses(
    judged: Judged,
    regions: Float[Tensor, "B P 4"],
    match: Int64[Tensor, "B P"],
    taken: Bool[Tensor, "B P"],
    truths: Truths,
) -> dict[str, Tensor]:
    """Of regions and what they show: cross-entropy over the classes and background, smooth L1 of the box of the class that they show."""
    logits, background = judged.logits.float(), judged.logits.shape[2] - 1
    positive = (match >= 0) & taken
    labels = torch.where(positive, truths.labels.gather(1, match.clamp(min=0)), background)
    each = taken.sum(1).clamp(min=1)
    apart = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
    whole = torch.where(
        positive[..., None], regions, regions.new_tensor([0.0, 0.0, 1.0, 1.0])
    )  # rows of zeros have no logarithm
    shown = truths.boxes.gather(1, match.clamp(min=0)[..., None].expand(-1, -1, 4))
    goals = to_deltas(torch.where(positive[..., None], shown, whole), whole, REGION_WEIGHTS)
    mine = labels.clamp(max=background - 1)[..., None, None].expand(-1, -1, 1, 4)
    deltas = judged.deltas.float().gather(2, mine).squeeze(2)
    beside = F.smooth_l1_loss(deltas, goals, reduction="none", beta=_WIDE).sum(2)
    return {
        "class": (torch.where(taken, apart, 0.0).sum(1) / each).mean(),
        "box": (torch.where(positive, beside, 0.0).sum(1) / each).mean(),
    }


@torch.no_grad()
def drawn_regions(
    proposals: Float[Tensor, "B P 4"], known: Bool[Tensor, "B P"], truths: Truths, *, training: bool
) -> tuple[Float[Tensor, "B R 4"], Int64[Tensor, "B R"], Bool[Tensor, "B R"]]:
    """Regions to learn from, the object that each shows (NOTHING below an overlap of 0.5), and which of them are any.

    They are drawn from the proposals and, so that there are right ones from the first step on, the objects' own boxes.
    """
    everything = torch.cat([proposals, truths.boxes], dim=1)
    known = torch.cat([known, truths.real], dim=1)
    match = matched(everything, truths, near=0.5, far=0.5, best="")
    match = match.masked_fill(~known, IGNORED)
    taken = drawn(match, count=REGIONS, share=_REGIONS_SHOW, training=training)
    rows = taken.int().topk(min(REGIONS, taken.shape[1]), dim=1).indices
    regions = everything.gather(1, rows[..., None].expand(-1, -1, 4))
    taken = taken.gather(1, rows)
    return regions * taken[..., None], match.gather(1, rows), taken


@torch.no_grad()
def drawn(match: Int64[Tensor, "B N"], *, count: int, share: float, training: bool) -> Bool[Tensor, "B N"]:
    """At most `count` of each picture, drawn evenly: at most `share` of them such as show objects, and else those that show nothing."""
    generator = None if training else torch.Generator(match.device).manual_seed(0)
    chance = torch.rand(match.shape, generator=generator, device=match.device)
    objects = _first(chance, match >= 0, torch.tensor(int(count * share), device=match.device))
    left = count - objects.sum(1, keepdim=True)
    return objects | _first(chance, match == NOTHING, left)


def _first(chance: Float[Tensor, "B N"], among: Bool[Tensor, "B N"], count: Tensor) -> Bool[Tensor, "B N"]:
    rank = chance.masked_fill(~among, 2.0).argsort(dim=1).argsort(dim=1)
    return among & (rank < count)


LOSSES: dict[str, Measure] = {"FasterRCNN": measured}  # by the network's class name
