"""Weights and arithmetic in 16 bits, for networks whose weights were learnt in 32."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lamina.export.deployable import Answering
from lamina.structures.batch import outputs_of

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


def lower(module: Answering, precision: str) -> Answering:
    """Changes the network in the module to float16 or bfloat16, in place; float32 leaves it.

    Its inputs are prepared and its outputs finished in float32. Normalising layers compute in float32, for squares overflow
    and small variances vanish in float16.
    """
    if TYPES[precision] is not torch.float32:
        module.net = _InType(module.net, TYPES[precision])
    return module


class _InType(nn.Module):
    """A network whose weights and activations have another type than what stands around it, which is float32."""

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        norms = [name for name, part in net.named_modules() if name and _normalises(part)]
        for name in norms:
            net.set_submodule(name, _InFloat32(net.get_submodule(name)))
        kept = {id(part) for name in norms for part in net.get_submodule(name).modules()}
        for part in net.modules():
            if id(part) not in kept:
                _convert(part, dtype)
        self.net, self.dtype = net, dtype

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = (value.to(self.dtype) if value.is_floating_point() else value for value in inputs)
        return tuple(value.float() for value in outputs_of(self.net(*given))[0])


class _InFloat32(nn.Module):
    """A layer that computes in float32 between others that do not."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Tensor, *others: Any) -> Tensor:
        normalised: Tensor = self.inner(features.float(), *others)
        return normalised.to(features.dtype)


def _normalises(part: nn.Module) -> bool:
    """Whether it is a layer that normalises: torch's, or by its name one of somebody's own."""
    return isinstance(part, _NORMS) or ("Norm" in type(part).__name__ and not list(part.children()))


def _convert(part: nn.Module, dtype: torch.dtype) -> None:
    """The tensors of one module, without those of its children."""
    for tensors in cast(list[dict[str, Tensor | None]], [part._parameters, part._buffers]):
        for name, value in tensors.items():
            if value is not None and value.is_floating_point():
                made = value.detach().to(dtype)
                tensors[name] = nn.Parameter(made, requires_grad=False) if isinstance(value, nn.Parameter) else made
