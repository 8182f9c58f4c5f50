"""Watching a network at work: what each of its layers gives, without a change to the network itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lamina.core.errors import LaminaError, UnknownNameError, listed, nearest_names
from lamina.networks import contract
from lamina.structures.batch import outputs_of

# What pools, drops or passes on gives no maps of its own: those before it are finer, or the same.
_PASSED_BY = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)
_LISTED = 60  # names of layers in an error


def twin(net: nn.Module) -> nn.Module:
    """The network in eval mode with the same parameters in modules of its own: hooks and modes reach nobody else.

    Other threads can use the network meanwhile. Parameters and buffers are shared, not copied.
    """
    if any("forward" in vars(module) or isinstance(module, torch.jit.ScriptModule) for module in net.modules()):
        return copy.deepcopy(net, {id(value): value for value in (*net.parameters(), *net.buffers())}).eval()
    return _twin(net, {})


def _twin(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """As deepcopy does it, at a thirtieth of the time: only what hooks and modes change is copied."""
    if id(module) not in made:
        other = made[id(module)] = object.__new__(type(module))
        vars(other).update(vars(module))
        for name in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_forward_hooks_with_kwargs",
            "_forward_hooks_always_called",
        ):
            vars(other)[name] = copy.copy(vars(module)[name])
        vars(other)["_forward_pre_hooks_with_kwargs"] = copy.copy(vars(module)["_forward_pre_hooks_with_kwargs"])
        vars(other)["training"], vars(other)["_compiled_call_impl"] = False, None
        children = module._modules.items()
        vars(other)["_modules"] = {name: None if child is None else _twin(child, made) for name, child in children}
    return made[id(module)]


@contextmanager
def hooked(net: nn.Module, leave: Callable[[str, nn.Module, Any], Any]) -> Iterator[None]:
    """While it lasts, `leave(name, module, result)` is called when a layer has worked; what it gives takes the result's place."""

    def hook(name: str) -> Callable[..., Any]:
        return lambda module, _, result: leave(name, module, result)

    handles = [module.register_forward_hook(hook(name)) for name, module in net.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Maps:
    """The maps (B C h w) that layers gave in one run, in the order in which they were ready, up to the class layer.

    Where one layer hands on the map of another, the outer name stands for it.
    """

    def __init__(self, net: nn.Module) -> None:
        try:
            self._ends = {net.get_submodule(name) for name in contract.class_layers(net)}
        except LaminaError:
            self._ends = set()
        self._found: list[tuple[str, Tensor]] = []
        self._passed: list[Tensor] = []
        self._before_end: int | None = None

    def note(self, name: str, module: nn.Module, result: Any) -> None:
        """To be called with what a layer gave."""
        if module in self._ends:
            self._before_end = len(self._found) if self._before_end is None else self._before_end
        if not isinstance(result, Tensor) or result.dim() != 4 or result.shape[-2:] == (1, 1):
            return
        if isinstance(module, _PASSED_BY):
            self._passed.append(result)
        elif not any(result is other for other in self._passed):
            if self._found and self._found[-1][1] is result:
                self._found.pop()
            self._found.append((name, result))

    @property
    def found(self) -> list[tuple[str, Tensor]]:
        """Name and map, the first layer's first. Those behind the class layer only where there are no others."""
        before = self._found[: self._before_end]
        return before or self._found

    def last(self, net: nn.Module) -> tuple[str, Tensor]:
        """The last map before the class layer. Raises LaminaError where there is none."""
        if not self.found:
            raise no_maps(net)
        return self.found[-1]

    def by_stride(self, images: Tensor) -> dict[int, tuple[str, Tensor]]:
        """The last map of each resolution, the finest first; the stride is the nearest power of 2."""
        return {stride_of(value, images): (name, value) for name, value in self.found}


def stride_of(value: Tensor, images: Tensor) -> int:
    """Pixels of the pictures to one place of a map, as the nearest power of 2."""
    ratio = images.shape[-2] * images.shape[-1] / (value.shape[-2] * value.shape[-1])
    return int(2 ** max(0, round(math.log2(ratio) / 2)))


def maps_of(net: nn.Module, images: Tensor) -> Maps:
    """All maps that a twin gives for prepared pictures (B C H W), without gradients."""
    maps = Maps(net)
    with torch.no_grad(), hooked(net, maps.note):
        net(images)
    return maps


def layer_output(net: nn.Module, images: Tensor, layer: str) -> Tensor:
    """What a layer of a twin gives for prepared pictures, at its last use, without gradients."""
    given: list[Tensor] = []
    hear = found_layer(net, layer).register_forward_hook
    return _last(net, images, layer, given, hear(lambda _, __, result: given.append(first_tensor(result, layer))))


def given_to(net: nn.Module, images: Tensor, layer: str) -> Tensor:
    """What a layer of a twin is given for prepared pictures, at its last use, without gradients."""
    given: list[Tensor] = []
    hear = net.get_submodule(layer).register_forward_pre_hook
    return _last(net, images, layer, given, hear(lambda _, inputs: given.append(inputs[0])))


def _last(net: nn.Module, images: Tensor, layer: str, given: list[Tensor], handle: RemovableHandle) -> Tensor:
    """The last tensor that a hook appended to `given` while the network saw the pictures; the hook is taken away."""
    try:
        with torch.no_grad():
            net(images)
    finally:
        handle.remove()
    if not given:
        raise unused(layer)
    return given[-1]


def first_tensor(result: Any, layer: str) -> Tensor:
    """The first tensor of what a layer gave."""
    if isinstance(result, Tensor):
        return result
    if isinstance(result, tuple | list) and result and not isinstance(result[0], Tensor):
        raise LaminaError(
            f"The layer {layer} gives a {type(result[0]).__name__}.", "A tensor was expected.", "Name another layer."
        )
    return outputs_of(result)[0][0]


def found_layer(net: nn.Module, layer: str) -> nn.Module:
    """The layer of that name. Raises UnknownNameError, which lists the names."""
    modules: dict[str, nn.Module] = dict(net.named_modules())
    if not isinstance(layer, str) or layer not in modules or not layer:
        names = [name for name in modules if name]
        near = ", ".join(nearest_names(str(layer), names))
        raise UnknownNameError(
            f"The network has no layer {layer!r}.",
            f"The nearest: {near}. All: {listed(names, most=_LISTED)}.",
            "Use one of these; `lamina summary` shows what each gives.",
        )
    return modules[layer]


def unused(layer: str) -> LaminaError:
    """The error for a layer that is there and was never called."""
    return LaminaError(
        f"The layer {layer} was not used for this picture.",
        "A layer that gives something was expected.",
        "Name another one.",
    )


def no_maps(net: nn.Module) -> LaminaError:
    """The error for a network without convolutions."""
    return LaminaError(
        f"{type(net).__name__} has no layer that gives maps (channels, height, width) before its class layer.",
        "A convolutional network was expected.",
        "Look where its answer comes from by explain.occlusion, which takes any network.",
    )
