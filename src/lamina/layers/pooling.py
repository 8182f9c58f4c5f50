"""Pooling: windows of pixels, or all of them, become one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lamina import nn as lamina_nn
from lamina.layers import arguments
from lamina.layers.arguments import Padding, Pair
from lamina.layers.convolution import as_pair, image_channels
from lamina.layers.layer import Layer
from lamina.layers.symbol import Symbol


@dataclass(frozen=True, eq=False, repr=False)
class _Pooling(Layer):
    pool_size: int | Pair = 2
    strides: int | Pair | None = None
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("pool_size", arguments.pair(self, "pool_size", self.pool_size))
        if self.strides is not None:
            self._set("strides", arguments.pair(self, "strides", self.strides))
        self._set("padding", arguments.padding(self, self.padding))

    def windows(self) -> tuple[Pair, Pair, Pair | None, bool]:
        """Size and stride of the windows, torch's padding (None: it has no word for it), and torch's ceil_mode."""
        size = as_pair(self.pool_size)
        stride = size if self.strides is None else as_pair(self.strides)
        if isinstance(self.padding, (int, tuple)):
            return size, stride, as_pair(self.padding), False
        if self.padding == "valid":
            return size, stride, (0, 0), False
        if stride == (1, 1) and size[0] % 2 and size[1] % 2:
            return size, stride, (size[0] // 2, size[1] // 2), False
        if size == stride and max(size) <= 2:  # at most one pixel lacks, and it lacks at the end
            return size, stride, (0, 0), True
        return size, stride, None, False


@dataclass(frozen=True, eq=False, repr=False)
class MaxPooling2D(_Pooling):
    """The maximum of each window; `strides` defaults to the window's size. Padding never wins the maximum."""

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        image_channels(self, inputs[0])
        size, stride, pads, ceil = self.windows()
        if pads is None:
            pad = lamina_nn.SamePad2d(size, stride=stride, value=float("-inf"))
            return {"_pad": pad, "": lamina_nn.MaxPool2d(size, stride)}
        return {"": lamina_nn.MaxPool2d(size, stride, pads, ceil_mode=ceil)}


@dataclass(frozen=True, eq=False, repr=False)
class AveragePooling2D(_Pooling):
    """The mean of each window; pixels that "same" adds are not counted (those of a number are, as in torch)."""

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        image_channels(self, inputs[0])
        size, stride, pads, ceil = self.windows()
        if pads is None:
            return {"": lamina_nn.SameAvgPool2d(size, stride=stride)}
        return {"": nn.AvgPool2d(size, stride, pads, ceil_mode=ceil, count_include_pad=self.padding != "same")}


@dataclass(frozen=True, eq=False, repr=False)
class GlobalAveragePooling2D(Layer):
    """The mean of each channel over all pixels: (C,), or (C, 1, 1) with `keepdims`."""

    keepdims: bool = False

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        image_channels(self, inputs[0])
        return {"": lamina_nn.GlobalAvgPool2d(self.keepdims)}


@dataclass(frozen=True, eq=False, repr=False)
class GlobalMaxPooling2D(Layer):
    """The maximum of each channel over all pixels: (C,), or (C, 1, 1) with `keepdims`."""

    keepdims: bool = False

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        image_channels(self, inputs[0])
        return {"": lamina_nn.GlobalMaxPool2d(self.keepdims)}
