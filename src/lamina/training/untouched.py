"""A try-out that leaves no trace: whatever is trained inside `untouched`, everything is afterwards as it was, bit for bit."""

from __future__ import annotations

import contextlib
import functools
import random as python_random
import signal
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core import random

# Nothing that a training step changes lies behind these, and their inside is none of ours.
_CLOSED = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)
_CLOSED_MODULES = (
    "torch.distributed",
    "torch._dynamo",
    "torch._inductor",
    "torch.fx",
    "threading",
    "logging",
    "multiprocessing",
)
_NOTHING = object()
_DEPTH = 4  # how deep in a data loader its generators may lie


@contextlib.contextmanager
def untouched(step: Any, batches: Any = None) -> Iterator[None]:
    """Puts back, at the end and also after an exception or Ctrl-C: the step with its networks, updates and metrics; torch's,
    numpy's and Python's generators; the generators of `batches`, and their position where they have `state_dict`.

    The very tensors are filled again, so whoever holds one holds the right one. Copies are kept in host memory, so that the
    device has room for as large a batch as ever.
    """
    undo: list[Callable[[], object]] = []
    seen: dict[int, Any] = {}
    torchs, pythons, numpys = random.state(), python_random.getstate(), np.random.get_state()
    undo.append(lambda: random.restore(torchs))
    undo.append(lambda: python_random.setstate(pythons))
    undo.append(lambda: np.random.set_state(numpys))
    _keep(step, undo, seen)
    for generator in generators_of(batches):
        _keep(generator, undo, seen)
    if hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict"):
        undo.append(functools.partial(batches.load_state_dict, batches.state_dict()))
    try:
        yield
    finally:
        with _uninterrupted():
            for act in reversed(undo):
                act()


def _keep(value: Any, undo: list[Callable[[], object]], seen: dict[int, Any]) -> None:
    """Adds to `undo` what brings the value, and all that hangs on it, back to the state of now. Iterative: graphs are deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or value is None or isinstance(value, (str, int, float, bytes, *_CLOSED)):
            continue
        if type(value).__module__.startswith(_CLOSED_MODULES) and not isinstance(value, nn.Module):
            continue
        seen[id(value)] = value
        if isinstance(value, Tensor):
            if value.is_inference():
                continue  # cannot be written to, so nobody has
            undo.append(functools.partial(_fill, value, value.detach().to("cpu", copy=True)))
            if value.is_leaf:
                undo.append(functools.partial(setattr, value, "grad", value.grad))
                waiting.append(value.grad)
        elif isinstance(value, dict):
            undo.append(functools.partial(_refill, value, dict(value)))
            waiting += list(value.values())
        elif isinstance(value, list):
            undo.append(functools.partial(value.__setitem__, slice(None), list(value)))
            waiting += value
        elif isinstance(value, tuple):
            waiting += value
        elif isinstance(value, set):
            undo.append(functools.partial(_refill, value, set(value)))
        elif isinstance(value, torch.Generator):
            undo.append(functools.partial(value.set_state, value.get_state()))
        elif isinstance(value, np.random.Generator):
            undo.append(functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state))
        elif isinstance(value, np.random.RandomState):
            undo.append(functools.partial(value.set_state, value.get_state()))
        elif isinstance(value, python_random.Random):
            undo.append(functools.partial(value.setstate, value.getstate()))
        elif isinstance(value, np.ndarray):
            if value.flags.writeable:
                undo.append(functools.partial(value.__setitem__, ..., value.copy()))
        else:
            if hasattr(value, "__dict__"):
                waiting.append(vars(value))
            for name in _slots(value):
                held = getattr(value, name, _NOTHING)
                undo.append(functools.partial(_set, value, name, held))
                waiting.append(held)


def _slots(value: Any) -> list[str]:
    """The attributes that an object holds outside its __dict__."""
    named = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    listed = [name for names in named for name in ([names] if isinstance(names, str) else names)]
    return [name for name in listed if name not in ("__dict__", "__weakref__")]


def _set(holder: Any, name: str, value: Any) -> None:
    if value is not _NOTHING:
        object.__setattr__(holder, name, value)
    elif hasattr(holder, name):
        object.__delattr__(holder, name)


def _fill(tensor: Tensor, values: Tensor) -> None:
    if tensor.shape != values.shape:
        tensor.detach().resize_(values.shape)
    tensor.detach().copy_(values)


def _refill(container: Any, contents: Any) -> None:
    container.clear()
    container.update(contents)


def generators_of(batches: Any) -> list[Any]:
    """The generators among the attributes of a loader and of what it holds; data itself is not searched."""
    return list({id(generator): generator for generator in _generators(batches, _DEPTH)}.values())


@contextlib.contextmanager
def keeping(generators: list[Any]) -> Iterator[None]:
    """Puts generators back to where they stood."""
    undo: list[Callable[[], object]] = []
    for generator in generators:
        _keep(generator, undo, {})
    try:
        yield
    finally:
        for act in undo:
            act()


def reseed(generator: Any, key: int) -> None:
    """Sets a generator of torch, numpy or Python from a key."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(key)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(key).state
    elif isinstance(generator, np.random.RandomState):
        generator.seed(key & 0xFFFFFFFF)
    else:
        generator.seed(key)


def _generators(holder: Any, depth: int) -> Iterator[Any]:
    if isinstance(holder, torch.Generator | np.random.Generator | np.random.RandomState | python_random.Random):
        yield holder
    elif depth and hasattr(holder, "__dict__") and not isinstance(holder, (*_CLOSED, Tensor, np.ndarray, nn.Module)):
        for value in list(vars(holder).values()):
            yield from _generators(value, depth - 1)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Lets a Ctrl-C wait until all is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt
