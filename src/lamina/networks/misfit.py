"""Weights that do not fit a network: what is missing, what is too much, what has another shape, and why that may be."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core.errors import FileFormatError, LaminaError, listed

_COUNTER = "num_batches_tracked"
_ARGUMENTS = (
    "Build the network with the arguments that the weights were made with, and pass that: "
    "Classifier(networks.create(NAME, arguments={...}), pretrained=PATH)."
)
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Misfit:
    """Names of tensors that the state lacks, that it has too many, and that have another shape in it."""

    missing: Sequence[str]
    unexpected: Sequence[str]
    shapes: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)


def error(net: nn.Module, state: Mapping[str, Tensor], wrong: Misfit, source: str) -> FileFormatError:
    """The error that lists what does not fit, the first of each kind, and what it looks like."""
    own = net.state_dict()
    differ = [f"{key} {_written(state[key])} for {_written(own[key])}" for key in wrong.shapes]
    told = [
        f"{title}: {listed(names)}."
        for title, names in (("Missing", wrong.missing), ("Unexpected", wrong.unexpected), ("Of another shape", differ))
        if names
    ]
    made_of = (networks.architecture(net) or {}).get("name")
    return FileFormatError(
        f"The weights in {source} do not fit the network{f' {made_of!r}' if made_of else ''}.",
        " ".join(told),
        _hint(net, state, wrong),
    )


def _hint(net: nn.Module, state: Mapping[str, Tensor], wrong: Misfit) -> str:
    own = net.state_dict()
    keys = [*wrong.missing, *wrong.unexpected]
    for prefix in ("module.", "_orig_mod."):
        if wrong.unexpected and all(key.startswith(prefix) for key in state):
            return f"All names begin with {prefix!r}, which a wrapper put there: take it off."
    if wrong.shapes and not keys:
        mine, theirs = own[wrong.shapes[0]].shape, state[wrong.shapes[0]].shape
        if set(wrong.shapes) <= set(_of_classes(net)) and mine[:1] != theirs[:1] and mine[1:] == theirs[1:]:
            return (
                f"These are of a network with {theirs[0]:,} classes, and this one has {mine[0]:,}: build it with "
                f"num_classes={theirs[0]}, or let the class layers be new: Classifier(..., pretrained=PATH)."
            )
        if len(wrong.shapes) == 1 and len(mine) == len(theirs) == 4 and mine[1] != theirs[1]:
            return f"Its first convolution takes {theirs[1]} channels, and this one {mine[1]}: build it with in_channels={theirs[1]}."
    norms = {name for name, module in net.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    lost = [key for key in wrong.missing if key.rpartition(".")[0] in norms]
    extra = [key for key in wrong.unexpected if not key.endswith(".bias")]
    if lost and len(lost) == len(wrong.missing) and wrong.unexpected and not extra:
        return "It has no BatchNorm: that was folded into the convolutions before them, which have a bias. Take the weights from before."
    common = len(set(own) & set(state))
    if common < 0.9 * len(
        set(own) | set(state)
    ):  # else it is this network, but for a little; the search takes a second
        fits = _fitting(state)
        if fits is not None:
            return fits
    if not common:
        return "No name is in both: these are weights of another network, or of another library's form of it."
    return _ARGUMENTS


def _fitting(state: Mapping[str, Tensor]) -> str | None:
    """Which of the networks known by name has such tensors; None where none has."""
    given = {key: tuple(value.shape) for key, value in state.items() if not key.endswith(_COUNTER)}
    alike = None
    for name in networks.names():
        shapes, class_layers = _shapes(name)
        if shapes.keys() != given.keys():
            continue
        heads = [key for key in given if key.rpartition(".")[0] in class_layers]
        if all(given[key] == shapes[key] for key in given if key not in heads):
            classes = {given[key][0] for key in heads}
            return f"They are those of {name!r} with {', '.join(f'{count:,}' for count in sorted(classes))} classes: create that one."
        alike = alike or name
    return (
        None
        if alike is None
        else f"Their names are those of {alike!r}, in another width or for other pictures. {_ARGUMENTS}"
    )


@functools.cache
def _shapes(name: str) -> tuple[Shapes, tuple[str, ...]]:
    """The shapes of a network's tensors, and its class layers, without making any value."""
    with torch.device("meta"):
        net = networks.create(name)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items() if not key.endswith(_COUNTER)}
    return shapes, tuple(networks.class_layers(net))


def _of_classes(net: nn.Module) -> list[str]:
    """The tensors of the layers that give the classes."""
    try:
        layers = networks.class_layers(net)
    except LaminaError:  # a network of somebody's own, without any
        return []
    return [key for key in net.state_dict() if key.rpartition(".")[0] in layers]


def _written(value: Any) -> str:
    return str(tuple(value.shape)).replace(",)", ")")
