"""Names of the layers of a graph: the user's where given, else the layer's kind and a number, as in Keras."""

from __future__ import annotations

import keyword
from collections.abc import Iterable

from torch import fx, nn

from lamina.core.errors import LaminaError
from lamina.layers.inputs import InputLayer
from lamina.layers.layer import Layer

# What a network's own attributes are called: a layer of that name would hide the network's method.
RESERVED = frozenset(
    {*dir(fx.GraphModule(nn.Module(), fx.Graph())), *dir(nn.Sequential()), "self", "torch", "channels_first"}
    | {"channels_last", *keyword.kwlist}
)


def assign(layers: Iterable[Layer]) -> dict[Layer, str]:
    """A unique name for each layer, the given ones kept; depends on the order alone, so equal code gives equal keys.

    Raises LaminaError for a name that two layers have, that a network's own attribute has, or that cannot be a key.
    """
    taken: dict[str, Layer] = {}
    names: dict[Layer, str] = {}
    ordered = list(layers)
    for layer in ordered:
        name = layer.given_name
        if name is not None:
            _check(name, layer)
            for key in keys(layer, name):
                if key in taken:
                    raise _duplicate(name, key, layer, taken[key])
                taken[key] = layer
            names[layer] = name
    for layer in ordered:
        if layer not in names:
            name, number = layer.stem, 0
            _check_key(name, layer)  # a model used as a layer brings its own name
            while any(key in taken or key in RESERVED for key in keys(layer, name)):
                number += 1
                name = f"{layer.stem}_{number}"
            taken.update(dict.fromkeys(keys(layer, name), layer))
            names[layer] = name
            layer.join(name)
    return {layer: names[layer] for layer in ordered}


def keys(layer: Layer, name: str) -> list[str]:
    """What a layer of that name takes: the name, and the keys of its modules in the network."""
    return list(dict.fromkeys([name, *(name + suffix for suffix in layer.modules)]))


def _check(name: object, layer: Layer) -> None:
    _check_key(name, layer)
    if name in RESERVED:
        what = "input" if isinstance(layer, InputLayer) else "layer"
        raise LaminaError(
            f"A {type(layer).__name__} is called {name!r}.",
            f"A {what} becomes an attribute of the network, and that name is already one of every torch module or of Python.",
            f"Use another name, such as {f'{name}_1'!r}.",
        )


def _check_key(name: object, layer: Layer) -> None:
    if not isinstance(name, str) or not name or "." in name:
        raise LaminaError(
            f"A {type(layer).__name__} is called {name!r}.",
            "Names are keys of the network: text without dots, since dots separate the keys of nested modules.",
            "Use an underscore instead of the dot.",
        )


def _duplicate(name: str, key: str, layer: Layer, other: Layer) -> LaminaError:
    came = f"Two layers are called {name!r}: {other!r} and {layer!r}."
    if key != name or other.given_name != name:
        came = f"The layers {other.given_name!r} and {name!r} both have the key {key!r} in the network."
    return LaminaError(
        came, "Every layer of a graph has a name of its own.", "Rename one of them, or leave its name out."
    )
