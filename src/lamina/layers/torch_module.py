"""Any torch module as a layer, and which of torch's own modules a JSON description can say by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lamina.core.errors import LaminaError
from lamina.layers.layer import Layer, snake_case
from lamina.layers.symbol import Op, Ref, Symbol

# Modules of torch.nn that are wholly said by these constructor arguments, each kept as an attribute of that name.
PLAIN: dict[type[nn.Module], tuple[str, ...]] = {
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.AdaptiveMaxPool2d: ("output_size",),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    nn.BatchNorm1d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.BatchNorm2d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.Conv2d: (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "bias",
        "padding_mode",
    ),
    nn.Dropout: ("p",),
    nn.Dropout2d: ("p",),
    nn.ELU: ("alpha",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.GELU: ("approximate",),
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
    nn.Hardswish: (),
    nn.Identity: (),
    nn.LeakyReLU: ("negative_slope",),
    nn.Linear: ("in_features", "out_features", "bias"),
    nn.LogSoftmax: ("dim",),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.Mish: (),
    nn.ReLU: (),
    nn.ReLU6: (),
    nn.SiLU: (),
    nn.Sigmoid: (),
    nn.Softmax: ("dim",),
    nn.Tanh: (),
    nn.ZeroPad2d: ("padding",),
}
PLAIN_NAMES = {kind.__name__: kind for kind in PLAIN}


@dataclass(frozen=True, eq=False, repr=False)
class Torch(Layer):
    """A torch module as a layer: Torch(module)(x), or Torch(module)([a, b]) for module(a, b).

    It keeps its weights, its name's keys, and torch's meaning; inside the network images are (C, H, W). It returns a
    tensor, or a tuple of tensors for a tuple of symbols.
    """

    module: nn.Module

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.module, nn.Module):
            raise LaminaError(
                f"layers.Torch got {type(self.module).__name__}.",
                "A torch.nn.Module is expected.",
                "Put the function into a small nn.Module: its forward calls the function.",
            )

    @property
    def stem(self) -> str:
        return snake_case(type(self.module).__name__)

    def build(self, *_: Symbol) -> dict[str, nn.Module]:
        return {"": self.module}

    def plan(self, *inputs: Symbol) -> tuple[Op, ...]:
        return (Op("", tuple(Ref(position) for position in range(len(inputs)))),)


def qualified_name(module: nn.Module) -> str:
    """The module's class with its package: "torch.nn.modules.linear.Linear"."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def plain_arguments(module: nn.Module) -> dict[str, Any] | None:
    """The constructor arguments of one of torch's own modules in the list above; None for any other module."""
    if type(module) not in PLAIN:
        return None
    arguments = {}
    for name in PLAIN[type(module)]:
        value = getattr(module, name)
        arguments[name] = value is not None if name == "bias" else value
    simple = all(_is_simple(value) for value in arguments.values())
    return arguments if simple else None


def _is_simple(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_simple(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float, str))
