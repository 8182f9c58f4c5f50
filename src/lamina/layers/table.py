"""The literal table of layers, and descriptions to and from JSON: nothing outside the table can be asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from lamina.core.errors import FileFormatError, LaminaError, unknown_name
from lamina.layers import activations, convolution, dense, inputs, merging, normalization, pooling, shaping
from lamina.layers import regularization as training_only
from lamina.layers.initializers import INITIALIZERS
from lamina.layers.layer import Layer
from lamina.layers.regularizers import REGULARIZERS
from lamina.layers.torch_module import PLAIN_NAMES, Torch, plain_arguments, qualified_name

LAYERS: dict[str, type[Layer]] = {
    "Activation": activations.Activation,
    "Add": merging.Add,
    "Average": merging.Average,
    "AveragePooling2D": pooling.AveragePooling2D,
    "BatchNormalization": normalization.BatchNormalization,
    "Concatenate": merging.Concatenate,
    "Conv2D": convolution.Conv2D,
    "Conv2DTranspose": convolution.Conv2DTranspose,
    "Cropping2D": shaping.Cropping2D,
    "Dense": dense.Dense,
    "DepthwiseConv2D": convolution.DepthwiseConv2D,
    "Dropout": training_only.Dropout,
    "Embedding": dense.Embedding,
    "Flatten": shaping.Flatten,
    "GaussianNoise": training_only.GaussianNoise,
    "GlobalAveragePooling2D": pooling.GlobalAveragePooling2D,
    "GlobalMaxPooling2D": pooling.GlobalMaxPooling2D,
    "GroupNormalization": normalization.GroupNormalization,
    "InputLayer": inputs.InputLayer,
    "LayerNormalization": normalization.LayerNormalization,
    "LeakyReLU": activations.LeakyReLU,
    "LocalResponseNormalization": normalization.LocalResponseNormalization,
    "MaxPooling2D": pooling.MaxPooling2D,
    "Maximum": merging.Maximum,
    "Multiply": merging.Multiply,
    "Operator": merging.Operator,
    "PReLU": activations.PReLU,
    "Permute": shaping.Permute,
    "ReLU": activations.ReLU,
    "Rescaling": training_only.Rescaling,
    "Reshape": shaping.Reshape,
    "SeparableConv2D": convolution.SeparableConv2D,
    "Softmax": activations.Softmax,
    "SpatialDropout2D": training_only.SpatialDropout2D,
    "Subtract": merging.Subtract,
    "UpSampling2D": shaping.UpSampling2D,
    "ZeroPadding2D": shaping.ZeroPadding2D,
}


def encode(layer: Layer) -> dict[str, Any]:
    """The layer's kind and the arguments that are not its defaults, as JSON-able values.

    A torch module outside torch's plain ones is named, not described: its weights and code are its owner's.
    """
    if isinstance(layer, Torch):
        entry: dict[str, Any] = {"layer": "Torch", "name": layer.name, "module": qualified_name(layer.module)}
        arguments = plain_arguments(layer.module)
        if arguments is not None:
            entry["arguments"] = _json(arguments)
        return entry
    fields = {f.name: (getattr(layer, f.name), f.default) for f in dataclasses.fields(layer) if f.init}
    given = {name: _json(value) for name, (value, default) in fields.items() if value != default}
    return {"layer": type(layer).__name__, **given}


def decode(entry: Any, modules: Mapping[str, nn.Module]) -> Layer:
    """The description of `encode`'s entry; `modules` gives custom torch modules by layer name or qualified class name.

    Raises FileFormatError for anything that is not in the table, or is not what `encode` writes.
    """
    if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry) or "layer" not in entry:
        raise malformed(f"the layer {entry!r}")
    arguments = {key: value for key, value in entry.items() if key != "layer"}
    kind = entry["layer"]
    if kind == "Torch":
        return _decode_torch(arguments, modules)
    if not isinstance(kind, str) or kind not in LAYERS:
        raise FileFormatError(
            f"The description asks for a layer {kind!r}.",
            f"Only layers of the list are built. {unknown_name('layer', kind, LAYERS).expected}",
            "The file comes from a newer version of Lamina, or was not written by Lamina: do not trust it.",
        )
    try:
        return LAYERS[kind](**{key: _value(key, value) for key, value in arguments.items()})
    except FileFormatError:
        raise
    except (LaminaError, TypeError, ValueError) as error:
        raise malformed(f"{kind} whose arguments do not fit ({error})") from error


def malformed(what: str) -> FileFormatError:
    """The error for a description that `encode` cannot have written."""
    return FileFormatError(
        f"The description of the network holds {what}.",
        "Lamina writes no such thing.",
        "The file is damaged, comes from a newer version, or from elsewhere; get it again from its source.",
    )


def _decode_torch(arguments: dict[str, Any], modules: Mapping[str, nn.Module]) -> Torch:
    name, kind = arguments.get("name"), arguments.get("module")
    if not isinstance(kind, str) or not (name is None or isinstance(name, str)):
        raise malformed(f"a torch module {kind!r} called {name!r}")
    module = modules.get(name) if name is not None else None
    module = modules.get(kind) if module is None else module
    if module is not None:
        return Torch(module, name=name)
    plain = PLAIN_NAMES.get(kind.rpartition(".")[2]) if kind.startswith("torch.nn.modules.") else None
    if plain is not None and isinstance(arguments.get("arguments"), dict):
        try:
            return Torch(plain(**{key: _value(key, value) for key, value in arguments["arguments"].items()}), name=name)
        except (TypeError, ValueError, RuntimeError) as error:
            raise malformed(f"{kind} whose arguments do not fit ({error})") from error
    raise FileFormatError(
        f"The network holds the torch module {name!r} of class {kind}.",
        "No code of others is imported to read a description, so this module must be handed in.",
        f"Build it as before and pass modules={{{(name or kind)!r}: module}}.",
    )


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_json(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {"kind": type(value).__name__, **dataclasses.asdict(value)}  # initializers and regularizers


def _value(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(key, entry) for entry in value)
    if not isinstance(value, dict):
        return value
    tables: dict[str, Mapping[str, type]] = {"initializer": INITIALIZERS, "regularizer": REGULARIZERS}
    table = tables.get(key.rpartition("_")[2])
    kind = value.get("kind")
    if table is None or not isinstance(kind, str) or kind not in table:
        raise malformed(f"{key}={value!r}")
    numbers = {name: entry for name, entry in value.items() if name != "kind"}
    if not all(isinstance(entry, (int, float)) for entry in numbers.values()):
        raise malformed(f"{key}={value!r}")
    return table[kind](**numbers)
