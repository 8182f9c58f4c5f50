"""Arithmetic on pixel values: scaling them, and noise on them in training."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Rescaling(nn.Module):
    """inputs * scale + offset, as floats (uint8 images come out as float32)."""

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = float(scale), float(offset)

    def forward(self, inputs: Tensor) -> Float[Tensor, "*S"]:
        scaled = inputs * self.scale
        return scaled + self.offset if self.offset else scaled

    def extra_repr(self) -> str:
        return f"scale={self.scale}, offset={self.offset}"


class GaussianNoise(nn.Module):
    """Adds normal noise of standard deviation `stddev` in training, nothing in evaluation."""

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = float(stddev)

    def forward(self, inputs: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return inputs + torch.randn_like(inputs) * self.stddev if self.training else inputs

    def extra_repr(self) -> str:
        return f"stddev={self.stddev}"
