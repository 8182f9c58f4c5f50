"""Layers that move, cut, add or repeat entries and learn nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from lamina import nn as lamina_nn
from lamina.layers import arguments
from lamina.layers.arguments import Pair
from lamina.layers.convolution import as_pair, image_channels
from lamina.layers.inputs import channels_last_error, looks_channels_last
from lamina.layers.layer import Layer
from lamina.layers.symbol import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, Symbol, shown


@dataclass(frozen=True, eq=False, repr=False)
class Flatten(Layer):
    """All entries of a sample in one axis, in the order of the user's data format."""

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        order = {"_to_last": lamina_nn.Permute(TO_CHANNELS_LAST)} if inputs[0].permuted else {}
        return {**order, "": nn.Flatten()}


@dataclass(frozen=True, eq=False, repr=False)
class Reshape(Layer):
    """The same entries in another shape (without the batch); one size may be -1. Order is the user's data format's."""

    target_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = tuple(self.target_shape)
        self._set("target_shape", sizes)
        if sum(size == -1 for size in sizes) > 1 or not all(size == -1 or arguments.is_count(size) for size in sizes):
            arguments.refuse(
                self,
                "target_shape",
                sizes,
                "Positive integers are expected, at most one of them -1 (what is left).",
                "Write for example target_shape=(1, 28, 28).",
            )

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        sizes = self.target_shape
        if x.data_format == "channels_first" and looks_channels_last(sizes):
            raise channels_last_error(self.label(inputs), sizes)
        known = math.prod(size for size in sizes if size != -1)
        if None not in x.sizes:
            entries = math.prod(size for size in x.sizes if size is not None)
            if entries % known if -1 in sizes else entries != known:
                raise self.expects(
                    x,
                    f"It has {entries} entries, and {shown(sizes)} cannot hold exactly these.",
                    "Change target_shape; one size may be -1.",
                )
        modules: dict[str, nn.Module] = {"_to_last": lamina_nn.Permute(TO_CHANNELS_LAST)} if x.permuted else {}
        modules[""] = lamina_nn.Reshape(sizes)
        if x.data_format == "channels_last" and len(sizes) == 3:
            modules["_to_first"] = lamina_nn.Permute(TO_CHANNELS_FIRST)
        return modules


@dataclass(frozen=True, eq=False, repr=False)
class Permute(Layer):
    """The axes in another order; `dims` counts from 1, the batch being 0: (2, 1) swaps two axes."""

    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("dims", tuple(self.dims))
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            arguments.refuse(
                self, "dims", self.dims, "Each of 1, 2, ... once is expected.", "Write for example dims=(2, 1)."
            )

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        if len(self.dims) != len(x.sizes):
            raise self.expects(
                x, f"dims={self.dims} orders {len(self.dims)} axes.", "Give as many dims as the shape has axes."
            )
        order = (0, *self.dims)
        if x.permuted:  # out to the user's order, his permutation, and back, as one
            order = tuple(TO_CHANNELS_LAST[order[axis]] for axis in TO_CHANNELS_FIRST)
        return {"": lamina_nn.Permute(order)}


@dataclass(frozen=True, eq=False, repr=False)
class ZeroPadding2D(Layer):
    """Zeros around images: one number, (rows, columns), or ((top, bottom), (left, right))."""

    padding: int | tuple[Any, Any] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("padding", _sides(self, "padding", self.padding))

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        image_channels(self, inputs[0])
        (top, bottom), (left, right) = _sides(self, "padding", self.padding)
        return {"": nn.ZeroPad2d((left, right, top, bottom))}


@dataclass(frozen=True, eq=False, repr=False)
class Cropping2D(Layer):
    """Pixels cut off images: one number, (rows, columns), or ((top, bottom), (left, right))."""

    cropping: int | tuple[Any, Any] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("cropping", _sides(self, "cropping", self.cropping))

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        image_channels(self, x)
        sides = _sides(self, "cropping", self.cropping)
        if any(size is not None and sum(cut) >= size for size, cut in zip(x.sizes[1:], sides, strict=True)):
            raise self.expects(x, f"cropping={sides} leaves no pixel.", "Cut off less.")
        (top, bottom), (left, right) = sides
        return {"": nn.ZeroPad2d((-left, -right, -top, -bottom))}


@dataclass(frozen=True, eq=False, repr=False)
class UpSampling2D(Layer):
    """Images `size` times as large; interpolation "nearest" or "bilinear" (between pixel centres)."""

    size: int | Pair = 2
    interpolation: str = "nearest"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("size", arguments.pair(self, "size", self.size))
        if self.interpolation not in ("nearest", "bilinear"):
            arguments.refuse(
                self,
                "interpolation",
                self.interpolation,
                '"nearest" or "bilinear" is expected.',
                'Write interpolation="bilinear", or wrap torch.nn.Upsample in layers.Torch for another one.',
            )

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        image_channels(self, inputs[0])
        rows, columns = as_pair(self.size)
        corners = False if self.interpolation == "bilinear" else None
        factor = (float(rows), float(columns))
        return {"": nn.Upsample(scale_factor=factor, mode=self.interpolation, align_corners=corners)}


def _sides(layer: Layer, argument: str, value: Any) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) of any of the three ways to write it."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, (tuple, list)) for v in value):
        rows, columns = (arguments.pair(layer, argument, entry, least=0) for entry in value)
        return rows, columns
    across, along = arguments.pair(layer, argument, value, least=0)
    return (across, across), (along, along)
