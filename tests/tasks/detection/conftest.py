"""Made-up pictures: red squares (class 0) and blue discs (class 1) on noise, what stands where in them, and small detectors for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import lamina
from lamina import optimizers
from lamina.structures.annotation import Annotation
from lamina.structures.boxes import overlap

SIDE = 64
COLOURS = torch.tensor([[230, 60, 40], [40, 90, 240]], dtype=torch.uint8)


def shapes(count: int = 8, *, side: int = SIDE, seed: int = 0) -> tuple[Tensor, list[Annotation]]:
    """Pictures (N 3 side side) with one to three things of 20 to 32 px each."""
    draw = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=draw))

    images = torch.randint(0, 60, (count, 3, side, side), generator=draw, dtype=torch.uint8)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    told = []
    for image in images:
        boxes, labels = [], []
        for _ in range(number(1, 4)):
            size = number(20, 32)
            left, top, label = number(0, side - size), number(0, side - size), number(0, 2)
            box = torch.tensor([left, top, left + size, top + size]).float()
            if boxes and bool((overlap(torch.stack(boxes), box[None]) > 0.1).any()):
                continue
            inside = (columns >= left) & (columns < left + size) & (rows >= top) & (rows < top + size)
            if label:
                inside = (columns - left - size / 2) ** 2 + (rows - top - size / 2) ** 2 <= (size / 2) ** 2
            image[:, inside] = COLOURS[label][:, None]
            boxes.append(box)
            labels.append(label)
        told.append(Annotation(boxes_xyxy=torch.stack(boxes), labels=torch.tensor(labels)))
    return images, told


def narrow(network: str = "retinanet", **given: Any) -> lamina.Detector:
    """A small detector for such pictures, with the same initial values each time."""
    torch.manual_seed(0)
    arguments: dict[str, dict[str, Any]] = {
        "faster_rcnn": {
            "dims": (32, 64),
            "strides": [1, 2, 4],
            "anchors_px": [[12.0], [18.0], [24.0], [36.0]],
            "regions": 40,
        },
        "retinanet": {"channels": 32, "convs": 2, "levels": 3},
        "fcos": {"channels": 32, "convs": 2, "levels": 3},
    }
    preprocess = given.pop("preprocess", lamina.Preprocess(size=SIDE, resize="pad", mean=(0.5,), std=(0.5,)))
    detector = lamina.Detector(
        network, backbone="cifar_resnet20", arguments=arguments.get(network), preprocess=preprocess, **given
    )
    detector.compile(optimizers.AdamW(2e-3), update={"clip_norm": 1.0})
    return detector


def trained(
    network: str = "retinanet", *, epochs: int = 2, **given: Any
) -> tuple[lamina.Detector, Tensor, list[Annotation]]:
    """A small detector that has learnt from eight pictures, and these."""
    detector, (images, told) = narrow(network, **given), shapes()
    detector.fit(images, told, epochs=epochs, batch_size=8, verbose=0, validation_split=0.0)
    return detector, images, told


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    """What makes pictures and detectors."""
    return SimpleNamespace(shapes=shapes, narrow=narrow, trained=trained)


@pytest.fixture(scope="session")
def learnt() -> tuple[lamina.Detector, Tensor, list[Annotation]]:
    """A small RetinaNet that knows its eight pictures, and these. Whoever changes it changes it back."""
    return trained(epochs=40)
