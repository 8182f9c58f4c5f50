"""From probabilities of classes in the network's pixels to a map of classes in the picture's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lamina.data.geometry import window
from lamina.data.preprocess import Preprocess
from lamina.structures.segmentation import SegmentationMap


def decode(
    probs: Float[np.ndarray, "B K H W"],
    classes: Sequence[str],
    preprocess: Preprocess,
    *,
    sources: Sequence[Any] = (),
    sizes: Sequence[tuple[int, int]] = (),
) -> list[SegmentationMap]:
    """A map for each picture, of its own size (height, width) where `sizes` tells it, else of the network's."""
    made = []
    for index, each in enumerate(torch.from_numpy(np.ascontiguousarray(probs))):
        size = sizes[index] if index < len(sizes) else preprocess.size
        confidence, labels = in_picture(each, preprocess, size).max(dim=0)
        source = sources[index] if index < len(sources) else None
        told: dict[str, Any] = {"path": str(source)} if isinstance(source, str | os.PathLike) else {"image": source}
        made.append(SegmentationMap(labels.to(torch.uint8).numpy(), tuple(classes), confidence.numpy(), **told))
    return made


def in_picture(
    probs: Float[Tensor, "K H W"], preprocess: Preprocess, size: tuple[int, int]
) -> Float[Tensor, "K H2 W2"]:
    """Probabilities in the pixels of a picture of this (height, width), bilinear; the inverse of what the host did."""
    if size == preprocess.size:
        return probs
    seen = window(preprocess, size)
    height, width = preprocess.size
    rows, columns = height / seen.height, width / seen.width  # pixels of the input to one of the picture
    top, left = round(-seen.top * rows), round(-seen.left * columns)
    inner = probs[:, top : top + max(round(size[0] * rows), 1), left : left + max(round(size[1] * columns), 1)]
    return F.interpolate(inner[None], size, mode="bilinear", align_corners=False)[0]
