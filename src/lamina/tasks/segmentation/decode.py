"""From probabilities of classes in the network's pixels to a map of classes in the picture's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from lamina.data.geometry import window
from lamina.data.preprocess import Preprocess
from lamina.structures.segmentation import SegmentationMap

_AT_ONCE = 64 << 20  # bytes of probabilities in a picture's own pixels


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
        confidence, labels = decided(each, preprocess, size)
        source = sources[index] if index < len(sources) else None
        told: dict[str, Any] = {"path": str(source)} if isinstance(source, str | os.PathLike) else {"image": source}
        made.append(SegmentationMap(labels.numpy(), tuple(classes), confidence.numpy(), **told))
    return made


def decided(
    probs: Float[Tensor, "K H W"], preprocess: Preprocess, size: tuple[int, int]
) -> tuple[Float[Tensor, "H2 W2"], UInt8[Tensor, "H2 W2"]]:
    """The most probable class of each pixel of a picture of this (height, width), with its probability.

    Of large pictures some rows at a time, so that no more than 64 MB of probabilities are there at once.
    """
    height, width = size
    rows = max(_AT_ONCE // (4 * len(probs) * width), 1)
    if rows >= height:
        confidence, labels = in_picture(probs, preprocess, size).max(dim=0)
        return confidence, labels.to(torch.uint8)
    inner = _inner(probs, preprocess, size)
    confidence, labels = torch.empty(size), torch.empty(size, dtype=torch.uint8)
    for top in range(0, height, rows):
        at = (torch.arange(top, min(top + rows, height)) + 0.5) * (inner.shape[1] / height) - 0.5
        above = at.clamp(min=0).floor().long()
        below, share = (above + 1).clamp(max=inner.shape[1] - 1), (at.clamp(min=0) - above)[:, None]
        some = torch.lerp(inner[:, above], inner[:, below], share)
        some = F.interpolate(some[None], (len(at), width), mode="bilinear", align_corners=False)[0]
        confidence[top : top + rows], found = some.max(dim=0)
        labels[top : top + rows] = found
    return confidence, labels


def in_picture(
    probs: Float[Tensor, "K H W"], preprocess: Preprocess, size: tuple[int, int]
) -> Float[Tensor, "K H2 W2"]:
    """Probabilities in the pixels of a picture of this (height, width), bilinear; the inverse of what the host did."""
    if size == preprocess.size:
        return probs
    return F.interpolate(_inner(probs, preprocess, size)[None], size, mode="bilinear", align_corners=False)[0]


def _inner(probs: Float[Tensor, "K H W"], preprocess: Preprocess, size: tuple[int, int]) -> Float[Tensor, "K h w"]:
    """The part of the network's pixels that shows the picture."""
    seen = window(preprocess, size)
    height, width = preprocess.size
    rows, columns = height / seen.height, width / seen.width  # pixels of the input to one of the picture
    top, left = round(-seen.top * rows), round(-seen.left * columns)
    return probs[:, top : top + max(round(size[0] * rows), 1), left : left + max(round(size[1] * columns), 1)]
