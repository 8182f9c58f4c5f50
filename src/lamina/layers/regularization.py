"""Layers that act in training only, and the scaling of pixels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lamina import nn as lamina_nn
from lamina.layers.arguments import fraction, refuse
from lamina.layers.convolution import image_channels
from lamina.layers.layer import Layer
from lamina.layers.symbol import Symbol


@dataclass(frozen=True, eq=False, repr=False)
class Dropout(Layer):
    """Sets a `rate` of the entries to 0 in training and scales the rest by 1 / (1 - rate) (Srivastava 2014)."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction(self, rate=self.rate)

    def build(self, *_: Symbol) -> dict[str, nn.Module]:
        return {"": nn.Dropout(self.rate)}


@dataclass(frozen=True, eq=False, repr=False)
class SpatialDropout2D(Layer):
    """Sets a `rate` of whole channels to 0 in training and scales the rest by 1 / (1 - rate) (Tompson 2014)."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction(self, rate=self.rate)

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        image_channels(self, inputs[0])
        return {"": nn.Dropout2d(self.rate)}


@dataclass(frozen=True, eq=False, repr=False)
class GaussianNoise(Layer):
    """Adds normal noise of standard deviation `stddev` in training."""

    stddev: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.stddev, bool) or not isinstance(self.stddev, (int, float)) or self.stddev < 0:
            refuse(self, "stddev", self.stddev, "A number of at least 0 is expected.", "Write for example stddev=0.1.")

    def build(self, *_: Symbol) -> dict[str, nn.Module]:
        return {"": lamina_nn.GaussianNoise(self.stddev)}


@dataclass(frozen=True, eq=False, repr=False)
class Rescaling(Layer):
    """inputs * scale + offset, as floats: Rescaling(1 / 255) takes pixels to 0..1."""

    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                refuse(self, name, value, "A number is expected.", "Write for example layers.Rescaling(1 / 255).")

    def build(self, *_: Symbol) -> dict[str, nn.Module]:
        return {"": lamina_nn.Rescaling(self.scale, self.offset)}
