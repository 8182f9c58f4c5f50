"""A BatchNorm that follows a convolution becomes part of it: in eval mode both are linear in each channel."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lamina.structures.batch import outputs_of

_RTOL, _ATOL = 1e-3, 1e-4  # between the answers before and after


def fold(module: nn.Module, example: Sequence[Tensor]) -> nn.Module:
    """The module, or a copy in which every BatchNorm is gone that has nothing but one convolution in front of it.

    Who stands in front of whom is seen from one run on the example, not guessed from names. Where the copy answers
    otherwise than the module, the module is given back as it was.
    """
    pairs = _pairs(module, example)
    if not pairs:
        return module
    folded = copy.deepcopy(module)
    for conv_name, norm_name in pairs:
        _into(folded.get_submodule(conv_name), folded.get_submodule(norm_name))
        folded.set_submodule(norm_name, nn.Identity())
    try:
        with torch.no_grad():
            before, after = (outputs_of(each(*example))[0] for each in (module, folded))
    except Exception:  # a module that looks into its BatchNorms, which are gone
        return module
    same = all(torch.allclose(a, b, rtol=_RTOL, atol=_ATOL) for a, b in zip(before, after, strict=True))
    return folded if same else module


def _into(conv: nn.Module, norm: nn.Module) -> None:
    assert isinstance(conv, _ConvNd)
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias, conv.transposed
    )
    for parameter in (conv.weight, conv.bias):
        parameter.requires_grad_(False)


def _pairs(module: nn.Module, example: Sequence[Tensor]) -> list[tuple[str, str]]:
    """The names of convolutions and of the BatchNorms that alone take what they give."""
    convs = {id(part.weight): name for name, part in module.named_modules() if isinstance(part, _ConvNd)}
    norms = {
        id(part.running_mean): name
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    }
    watch = _Watch(convs, norms)
    with torch.no_grad(), watch:
        module(*example)
    return [
        (conv, norm)
        for norm, source in watch.sources.items()
        if (conv := watch.made.get(source)) and watch.used[source] == watch.calls[conv] == watch.calls[norm] == 1
    ]


class _Watch(TorchFunctionMode):
    """Notes which convolution made a tensor, which BatchNorm took it, and how often anything was made of it."""

    def __init__(self, convs: Mapping[int, str], norms: Mapping[int, str]) -> None:
        super().__init__()
        self.convs, self.norms = convs, norms
        self.calls: Counter[str] = Counter()
        self.used: Counter[int] = Counter()
        self.made: dict[int, str] = {}
        self.sources: dict[str, int] = {}
        self._kept: list[Any] = []  # or the next tensor would have the id of one that is gone

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [value for value in tree_leaves((args, kwargs or {})) if isinstance(value, Tensor)]
        answer = func(*args, **(kwargs or {}))
        if any(isinstance(value, Tensor) for value in tree_leaves(answer)):  # a shape or a type uses nothing up
            self._kept += [given, answer]
            self.used.update({id(value) for value in given})
            self._note(given, answer)
        return answer

    def _note(self, given: list[Tensor], answer: Any) -> None:
        for value in given[1:]:
            if id(value) in self.convs:
                self.calls[self.convs[id(value)]] += 1
                self.made[id(answer)] = self.convs[id(value)]
            if id(value) in self.norms:
                self.calls[self.norms[id(value)]] += 1
                self.sources[self.norms[id(value)]] = id(given[0])
