"""Activations that torch.nn has no module for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Exponential(nn.Module):
    """e to the power of each entry."""

    def forward(self, inputs: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.exp(inputs)


class PReLU(nn.Module):
    """x where positive, a learned slope times x elsewhere, one slope per entry (He 2015, eq. 1).

    `sizes` are the sizes of the slopes without the batch, broadcast against the inputs; torch.nn.PReLU has one slope,
    or one per channel.
    """

    def __init__(self, sizes: tuple[int, ...], init: float = 0.25) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full(sizes, init))

    def forward(self, inputs: Float[Tensor, " B *S"]) -> Float[Tensor, " B *S"]:
        return F.relu(inputs) - self.weight * F.relu(-inputs)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}"
