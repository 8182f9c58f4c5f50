"""From probabilities of classes in the network's pixels to a map of classes in the picture's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lamina.data.geometry import window
from lamina.data.pictures import shown
from lamina.data.preprocess import Preprocess
from lamina.losses import PixelCrossentropy
from lamina.models import feed
from lamina.models.graph import cut
from lamina.networks.pixelwise import Pixelwise
from lamina.structures.segmentation import SegmentationMap

_LOSS = PixelCrossentropy()  # which takes logits
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
        made.append(SegmentationMap(labels.numpy(), tuple(classes), confidence.numpy(), **shown(source)))
    return made


def decided(
    probs: Float[Tensor, "K H W"], preprocess: Preprocess, size: tuple[int, int]
) -> tuple[Float[Tensor, "H2 W2"], UInt8[Tensor, "H2 W2"]]:
    """The most probable class of each pixel of a picture of this (height, width), with its probability."""
    confidence, labels = probs.new_empty(size), torch.empty(size, dtype=torch.uint8, device=probs.device)
    for rows, shares, found in by_rows(probs, preprocess, size):
        if len(found) == len(labels):
            return shares, found
        confidence[rows], labels[rows] = shares, found
    return confidence, labels


def by_rows(
    probs: Float[Tensor, "K H W"], preprocess: Preprocess, size: tuple[int, int]
) -> Iterator[tuple[slice, Float[Tensor, "R W2"], UInt8[Tensor, "R W2"]]]:
    """As `decided`, some rows of a large picture at a time, so that no more than 64 MB of probabilities are there at once."""
    height, width = size
    rows = max(_AT_ONCE // (4 * len(probs) * width), 1)
    if rows >= height:
        yield slice(0, height), *_largest(in_picture(probs, preprocess, size))
        return
    inner = _inner(probs, preprocess, size)
    for top in range(0, height, rows):
        at = (torch.arange(top, min(top + rows, height), device=probs.device) + 0.5) * (inner.shape[1] / height) - 0.5
        above = at.clamp(min=0).floor().long()
        below, share = (above + 1).clamp(max=inner.shape[1] - 1), (at.clamp(min=0) - above)[:, None]
        some = torch.lerp(inner[:, above], inner[:, below], share)
        some = F.interpolate(some[None], (len(at), width), mode="bilinear", align_corners=False)[0]
        yield slice(top, top + len(at)), *_largest(some)


def _largest(shares: Float[Tensor, "K R W"]) -> tuple[Float[Tensor, "R W"], UInt8[Tensor, "R W"]]:
    """The largest share of each pixel and its class, the first of equal ones."""
    if shares.device.type != "cpu":
        largest, which = shares.max(dim=0)
        return largest, which.to(torch.uint8)
    # class by class, which a processor does five times as fast as max over a dimension that is not the last; by numpy, whose one
    # thread does in 0.2 ms what torch's do in 0.4, or in 4 beside those of an engine, which still wait for work
    each = shares.numpy()
    best, labels = each[0].copy(), np.zeros(each.shape[1:], np.uint8)
    larger = np.empty(each.shape[1:], np.bool_)
    numbered = larger.view(np.uint8)
    for number in range(1, len(each)):
        np.greater(each[number], best, out=larger)
        np.multiply(numbered, number, out=numbered)
        np.maximum(labels, numbered, out=labels)
        np.maximum(best, each[number], out=best)
    return torch.from_numpy(best), torch.from_numpy(labels)


def ending(net: nn.Module, seen: Callable[[], Tensor]) -> nn.Module:
    """From what a network gives to probabilities; nothing where its layers, or what it is `seen` to give, tell that it is these."""
    _, cuts = cut(net)
    gives_probs = cuts == ("softmax",) or (not isinstance(net, Pixelwise) and feed.are_probabilities(_LOSS, seen()))
    return nn.Identity() if gives_probs else nn.Softmax(dim=1)


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
