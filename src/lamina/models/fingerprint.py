"""Whether a model still answers as it did: by its weights, by how its network is built, and by what stands around it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any

import torch
from torch import Tensor

_SAMPLED = 256  # values of a tensor, about
_OWN = {bool, int, float, str, tuple, NoneType, FunctionType, BuiltinFunctionType, MethodType}  # settings of a module
_NO_MATTER = {
    "training",
    "_is_full_backward_hook",
    "call_super_init",
}  # answers are those of eval mode, without gradients
_AROUND_NO_MATTER = {"_step", "split", "learnt_from"}


class Fingerprint:
    """What a model's answers depend on, at one moment.

    Weights are known by their place, their version and by values spread over them, at least one of each output channel: changes
    behind `.data` or in an array of numpy count as no version, and one of a few numbers may be missed. Modules are known by who they
    are, by their settings and hooks.
    """

    def __init__(self, model: Any) -> None:
        self._objects, tensors = _walked(model)
        self._tensors, self._marks = tensors, _marks(tensors)
        self._views = [_spread(value) for value in tensors if value.numel()]
        self._values = self._seen()

    def holds(self, model: Any) -> bool:
        """Whether nothing has changed since, as far as can be seen; within a millisecond or two."""
        objects, tensors = _walked(model)
        return (
            _are_same(objects, self._objects)
            and _are_same(tensors, self._tensors)
            and _marks(tensors) == self._marks
            and self._seen() == self._values
        )

    def _seen(self) -> bytes:
        if not self._views:
            return b""
        return torch.cat(self._views).cpu().view(torch.uint8).numpy().tobytes()  # of which NaNs are equal


def _walked(model: Any) -> tuple[list[Any], list[Tensor]]:
    """Everything but weights that answers depend on, and the weights."""
    objects = [vars(model).get(name) for name in model._learnt if name not in _AROUND_NO_MATTER]
    objects.append(model._compiled)
    tensors: list[Tensor] = []
    for module in model.net.modules():
        objects.append(module)
        objects += _settings(module)
        tensors += [value for value in module._parameters.values() if value is not None]
        tensors += [value for value in module._buffers.values() if value is not None]
    return objects, tensors


def _settings(module: torch.nn.Module) -> Iterator[Any]:
    for name, value in vars(module).items():
        if type(value) in _OWN and name not in _NO_MATTER:
            yield value
    yield from module._forward_hooks.values()
    yield from module._forward_pre_hooks.values()


def _are_same(mine: list[Any], theirs: list[Any]) -> bool:
    return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))


def _marks(tensors: list[Tensor]) -> list[tuple[int, int]]:
    return [(value.data_ptr(), -1 if value.is_inference() else value._version) for value in tensors]


def _spread(value: Tensor) -> Tensor:
    """Some values of a tensor, as a view: what is written into it is seen."""
    room = value.untyped_storage().nbytes() // value.element_size() - value.storage_offset()
    count = min(value.numel(), room)  # an expanded tensor has less of it
    row = count // len(value) if value.dim() else 1
    step = max(min(count // _SAMPLED, row), 1)
    while math.gcd(step, row) > 1:  # else the same few columns would come in every row
        step -= 1
    # In the order of memory, so that channels-last weights have rows too.
    return value.detach().as_strided((count,), (1,), value.storage_offset())[::step]
