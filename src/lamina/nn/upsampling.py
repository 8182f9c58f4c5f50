"""A 3x3 convolution of a map at twice its size, without the larger map."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def doubled_conv2d(
    maps: Float[Tensor, "B C H W"], weight: Float[Tensor, "D C 3 3"], bias: Float[Tensor, " D"] | None = None
) -> Float[Tensor, "B D 2*H 2*W"]:
    """What a 3x3 convolution (padding 1) gives of `maps` whose pixels are repeated 2 x 2, within float rounding.

    Each pixel of the answer sees 2 x 2 different pixels, some of them several times. So it is a transposed convolution of stride 2,
    whose 4x4 kernel is the 3x3 one added up over each 2 x 2 shift: 16 multiplications for a pixel of the small map, not 36.
    """
    spread = F.pad(weight, (1, 1, 1, 1))
    spread = spread[:, :, 1:] + spread[:, :, :-1]
    spread = spread[..., 1:] + spread[..., :-1]
    # a transposed convolution writes what a convolution reads: its kernel is turned around
    return F.conv_transpose2d(maps, spread.flip(2, 3).transpose(0, 1), bias, stride=2, padding=1)
