"""A shortcut without parameters to a map of more channels and fewer places."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ChannelPad2d(nn.Module):
    """Every `stride`-th place, and `channels` new channels of zeros, half of them on either side.

    (B C H W) becomes (B C+channels H/stride W/stride), sides rounded up. He 2016, "Deep Residual Learning", option A.
    """

    def __init__(self, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.before, self.after = stride, channels // 2, channels - channels // 2

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H2 W2"]:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"{self.before + self.after}, stride={self.stride}"
