"""Models that say where things are, without training: a detector of coloured blocks, and a segmenter by the strongest colour."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lamina import Preprocess, Segmenter
from lamina.export.deployable import Deployable
from lamina.tasks.detection import decode

SIZE = (64, 96)
CLASSES = ("red block", "blue block")


class Blocks(nn.Module):
    """The box around all red pixels, and around all blue ones (B D 6), as a detector answers; scores 0.9 and 0.4."""

    def forward(self, images: Tensor) -> Tensor:
        rows = []
        for label, channel in enumerate((0, 2)):
            seen = (images[:, channel] > 0.6) & (images[:, 2 - channel] < 0.4)
            across, down = seen.any(dim=1).float(), seen.any(dim=2).float()
            x1, y1 = images.shape[3] - across.flip(1).argmax(1), images.shape[2] - down.flip(1).argmax(1)
            found = seen.flatten(1).any(1).float()
            score = found * (0.9 if label == 0 else 0.4)
            rows.append(torch.stack([across.argmax(1), down.argmax(1), x1, y1, score, found * (label + 1) - 1], 1))
        return torch.stack([row.float() for row in rows], 1)


class Detecting:
    """As a Detector to whatever deploys it: a deployable network, and results of what it answers."""

    classes = CLASSES

    def __init__(self, *, network_px: tuple[int, int] = SIZE) -> None:
        self.preprocess = Preprocess(size=network_px, resize="pad")

    def deployable(self) -> Deployable:
        told = {"kind": "detector", "classes": list(self.classes), "preprocess": self.preprocess.to_dict()}
        example = (torch.zeros(2, 3, *self.preprocess.size, dtype=torch.uint8),)
        parts = (Blocks(), self.preprocess.normalize(), nn.Identity(), example)
        return Deployable(*parts, answers=("detections",), preprocess=self.preprocess, description=told)

    def results(self, answers: Any, sources: Sequence[Any] = (), *, sizes: Sequence[tuple[int, int]] = ()) -> list[Any]:
        return decode.results(answers, self.classes, self.preprocess, sources=sources, sizes=sizes)


def segmenter(classes: Sequence[str] = ("red earth", "green field", "blue sky")) -> Segmenter:
    """The strongest colour of each pixel; classes beyond the third occur nowhere."""
    net = nn.Conv2d(3, len(classes), 1)
    with torch.no_grad():
        net.weight.zero_()
        net.weight[:3, :, 0, 0] = 20 * torch.eye(3)
        net.bias.zero_()
        net.bias[3:] = -1000.0
    return Segmenter(net, classes=list(classes), preprocess=Preprocess(size=SIZE, resize="pad"))


def blocks(*, size: tuple[int, int] = (240, 160), exif: bytes = b"") -> bytes:
    """A PNG (of width, height) of green with a red block left above, and a blue one in the right half."""
    width, height = size
    pixels = np.full((height, width, 3), (0, 120, 0), np.uint8)
    pixels[height // 8 : height // 2, width // 8 : width // 2] = (250, 0, 0)
    pixels[height // 4 : 3 * height // 4, 5 * width // 8 : 7 * width // 8] = (0, 0, 250)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG", exif=exif)
    return written.getvalue()
