"""Convolutions: plain, transposed, per channel, and per channel then across channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from lamina import nn as lamina_nn
from lamina.layers import activations, arguments, initializers, regularizers
from lamina.layers.arguments import Padding, Pair
from lamina.layers.initializers import Initializer
from lamina.layers.layer import Layer
from lamina.layers.regularizers import Regularizer
from lamina.layers.symbol import Symbol


@dataclass(frozen=True, eq=False, repr=False)
class _Convolution(Layer):
    """What all convolutions share. Padding is "valid", "same" (Keras's meaning, also with a stride) or pixels a side."""

    activation: str | Callable[..., Any] | None = field(default=None, kw_only=True)
    use_bias: bool = field(default=True, kw_only=True)
    bias_initializer: str | Initializer = field(default="zeros", kw_only=True)
    bias_regularizer: str | Regularizer | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("activation", activations.name_of(self.activation))
        for name, value in self.fields.items():
            if name in ("kernel_size", "strides", "dilation_rate"):
                self._set(name, arguments.pair(self, name, value))
            elif name == "padding":
                self._set(name, arguments.padding(self, value))
            elif name in ("filters", "groups", "depth_multiplier"):
                arguments.positive(self, **{name: value})
            elif name.endswith("_initializer"):
                initializers.get(value)
            elif name.endswith("_regularizer"):
                regularizers.get(value)

    def followed(self, x: Symbol, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """The modules, and the activation after them."""
        return {**modules, **activations.siblings(self.activation, x.channel_axis)}


@dataclass(frozen=True, eq=False, repr=False)
class Conv2D(_Convolution):
    """Cross-correlation of images (C, H, W) with `filters` kernels, then the activation. Builds nn.Conv2d."""

    filters: int
    kernel_size: int | Pair
    strides: int | Pair = 1
    padding: Padding = "valid"
    dilation_rate: int | Pair = field(default=1, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    kernel_initializer: str | Initializer = field(default="glorot_uniform", kw_only=True)
    kernel_regularizer: str | Regularizer | None = field(default=None, kw_only=True)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.kernel_regularizer, ".bias": self.bias_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        channels = image_channels(self, x)
        if channels % self.groups or self.filters % self.groups:
            raise self.expects(
                x,
                f"groups={self.groups} must divide the {channels} channels that come in and the {self.filters} filters.",
                "Change groups or filters.",
            )
        modules, pads = window(self.kernel_size, self.strides, self.dilation_rate, self.padding)
        convolution = lamina_nn.Conv2d(
            channels,
            self.filters,
            as_pair(self.kernel_size),
            as_pair(self.strides),
            pads,
            as_pair(self.dilation_rate),
            self.groups,
            self.use_bias,
        )
        initializers.fill(self.kernel_initializer, convolution.weight)
        if convolution.bias is not None:
            initializers.fill(self.bias_initializer, convolution.bias)
        return self.followed(x, {**modules, "": convolution})


@dataclass(frozen=True, eq=False, repr=False)
class DepthwiseConv2D(_Convolution):
    """`depth_multiplier` kernels for each channel on its own, then the activation. Builds a grouped nn.Conv2d."""

    kernel_size: int | Pair
    strides: int | Pair = 1
    padding: Padding = "valid"
    depth_multiplier: int = 1
    dilation_rate: int | Pair = field(default=1, kw_only=True)
    depthwise_initializer: str | Initializer = field(default="glorot_uniform", kw_only=True)
    depthwise_regularizer: str | Regularizer | None = field(default=None, kw_only=True)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.depthwise_regularizer, ".bias": self.bias_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        modules, convolution = depthwise(self, x, use_bias=self.use_bias)
        if convolution.bias is not None:
            initializers.fill(self.bias_initializer, convolution.bias)
        return self.followed(x, {**modules, "": convolution})


@dataclass(frozen=True, eq=False, repr=False)
class SeparableConv2D(_Convolution):
    """A kernel for each channel on its own, then 1x1 across channels (Chollet 2016); keys NAME_depthwise, NAME_pointwise."""

    filters: int
    kernel_size: int | Pair
    strides: int | Pair = 1
    padding: Padding = "valid"
    dilation_rate: int | Pair = field(default=1, kw_only=True)
    depth_multiplier: int = field(default=1, kw_only=True)
    depthwise_initializer: str | Initializer = field(default="glorot_uniform", kw_only=True)
    pointwise_initializer: str | Initializer = field(default="glorot_uniform", kw_only=True)
    depthwise_regularizer: str | Regularizer | None = field(default=None, kw_only=True)
    pointwise_regularizer: str | Regularizer | None = field(default=None, kw_only=True)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of(
            {
                "_depthwise.weight": self.depthwise_regularizer,
                "_pointwise.weight": self.pointwise_regularizer,
                "_pointwise.bias": self.bias_regularizer,
            }
        )

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        modules, first = depthwise(self, x, use_bias=False)
        second = nn.Conv2d(first.out_channels, self.filters, 1, bias=self.use_bias)
        initializers.fill(self.pointwise_initializer, second.weight)
        if second.bias is not None:
            initializers.fill(self.bias_initializer, second.bias)
        return self.followed(x, {**modules, "_depthwise": first, "_pointwise": second})


@dataclass(frozen=True, eq=False, repr=False)
class Conv2DTranspose(_Convolution):
    """The gradient of a convolution with respect to its images, used forwards. Builds nn.ConvTranspose2d.

    "same" gives size * stride pixels, "valid" size * stride + max(kernel - stride, 0); with `output_padding` the size
    is (size - 1) * stride + kernel - 2 * padding + output_padding, padding being kernel // 2 or 0.
    """

    filters: int
    kernel_size: int | Pair
    strides: int | Pair = 1
    padding: Padding = "valid"
    output_padding: int | Pair | None = field(default=None, kw_only=True)
    dilation_rate: int | Pair = field(default=1, kw_only=True)
    kernel_initializer: str | Initializer = field(default="glorot_uniform", kw_only=True)
    kernel_regularizer: str | Regularizer | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output_padding is not None:
            self._set("output_padding", arguments.pair(self, "output_padding", self.output_padding, least=0))

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.kernel_regularizer, ".bias": self.bias_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        channels = image_channels(self, x)
        rows, columns = (self._axis(axis) for axis in (0, 1))
        convolution = nn.ConvTranspose2d(
            channels,
            self.filters,
            as_pair(self.kernel_size),
            as_pair(self.strides),
            padding=(rows[0], columns[0]),
            output_padding=(rows[1], columns[1]),
            bias=self.use_bias,
            dilation=as_pair(self.dilation_rate),
        )
        initializers.fill(self.kernel_initializer, convolution.weight)
        if convolution.bias is not None:
            initializers.fill(self.bias_initializer, convolution.bias)
        modules: dict[str, nn.Module] = {"": convolution}
        if rows[2] or columns[2]:  # an odd number of pixels to take away: the last one goes after torch's equal crop
            modules["_crop"] = nn.ZeroPad2d((0, -columns[2], 0, -rows[2]))
        return self.followed(x, modules)

    def _axis(self, axis: int) -> tuple[int, int, int]:
        """torch's padding and output_padding of that axis, and the pixels to cut off its end."""
        stride, dilation = as_pair(self.strides)[axis], as_pair(self.dilation_rate)[axis]
        kernel = (as_pair(self.kernel_size)[axis] - 1) * dilation + 1
        if isinstance(self.padding, tuple) or self.output_padding is not None:
            extra = 0 if self.output_padding is None else as_pair(self.output_padding)[axis]
            pads = kernel // 2 if self.padding == "same" else 0
            return (self.padding[axis] if isinstance(self.padding, tuple) else pads), extra, 0
        if kernel < stride:
            return 0, stride - kernel, 0
        excess = kernel - stride if self.padding == "same" else 0
        return excess // 2, 0, excess % 2


def as_pair(value: int | Pair) -> Pair:
    """One integer for both axes, or the two as they are."""
    return (value, value) if isinstance(value, int) else value


def image_channels(layer: Layer, x: Symbol) -> int:
    """The number of channels of an image symbol; the error where it is no image, or its channels are open."""
    if x.rank != 4:
        raise layer.expects(
            x,
            "An image is expected: channels, height and width.",
            "Put layers.Reshape before this layer, or move it before layers.Flatten.",
        )
    channels = x.sizes[0]
    if channels is None:
        raise layer.expects(x, "The number of channels must be known.", "Write it in the shape of layers.Input.")
    return channels


def window(
    kernel_size: int | Pair, strides: int | Pair, dilation_rate: int | Pair, padding: Padding
) -> tuple[dict[str, nn.Module], Pair]:
    """A padding module where torch's own padding cannot say it (else none), and torch's padding."""
    kernel, stride, dilation = as_pair(kernel_size), as_pair(strides), as_pair(dilation_rate)
    if isinstance(padding, (int, tuple)):
        return {}, as_pair(padding)
    if padding == "valid":
        return {}, (0, 0)
    totals = [(size - 1) * rate for size, rate in zip(kernel, dilation, strict=True)]
    if stride == (1, 1) and all(total % 2 == 0 for total in totals):
        return {}, (totals[0] // 2, totals[1] // 2)
    if kernel == (1, 1):  # a window of one pixel never leaves the image
        return {}, (0, 0)
    return {"_pad": lamina_nn.SamePad2d(kernel, stride=stride, dilation=dilation)}, (0, 0)


def depthwise(
    layer: DepthwiseConv2D | SeparableConv2D, x: Symbol, *, use_bias: bool
) -> tuple[dict[str, nn.Module], nn.Conv2d]:
    """The padding and the grouped convolution, filled with Keras's fans: its kernel is (h, w, channels, multiplier)."""
    channels, kernel = image_channels(layer, x), as_pair(layer.kernel_size)
    modules, pads = window(kernel, layer.strides, layer.dilation_rate, layer.padding)
    convolution = nn.Conv2d(
        channels,
        channels * layer.depth_multiplier,
        kernel,
        as_pair(layer.strides),
        pads,
        as_pair(layer.dilation_rate),
        groups=channels,
        bias=use_bias,
    )
    area = math.prod(kernel)
    fans = (channels * area, layer.depth_multiplier * area)
    initializers.fill(layer.depthwise_initializer, convolution.weight, fans)
    return modules, convolution
