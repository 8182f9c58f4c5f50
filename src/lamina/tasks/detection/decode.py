"""From what a detection network says to the answer (B D 6), and from that to boxes in each picture's own pixels.

The answer's rows are x1 y1 x2 y2 (px of the network's input), score, label; the most certain first. Empty rows have label -1 and score 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.data.geometry import window
from lamina.data.pictures import shown
from lamina.data.preprocess import Preprocess
from lamina.networks.predictions import Predictions
from lamina.networks.regions import REGION_WEIGHTS, RegionPredictions
from lamina.networks.ssdlite import WEIGHTS as SSD_WEIGHTS
from lamina.structures import boxes
from lamina.structures.box_deltas import from_deltas, from_sides
from lamina.structures.detections import Detections
from lamina.structures.suppression import suppress


@dataclass(frozen=True)
class Suppression:
    """Which of the many boxes of a picture are its answer.

    Of those with a score of `least_score` the best `candidates` are looked at; of a class, one that overlaps a better one by more than
    `overlap` (intersection over union) goes; the best `most` are given. Raises LaminaError for numbers that cannot be meant.
    """

    overlap: float = 0.5
    least_score: float = 0.01
    most: int = 100
    candidates: int = 1000

    def __post_init__(self) -> None:
        for name in ("overlap", "least_score"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise LaminaError(
                    f"Suppression has {name}={value!r}.",
                    f"{name} lies from 0 to 1.",
                    f"Usual is {getattr(Suppression, name)}.",
                )
        for name in ("most", "candidates"):
            value = getattr(self, name)
            if value < 1:
                raise LaminaError(
                    f"Suppression has {name}={value!r}.",
                    f"{name} is 1 or more.",
                    f"Usual is {getattr(Suppression, name)}.",
                )


class Candidates(NamedTuple):
    """N boxes for each picture, of one class each. A score of 0 says that a row is none."""

    boxes: Float[Tensor, "B N 4"]  # xyxy, px of the network's input
    scores: Float[Tensor, "B N"]
    labels: Int64[Tensor, "B N"]


Decoder = Callable[[Any, Suppression], Candidates]


class Detecting(nn.Module):
    """A detection network and all that stands behind it: normalised pictures to the answer (B D 6). Its module is the network itself."""

    def __init__(self, net: nn.Module, suppression: Suppression, num_classes: int) -> None:
        super().__init__()
        self.net, self.suppression, self.num_classes = net, suppression, num_classes

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D 6"]:
        size = images.shape[-2], images.shape[-1]
        return decoded(self.net, self.net(images), size, self.suppression, self.num_classes)


def decoded(
    net: nn.Module, predictions: Any, size: tuple[int, int], suppression: Suppression, num_classes: int
) -> Float[Tensor, "B D 6"]:
    """The answer of a network by what it said of pictures of this (height, width) in px."""
    return answer(entry(net, DECODERS)(predictions, suppression), size, suppression, num_classes)


def answer(
    candidates: Candidates, size: tuple[int, int], suppression: Suppression, num_classes: int
) -> Float[Tensor, "B D 6"]:
    """The best of the candidates that no better one of their class overlaps too much, cut at the picture's edges."""
    corners = boxes.clip(candidates.boxes.float(), size)
    sides = corners[..., 2:] - corners[..., :2]
    scores = candidates.scores.float() * (candidates.scores > suppression.least_score) * (sides > 0).all(-1)
    kept = suppress(corners, scores, candidates.labels, overlap=suppression.overlap, num_classes=num_classes)
    scores = scores * kept
    count = min(suppression.most, scores.shape[1])
    best, rows = scores.topk(count, dim=1)
    found = torch.cat(
        [
            corners.gather(1, rows[..., None].expand(-1, -1, 4)),
            best[..., None],
            candidates.labels.gather(1, rows)[..., None].to(corners.dtype),
        ],
        dim=2,
    )
    empty = found.new_tensor([0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    found = torch.where((best > 0)[..., None], found, empty)
    if count < suppression.most:  # a small picture has fewer places
        found = torch.cat([found, empty.expand(found.shape[0], suppression.most - count, 6)], dim=1)
    return found


def chosen(
    values: Float[Tensor, "B A K"], count: int
) -> tuple[Float[Tensor, "B N"], Int64[Tensor, "B N"], Int64[Tensor, "B N"]]:
    """The largest `count` of a picture's values: themselves, at which place (A), and of which class (K)."""
    flat, classes = values.flatten(1), values.shape[2]
    best, rows = flat.topk(min(count, flat.shape[1]), dim=1)
    return best, rows // classes, rows % classes


def _retinanet(said: Predictions, suppression: Suppression) -> Candidates:
    logits, rows, labels = chosen(said.logits.float(), suppression.candidates)
    return Candidates(from_deltas(taken(said.deltas.float(), rows), said.places[rows]), logits.sigmoid(), labels)


def _fcos(said: Predictions, suppression: Suppression) -> Candidates:
    assert said.centredness is not None
    scores = (
        said.logits.float().sigmoid() * said.centredness.float().sigmoid()[..., None]
    ).sqrt()  # arXiv:2006.09214, section 3.1
    best, rows, labels = chosen(scores, suppression.candidates)
    return Candidates(from_sides(taken(said.deltas.float(), rows), said.places[rows]), best, labels)


def _ssdlite(said: Predictions, suppression: Suppression) -> Candidates:
    probs = said.logits.float().softmax(dim=2)[..., :-1]  # the last class is nothing
    best, rows, labels = chosen(probs, suppression.candidates)
    return Candidates(from_deltas(taken(said.deltas.float(), rows), said.places[rows], SSD_WEIGHTS), best, labels)


def taken(values: Float[Tensor, "B A D"], rows: Int64[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
    """These rows of each picture."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))


def _regions(said: RegionPredictions, suppression: Suppression) -> Candidates:
    probs = said.logits.float().softmax(2)[..., :-1] * said.known[..., None]  # the last is background
    scores, rows, labels = chosen(probs, suppression.candidates)
    deltas = taken(said.deltas.float().flatten(1, 2), rows * said.deltas.shape[2] + labels)
    return Candidates(from_deltas(deltas, taken(said.regions, rows), REGION_WEIGHTS), scores, labels)


DECODERS: dict[str, Decoder] = {  # by the network's class name
    "FastRCNN": _regions,
    "FasterRCNN": _regions,
    "FCOS": _fcos,
    "RetinaNet": _retinanet,
    "SSDLite": _ssdlite,
}


def entry(net: nn.Module, table: Mapping[str, Any]) -> Any:
    """What a table says of the network's class, or of one that it is derived from. Raises LaminaError where it says nothing."""
    for kind in type(net).__mro__:
        if kind.__name__ in table:
            return table[kind.__name__]
    raise LaminaError(
        f"The network is a {type(net).__name__}.",
        f"What it says must be understood: known are {', '.join(table)}.",
        "Pass one of these, or one that is derived from it.",
    )


def results(
    answers: Float[np.ndarray, "B D 6"],
    classes: Sequence[str],
    preprocess: Preprocess,
    *,
    sources: Sequence[Any] = (),
    sizes: Sequence[tuple[int, int]] = (),
    threshold: float = 0.0,
) -> list[Detections]:
    """What stands in each picture, in its own pixels where `sizes` tells its (height, width), else in the network's."""
    made = []
    for index, rows in enumerate(np.asarray(answers)):
        found = rows[(rows[:, 5] >= 0) & (rows[:, 4] >= threshold)]
        size = sizes[index] if index < len(sizes) else preprocess.size
        corners = boxes.clip(in_picture(found[:, :4], preprocess, size), size)
        source = sources[index] if index < len(sources) else None
        made.append(Detections(tuple(classes), corners, found[:, 5].astype(np.int64), found[:, 4], **shown(source)))
    return made


def in_picture(corners: boxes.Boxes, preprocess: Preprocess, size: tuple[int, int]) -> boxes.Boxes:
    """Boxes (N 4) in the pixels of a picture of this (height, width), from those of the network's input."""
    if size == preprocess.size:
        return corners
    seen = window(preprocess, size)
    height, width = preprocess.size
    scale = [seen.width / width, seen.height / height] * 2
    shift = [seen.left, seen.top] * 2
    if isinstance(corners, Tensor):
        return corners * corners.new_tensor(scale) + corners.new_tensor(shift)
    moved: boxes.Boxes = corners * np.asarray(scale, corners.dtype) + np.asarray(shift, corners.dtype)
    return moved
