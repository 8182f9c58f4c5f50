"""Unpooling by switches: each value goes back to the pixel whose maximum it was, and the other pixels are 0.

As torch's max_unpool2d with the indices of max_pool2d, but of plain comparisons: it leaves the library (ONNX), is the same each
time on any device, and needs no indices that are larger than the map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def switches(maps: Float[Tensor, "B C H W"]) -> Bool[Tensor, "B C 4 H2 W2"]:
    """Which pixel of each 2 x 2 is its maximum, the first where several are: top left, top right, bottom left, bottom right.

    H and W are even.
    """
    with torch.no_grad():
        largest = F.max_pool2d(maps, 2)
        found: list[Tensor] = []
        left: Tensor | None = None  # no pixel before was the maximum
        for row in (0, 1):
            for column in (0, 1):
                here = maps[:, :, row::2, column::2] >= largest
                found.append(here if left is None else here & left)
                left = ~here if left is None else left & ~here
        return torch.stack(found, dim=2)


def unpool(values: Float[Tensor, "B C H2 W2"], where: Bool[Tensor, "B C 4 H2 W2"]) -> Float[Tensor, "B C H W"]:
    """The values at the pixels that `switches` told, 0 elsewhere."""
    spread: Tensor = (values.unsqueeze(2) * where).flatten(1, 2)
    return F.pixel_shuffle(spread, 2)
