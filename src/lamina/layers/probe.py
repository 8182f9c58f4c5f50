"""Shapes found by running a plan on the meta device: no memory, no arithmetic, only sizes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lamina.layers import rules
from lamina.layers.symbol import Op, Shape

# The two probes differ in the batch and in every open size: what differs in their results is open as well.
PROBES = ((2, 256), (3, 384))


def run(plan: tuple[Op, ...], modules: Mapping[str, nn.Module], inputs: list[Any]) -> Any:
    """The last value of a plan, run on real or meta tensors."""
    values = list(inputs)
    for op in plan:
        function = modules[op.target] if isinstance(op.target, str) else op.target
        values.append(function(*op.arguments(values), **op.kwargs))
    return values[-1]


def shapes(
    plan: tuple[Op, ...], modules: Mapping[str, nn.Module], inputs: list[tuple[Shape, torch.dtype]]
) -> list[Any]:
    """What the plan returns on inputs of these sizes for each of the two probes: meta tensors, or tuples of them.

    Runs in evaluation mode on copies without storage, so no weight, statistic or random state is touched.
    """
    copies = {suffix: meta_copy(module).eval() for suffix, module in modules.items()}
    parts = [part for module in copies.values() for part in module.modules() if type(part) in rules.MODULES]
    try:
        for part in parts:
            part.forward = functools.partial(rules.MODULES[type(part)], part)
        ruled = tuple(replace(op, target=rules.FUNCTIONS.get(op.target, op.target)) for op in plan)
        return [run(ruled, copies, _stand_ins(inputs, *probe, device="meta")) for probe in PROBES]
    except rules.UnusualError:  # let torch say what is wrong
        for part in parts:
            del part.forward
    except RuntimeError as error:
        if not needs_numbers(error):
            raise
    try:
        return [run(plan, copies, _stand_ins(inputs, *probe, device="meta")) for probe in PROBES]
    except RuntimeError as error:
        if not needs_numbers(error):
            raise
        copies = {suffix: copy.deepcopy(module).cpu().eval() for suffix, module in modules.items()}
        return [run(plan, copies, _stand_ins(inputs, *probe, device="cpu")) for probe in PROBES]


def needs_numbers(error: RuntimeError) -> bool:
    """Whether a module failed only because meta tensors have no values; it can be run on zeros instead."""
    return isinstance(error, NotImplementedError) or "meta tensor" in str(error)


def merged(first: Tensor, second: Tensor) -> Shape | None:
    """The sizes without the batch, None where the two probes differ; None alone if the first axis is not the batch."""
    if first.ndim != second.ndim or first.ndim == 0 or (len(first), len(second)) != (PROBES[0][0], PROBES[1][0]):
        return None
    pairs = zip(first.shape[1:], second.shape[1:], strict=True)
    return tuple(int(one) if one == other else None for one, other in pairs)


def meta_copy(module: nn.Module) -> nn.Module:
    """A copy whose tensors have shapes and no memory; the module itself is not touched, nor its memory copied."""
    memo: dict[int, Any] = {}
    for tensor in _tensors(module):
        if id(tensor) not in memo:
            empty: Tensor = tensor.detach().to("meta")
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(module, memo)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers and plain tensor attributes of a module and all inside it."""
    for part in module.modules():
        for value in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(value, Tensor):
                yield value


def _stand_ins(inputs: list[tuple[Shape, torch.dtype]], batch: int, open_size: int, *, device: str) -> list[Tensor]:
    return [
        torch.zeros((batch, *(open_size if size is None else size for size in sizes)), dtype=dtype, device=device)
        for sizes, dtype in inputs
    ]
