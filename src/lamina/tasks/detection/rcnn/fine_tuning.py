"""A network learns to tell classes and background apart in warped proposals, before its features are used (Girshick 2014, section 2.3)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lamina import optimizers
from lamina.data.preprocess import Preprocess
from lamina.networks import contract
from lamina.structures.annotation import Annotation
from lamina.structures.boxes import overlap
from lamina.tasks.classification import Classifier
from lamina.tasks.detection.rcnn.features import RegionFeatures
from lamina.tasks.detection.rcnn.proposals import truth_rows

BACKGROUND = "background"
_NEAR, _POSITIVE = 0.5, 0.25  # an overlap that shows an object; the share of regions that do


def fine_tuned(
    look: RegionFeatures,
    pictures: Iterable[tuple[Tensor, Float[Tensor, "N 4"], Annotation]],
    classes: Sequence[str],
    *,
    epochs: int,
    regions: int,
    rate: float,
) -> nn.Module:
    """A copy of the network behind `look`, trained by SGD on `regions` of each picture, drawn from its proposals and annotated boxes.

    `rate` is that of all layers. Batches hold 128 regions, mixed from all pictures, of which about a quarter show objects, as in the paper.
    """
    warps, labels = [], []
    generator = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(told)[:, None, None] for told in (look.preprocess.mean, look.preprocess.std))
    for picture, proposals, truth in pictures:
        rows, told = _drawn(proposals, truth, len(classes), regions, generator)
        pixels = look.regions(picture, rows) * std + mean
        warps.append((pixels * 255).round().clamp(0, 255).to(torch.uint8))
        labels.append(told)
    net = copy.deepcopy(look.net)
    contract.replace_head(net, len(classes) + 1)
    size = (look.side_px, look.side_px)
    preprocess = Preprocess(size=size, resize="stretch", mean=look.preprocess.mean, std=look.preprocess.std)
    classifier = Classifier(net, classes=[*classes, BACKGROUND], preprocess=preprocess)
    classifier.compile(optimizers.SGD(lr=rate, momentum=0.9), runtime=look.runtime)
    classifier.fit(torch.cat(warps), torch.cat(labels), batch_size=128, epochs=epochs, validation_split=0.0, verbose=0)
    return net


def _drawn(
    proposals: Float[Tensor, "N 4"], truth: Annotation, background: int, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "M 4"], Tensor]:
    """Boxes of one picture and their labels: at most a quarter show objects."""
    corners, labels = truth_rows(truth)
    everything = torch.cat([corners, proposals])
    if len(corners):
        most, which = overlap(everything[:, None], corners[None]).max(dim=1)
        told = torch.where(most >= _NEAR, labels[which], background)
    else:
        told = torch.full((len(everything),), background)
    order = torch.randperm(len(told), generator=generator)
    objects = order[told[order] != background][: int(count * _POSITIVE)]
    nothing = order[told[order] == background][: count - len(objects)]
    rows = torch.cat([objects, nothing])
    return everything[rows], told[rows]
