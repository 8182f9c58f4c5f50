"""Normalisations. `axis` defaults to the channels: axis 1 of images in torch's layout, the last axis elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from lamina import nn as lamina_nn
from lamina.core.errors import ShapeError
from lamina.layers import initializers, regularizers
from lamina.layers.arguments import fraction, positive
from lamina.layers.initializers import Initializer
from lamina.layers.layer import Layer
from lamina.layers.regularizers import Regularizer
from lamina.layers.symbol import Symbol


@dataclass(frozen=True, eq=False, repr=False)
class BatchNormalization(Layer):
    """Mean 0 and variance 1 of each channel over batch and pixels (Ioffe & Szegedy 2015), then a scale and an offset.

    In evaluation with moving averages, moving = momentum * moving + (1 - momentum) * batch: Keras's momentum, 1 - torch's.
    """

    axis: int | None = None
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: str | Initializer = field(default="zeros", kw_only=True)
    gamma_initializer: str | Initializer = field(default="ones", kw_only=True)
    beta_regularizer: str | Regularizer | None = field(default=None, kw_only=True)
    gamma_regularizer: str | Regularizer | None = field(default=None, kw_only=True)
    moving_mean_initializer: str | Initializer = field(default="zeros", kw_only=True)
    moving_variance_initializer: str | Initializer = field(default="ones", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction(self, momentum=self.momentum)
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            initializers.get(self.fields[f"{name}_initializer"])
        regularizers.get(self.beta_regularizer)
        regularizers.get(self.gamma_regularizer)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.gamma_regularizer, ".bias": self.beta_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        axis = channel_axis(self, x, self.axis)
        channels = known_size(self, x, axis)
        kind = lamina_nn.BiasedBatchNorm2d if x.rank == 4 else lamina_nn.BiasedBatchNorm1d
        if x.rank not in (2, 3, 4):
            raise self.expects(x, "One, two or three axes beside the batch are expected.", "Use layers.Reshape first.")
        norm = kind(channels, eps=self.epsilon, momentum=1.0 - self.momentum)
        _scale_and_offset(norm, self.scale and self.gamma_initializer, self.center and self.beta_initializer)
        for values, spec in (
            (norm.running_mean, self.moving_mean_initializer),
            (norm.running_var, self.moving_variance_initializer),
        ):
            if values is not None:
                initializers.fill(spec, values)
        return around(norm, x, axis, to=1)


@dataclass(frozen=True, eq=False, repr=False)
class LayerNormalization(Layer):
    """Mean 0 and variance 1 of each sample over `axis` (one or several), then a scale and an offset (Ba 2016)."""

    axis: int | Sequence[int] | None = None
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: str | Initializer = field(default="zeros", kw_only=True)
    gamma_initializer: str | Initializer = field(default="ones", kw_only=True)
    beta_regularizer: str | Regularizer | None = field(default=None, kw_only=True)
    gamma_regularizer: str | Regularizer | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axis is not None and not isinstance(self.axis, int):
            self._set("axis", tuple(self.axis))
        initializers.get(self.beta_initializer)
        initializers.get(self.gamma_initializer)
        regularizers.get(self.beta_regularizer)
        regularizers.get(self.gamma_regularizer)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.gamma_regularizer, ".bias": self.beta_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        if self.axis is None:
            axes = [x.channel_axis]
        else:
            given = (self.axis,) if isinstance(self.axis, int) else self.axis
            axes = [x.axis(axis) for axis in given]
        sizes = [known_size(self, x, axis) for axis in axes]
        norm = nn.LayerNorm(sizes, eps=self.epsilon)
        _scale_and_offset(norm, self.scale and self.gamma_initializer, self.center and self.beta_initializer)
        order = [axis for axis in range(x.rank) if axis not in axes] + axes
        return permuted(norm, order)


@dataclass(frozen=True, eq=False, repr=False)
class GroupNormalization(Layer):
    """Mean 0 and variance 1 of each sample over pixels and a group of channels (Wu & He 2018); groups=-1: one each."""

    groups: int = 32
    axis: int | None = None
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: str | Initializer = field(default="zeros", kw_only=True)
    gamma_initializer: str | Initializer = field(default="ones", kw_only=True)
    beta_regularizer: str | Regularizer | None = field(default=None, kw_only=True)
    gamma_regularizer: str | Regularizer | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups != -1:
            positive(self, groups=self.groups)
        initializers.get(self.beta_initializer)
        initializers.get(self.gamma_initializer)
        regularizers.get(self.beta_regularizer)
        regularizers.get(self.gamma_regularizer)

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.gamma_regularizer, ".bias": self.beta_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        axis = channel_axis(self, x, self.axis)
        channels = known_size(self, x, axis)
        groups = channels if self.groups == -1 else self.groups
        if channels % groups:
            raise self.expects(
                x, f"groups={groups} must divide the {channels} channels.", f"Write groups={_divisor(channels)}."
            )
        norm = nn.GroupNorm(groups, channels, eps=self.epsilon)
        _scale_and_offset(norm, self.scale and self.gamma_initializer, self.center and self.beta_initializer)
        return around(norm, x, axis, to=1)


@dataclass(frozen=True, eq=False, repr=False)
class LocalResponseNormalization(Layer):
    """x / (k + alpha / size * sum of squares over `size` neighbouring channels) ** beta: torch.nn.LocalResponseNorm."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, size=self.size)

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        norm = nn.LocalResponseNorm(self.size, self.alpha, self.beta, self.k)
        return around(norm, x, x.channel_axis, to=1)


