"""Activation functions by name, as torch modules, and the layers that are one activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from lamina import nn as lamina_nn
from lamina.core.errors import LaminaError, unknown_name
from lamina.layers import initializers, regularizers
from lamina.layers.initializers import Initializer
from lamina.layers.layer import Layer
from lamina.layers.regularizers import Regularizer
from lamina.layers.symbol import Symbol

Activation_ = str | Callable[..., Any] | None

# By name; those that need an axis get the one of the channels inside the network.
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "elu": lambda _: nn.ELU(),
    "exponential": lambda _: lamina_nn.Exponential(),
    "gelu": lambda _: nn.GELU(),
    "hard_sigmoid": lambda _: nn.Hardsigmoid(),
    "hard_silu": lambda _: nn.Hardswish(),
    "hard_swish": lambda _: nn.Hardswish(),
    "leaky_relu": lambda _: nn.LeakyReLU(0.2),  # Keras's function has 0.2, its layer 0.3
    "linear": lambda _: nn.Identity(),
    "log_softmax": lambda axis: nn.LogSoftmax(axis),
    "mish": lambda _: nn.Mish(),
    "relu": lambda _: nn.ReLU(),
    "relu6": lambda _: nn.ReLU6(),
    "selu": lambda _: nn.SELU(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "silu": lambda _: nn.SiLU(),
    "softmax": lambda axis: nn.Softmax(axis),
    "softplus": lambda _: nn.Softplus(),
    "softsign": lambda _: nn.Softsign(),
    "swish": lambda _: nn.SiLU(),
    "tanh": lambda _: nn.Tanh(),
}
FUNCTIONS: dict[Callable[..., Any], str] = {
    torch.relu: "relu",
    torch.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    torch.exp: "exponential",
    F.relu: "relu",
    F.relu6: "relu6",
    F.elu: "elu",
    F.selu: "selu",
    F.gelu: "gelu",
    F.silu: "silu",
    F.mish: "mish",
    F.softplus: "softplus",
    F.softsign: "softsign",
    F.hardsigmoid: "hard_sigmoid",
    F.hardswish: "hard_swish",
    F.sigmoid: "sigmoid",
    F.tanh: "tanh",
}


def name_of(activation: Activation_) -> str | None:
    """The name of an activation given by name or as one of torch's functions; None for none and "linear"."""
    if activation is None or activation == "linear":
        return None
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        return activation
    if callable(activation) and not isinstance(activation, nn.Module) and activation in FUNCTIONS:
        return FUNCTIONS[activation]
    raise LaminaError(
        f"The activation {activation!r} is not in the list of activations.",
        f"A name is expected ({', '.join(ACTIVATIONS)}), or torch's function of that name.",
        "Put any other one after the layer, as layers.Torch(module).",
    )


def siblings(activation: Activation_, axis: int) -> dict[str, nn.Module]:
    """The module that follows a layer with this activation: {"_relu": nn.ReLU()}, or nothing."""
    name = name_of(activation)
    return {} if name is None else {f"_{name}": ACTIVATIONS[name](axis)}


@dataclass(frozen=True, eq=False, repr=False)
class Activation(Layer):
    """An activation function by name. "softmax" runs over the channels (the last axis of what is no image)."""

    activation: str | Callable[..., Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("activation", name_of(self.activation) or "linear")

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        return {"": ACTIVATIONS[str(self.activation)](inputs[0].channel_axis)}


@dataclass(frozen=True, eq=False, repr=False)
class ReLU(Layer):
    """x where it is above `threshold`, at most `max_value`; elsewhere `negative_slope` times x - threshold."""

    max_value: float | None = None
    negative_slope: float = 0.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold < 0 or (self.threshold and self.negative_slope):
            raise LaminaError(
                f"ReLU got threshold={self.threshold} and negative_slope={self.negative_slope}.",
                "A threshold of 0 or more was expected, and one of the two.",
                "Leave one out, or write a torch module and put it in by layers.Torch.",
            )

    def build(self, *_: Symbol) -> dict[str, nn.Module]:
        if self.threshold:
            above = nn.Threshold(self.threshold, 0.0)
            return {"": above} | ({} if self.max_value is None else {"_clip": nn.Hardtanh(0.0, float(self.max_value))})
        if self.negative_slope == 0.0:
            if self.max_value is None:
                return {"": nn.ReLU()}
            return {"": nn.ReLU6() if self.max_value == 6.0 else nn.Hardtanh(0.0, float(self.max_value))}
        slope = nn.LeakyReLU(self.negative_slope)
        if self.max_value is None:
            return {"": slope}
        return {"": slope, "_clip": nn.Hardtanh(float("-inf"), float(self.max_value))}


@dataclass(frozen=True, eq=False, repr=False)
class LeakyReLU(Layer):
    """x where positive, `negative_slope` times x elsewhere; `alpha` is what Keras 2 called it."""

    negative_slope: float = 0.3
    alpha: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None:
            self._set("negative_slope", self.alpha)
            self._set("alpha", None)

    def build(self, *_: Symbol) -> dict[str, nn.Module]:
        return {"": nn.LeakyReLU(self.negative_slope)}


@dataclass(frozen=True, eq=False, repr=False)
class PReLU(Layer):
    """x where positive, a learned slope times x elsewhere (He 2015): one per entry, or one along `shared_axes`."""

    alpha_initializer: str | Initializer = "zeros"
    alpha_regularizer: str | Regularizer | None = None
    shared_axes: tuple[int, ...] | int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        initializers.get(self.alpha_initializer)
        regularizers.get(self.alpha_regularizer)
        if isinstance(self.shared_axes, list):
            self._set("shared_axes", tuple(self.shared_axes))

    @property
    def penalties(self) -> dict[str, Regularizer]:
        return regularizers.of({".weight": self.alpha_regularizer})

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        given = () if self.shared_axes is None else self.shared_axes
        shared = {x.axis(axis) for axis in ((given,) if isinstance(given, int) else given)}
        sizes = [1 if axis in shared else size for axis, size in enumerate(x.sizes, start=1)]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            raise self.expects(x, "A slope per entry needs known sizes.", "Name the open axes in shared_axes.")
        # torch's own module has one slope, or one per entry of axis 1
        module = lamina_nn.PReLU(tuple(known)) if max(known[1:], default=1) > 1 else nn.PReLU(known[0])
        initializers.fill(self.alpha_initializer, module.weight)
        return {"": module}


@dataclass(frozen=True, eq=False, repr=False)
class Softmax(Layer):
    """Exponentials that sum to 1 along `axis`; by default the channels (the last axis of what is no image)."""

    axis: int | None = None

    def build(self, *inputs: Symbol) -> dict[str, nn.Module]:
        (x,) = inputs
        return {"": nn.Softmax(x.channel_axis if self.axis is None else x.axis(self.axis))}
