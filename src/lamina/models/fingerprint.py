"""Whether a model still answers as it did: by its weights, by how its network is built, and by what stands around it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any

import numpy as np
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
_NEVER_READ = "num_batches_tracked"  # by answers: BatchNorm counts with it while it trains
_VERSION = vars(torch._C.TensorBase)["_version"].__get__  # called by the hundred: a function in C
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by which values are compared: NaNs are equal


class Fingerprint:
    """What a model's answers depend on, at one moment.

    Weights are known by their place, their version and by values spread over them, at least one of each output channel: changes
    behind `.data` or in an array of numpy count as no version, and one of a few numbers may be missed. Modules are known by who they
    are, by their settings and hooks.
    """

    def __init__(self, model: Any) -> None:
        self._objects, tensors = _walked(model)
        self._tensors, self._places = tensors, _Places(tensors)
        self._held = _Held(model)
        self._values = _Values([_spread(value) for value in tensors if value.numel()])

    def holds(self, model: Any) -> bool:
        """Whether nothing has changed since, as far as can be seen; within a third of a millisecond or so.

        Weights that nobody outside was ever handed are not looked at.
        """
        if not model._is_shared:
            return self._held.surrounds(model)
        # a setting, or only what does not matter: walking tells, and takes ten times as long
        if not self._held.holds(model):
            objects, tensors = _walked(model)
            if not (_are_same(objects, self._objects) and _are_same(tensors, self._tensors)):
                return False
            self._held = _Held(model)
        return self._places.hold() and self._values.hold()


class _Held:
    """All that a model and its modules hold, thing by thing: where each is the same, nothing was put in another's place."""

    def __init__(self, model: Any) -> None:
        self._net = model._own_net
        self._around = _around(model)
        told = [vars(module) for module in self._net.modules()]
        inner = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")
        self._dicts = [*told, *(each[name] for each in told for name in inner)]
        self._counts = list(map(len, self._dicts))
        self._full = [each for each in self._dicts if each]  # of the others it is enough that they are still empty
        self._things = list(chain.from_iterable(map(dict.values, self._full)))

    def surrounds(self, model: Any) -> bool:
        """Whether it is the same network, and the same things stand around it."""
        return model._own_net is self._net and _are_same(_around(model), self._around)

    def holds(self, model: Any) -> bool:
        return (
            self.surrounds(model)
            and list(map(len, self._dicts)) == self._counts
            and all(map(is_, chain.from_iterable(map(dict.values, self._full)), self._things))
        )


class _Places:
    """Where tensors lie in memory, and how often each was written to."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._counted = [value for value in tensors if not value.is_inference()]  # the others count nothing
        self._seen = self._read()

    def hold(self) -> bool:
        return self._read() == self._seen

    def _read(self) -> list[int]:
        return [*map(Tensor.data_ptr, self._tensors), *map(_VERSION, self._counted)]


class _Values:
    """Some values of many tensors as they were; those of a processor's memory are read by one thread.

    More would keep turning for a while, and take the time of the engine that is asked next.
    """

    def __init__(self, views: list[Tensor]) -> None:
        here, there = defaultdict[torch.dtype, list[Any]](list), defaultdict[torch.device, list[Tensor]](list)
        for view in views:
            bits = view.view(_BITS[view.element_size()]) if view.element_size() in _BITS else view
            if view.device.type == "cpu" and not bits.is_complex():
                here[bits.dtype].append(bits.numpy())
            else:
                there[view.device].append(view)
        self._here, self._there = list(here.values()), there
        self._read = [np.empty(sum(map(len, arrays)), arrays[0].dtype) for arrays in self._here]
        self._seen = self._bytes()

    def hold(self) -> bool:
        return self._bytes() == self._seen

    def _bytes(self) -> list[bytes]:
        for arrays, read in zip(self._here, self._read, strict=True):
            np.concatenate(arrays, out=read)
        away = (torch.cat(views).cpu().view(torch.uint8).numpy() for views in self._there.values())
        return [read.tobytes() for read in (*self._read, *away)]


def _walked(model: Any) -> tuple[list[Any], list[Tensor]]:
    """Everything but weights that answers depend on, and the weights."""
    objects = _around(model)
    tensors: list[Tensor] = []
    for module in model._own_net.modules():
        objects.append(module)
        objects += _settings(module)
        tensors += [value for value in module._parameters.values() if value is not None]
        tensors += [value for name, value in module._buffers.items() if value is not None and name != _NEVER_READ]
    return objects, tensors


def _around(model: Any) -> list[Any]:
    """What a model knows beside its network."""
    return [*(vars(model).get(name) for name in model._learnt if name not in _AROUND_NO_MATTER), model._compiled]


def _settings(module: torch.nn.Module) -> Iterator[Any]:
    for name, value in vars(module).items():
        if type(value) in _OWN and name not in _NO_MATTER:
            yield value
    yield from module._forward_hooks.values()
    yield from module._forward_pre_hooks.values()


def _are_same(mine: list[Any], theirs: list[Any]) -> bool:
    return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))


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