def channel_axis(layer: Layer, x: Symbol, axis: int | None) -> int:
    """The axis inside the network that `axis` means, refusing rows and columns of images: nobody means them."""
    if axis is None:
        return x.channel_axis
    inside = x.axis(axis)
    if x.rank == 4 and inside != 1:
        right = "-1" if x.data_format == "channels_last" else "1"
        raise ShapeError(
            f"{layer.label((x,))} got axis={axis}, which are rows or columns of images of shape {x.shape}.",
            f"The channels are axis {right} here ({x.data_format}).",
            "Leave axis out, or give layers.Input data_format='channels_last' if images are (height, width, channels).",
        )
    return inside


def known_size(layer: Layer, x: Symbol, axis: int) -> int:
    """The size of an axis inside the network, or the error that it is open."""
    size = x.sizes[axis - 1]
    if size is None:
        raise layer.expects(x, "The normalised axis must have a known size.", "Write it in the shape of layers.Input.")
    return size


def around(module: nn.Module, x: Symbol, axis: int, *, to: int) -> dict[str, nn.Module]:
    """The module with `axis` moved to axis `to` before it and back after it, where it is not there already."""
    order = [other for other in range(x.rank) if other != axis]
    order.insert(to, axis)
    return permuted(module, order)


def permuted(module: nn.Module, order: Sequence[int]) -> dict[str, nn.Module]:
    """The module on axes in that order, and the axes put back after it; the bare module if the order is the plain one."""
    if list(order) == sorted(order):
        return {"": module}
    back = tuple(list(order).index(axis) for axis in range(len(order)))
    return {"_to": lamina_nn.Permute(tuple(order)), "": module, "_back": lamina_nn.Permute(back)}


def _scale_and_offset(norm: nn.Module, gamma: str | Initializer | bool, beta: str | Initializer | bool) -> None:
    """Fills weight and bias, or takes away what is switched off (torch's kernels know None for either)."""
    for name, spec in (("weight", gamma), ("bias", beta)):
        if isinstance(spec, bool):
            norm.register_parameter(name, None)
        else:
            initializers.fill(spec, norm.get_parameter(name))


def _divisor(channels: int) -> int:
    return next(groups for groups in range(min(32, channels), 0, -1) if channels % groups == 0)
