"""Nested state as plain JSON and tensors, and back, exactly: what a checkpoint is made of.

None, bool, int, str       themselves
float                      itself; NaN and infinities {"$float": "nan"}
list                       a list; a tuple {"$tuple": [...]}
dict                       an object; {"$dict": [[key, value], ...]} where a key is no string or begins with "$"
Tensor                     {"$tensor": name}, with "strides" where its memory is not laid out in rows
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamina.core.errors import LaminaError


class Flat(NamedTuple):
    """A tree taken apart: what JSON can tell, and contiguous tensors in host memory, by name."""

    plain: Any
    tensors: dict[str, Tensor]


def flatten(tree: Any) -> Flat:
    """Takes a tree apart. Every tensor is copied, so what happens to the tree afterwards does not matter.

    Raises LaminaError for a leaf of another type, and names its place in the tree.
    """
    tensors: dict[str, Tensor] = {}
    return Flat(_plain(tree, "", tensors), tensors)


def unflatten(flat: Flat) -> Any:
    """The tree that `flatten` took apart; its tensors are those of `flat` where these are laid out in rows, else copies.

    Raises LookupError, TypeError, ValueError or RuntimeError for what `flatten` did not make.
    """
    return _tree(flat.plain, flat.tensors)


def _plain(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, Tensor):
        return _told(value, path, tensors)
    if isinstance(value, Mapping):
        pairs = [(key, _plain(entry, f"{path}/{key}" if path else str(key), tensors)) for key, entry in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(pairs)
        return {"$dict": [[_plain(key, f"{path} (a key)", tensors), entry] for key, entry in pairs]}
    if isinstance(value, list | tuple):
        entries = [_plain(entry, f"{path}/{index}", tensors) for index, entry in enumerate(value)]
        return entries if isinstance(value, list) else {"$tuple": entries}
    raise LaminaError(
        f"The state of the run holds {_article(type(value).__name__)} at {path or 'its root'}.",
        "A state_dict() holds tensors, numbers, strings, booleans, None, lists, tuples and dicts of them.",
        "Give it as one of these from state_dict (an array as torch.as_tensor(array)), and make it again in load_state_dict.",
    )


def _told(value: Tensor, path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if value.layout != torch.strided or value.is_quantized:
        raise LaminaError(
            f"The state of the run holds a tensor of layout {value.layout} at {path or 'its root'}.",
            "Dense tensors were expected.",
            "Give its indices and values from state_dict, and make it again in load_state_dict.",
        )
    name, again = path or "tensor", 1
    while name in tensors or name == "__metadata__":
        name, again = f"{path}~{again}", again + 1
    copied = value.detach().to("cpu", copy=True)  # keeps the strides of dense tensors
    tensors[name] = copied.contiguous()
    if copied.stride() == _rows(copied):
        return {"$tensor": name}
    # A fused optimizer runs over the memory of weight and momentum side by side: their strides must agree after loading.
    return {"$tensor": name, "strides": list(copied.stride())}


def _tree(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(plain, list):
        return [_tree(entry, tensors) for entry in plain]
    if not isinstance(plain, dict):
        return plain
    if "$tensor" in plain:
        value = tensors[plain["$tensor"]]
        if "strides" not in plain:
            return value
        return torch.empty_strided(value.shape, plain["strides"], dtype=value.dtype).copy_(value)
    if "$float" in plain:
        return float(plain["$float"])
    if "$tuple" in plain:
        return tuple(_tree(entry, tensors) for entry in plain["$tuple"])
    if "$dict" in plain:
        return {_tree(key, tensors): _tree(entry, tensors) for key, entry in plain["$dict"]}
    return {key: _tree(entry, tensors) for key, entry in plain.items()}


def _rows(value: Tensor) -> tuple[int, ...]:
    """The strides of such a tensor laid out in rows; `is_contiguous` overlooks those of dimensions of size 1."""
    return torch.empty(value.shape, device="meta").stride()


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0].lower() in "aeiou" else f"a {kind}"
