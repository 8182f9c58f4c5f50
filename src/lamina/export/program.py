"""The torch program (torch.export) of a deployable network: straight-line operators, for any batch and any size it allows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from lamina.core.errors import LaminaError
from lamina.export.deployable import Answering, Deployable
from lamina.export.folding import fold
from lamina.export.lowering import lower

_OTHER_PX = (32, 64)  # added to height and width: another size, by which it is seen whether any will do


def program(deployable: Deployable, *, any_size: bool = True, precision: str = "float32") -> ExportedProgram:
    """The program from inputs as they come to answers. The batch is open; so are height and width of pictures with `any_size`,
    where the network gives the same answers at another size as it does itself.

    BatchNorms are folded into the convolutions before them. `precision` is that of the network's weights and arithmetic:
    "float32", "float16" or "bfloat16"; inputs stay as they come, and answers float32.
    Raises LaminaError for a network that torch.export cannot follow, such as one whose way depends on its data.
    """
    module = lower(_folded(deployable), precision)
    if any_size and all(value.dim() == 4 for value in deployable.example):
        made = _traced(module, deployable.example, open_sizes=True)
        if made is not None and _agrees(made, module, deployable.example):
            return made
    made = _traced(module, deployable.example, open_sizes=False)
    assert made is not None
    return made


def open_axes(made: ExportedProgram) -> tuple[tuple[bool, ...], ...]:
    """Of each input which axes may have any length."""
    given = {node.name: node for node in made.graph.nodes if node.op == "placeholder"}
    shapes = [given[name].meta["val"].shape for name in made.graph_signature.user_inputs if isinstance(name, str)]
    return tuple(tuple(not isinstance(length, int) for length in shape) for shape in shapes)


def _folded(deployable: Deployable) -> Answering:
    module = deployable.module()
    try:
        folded = fold(module, deployable.example)
    except Exception as error:  # whatever the network raises for this example
        raise deployable.misfit(error) from error
    assert isinstance(folded, Answering)
    return folded


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no reason told").rstrip(".")


def _traced(module: Answering, example: Sequence[Tensor], *, open_sizes: bool) -> ExportedProgram | None:
    """The program; None where sizes cannot be left open."""
    sizes = {2: Dim.AUTO, 3: Dim.AUTO} if open_sizes else {}
    shapes = tuple({0: Dim.DYNAMIC, **sizes} for _ in example)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's own parts
            made = torch.export.export(module, tuple(example), dynamic_shapes=(shapes,), strict=False)
    except Exception as error:  # the exporter raises nearly anything
        if open_sizes:
            return None
        raise LaminaError(
            f"The network cannot be exported ({type(error).__name__}: {_first_line(error)}).",
            "torch.export follows tensors: a network whose way through Python does not depend on their values.",
            "Look at model.net with torch.export.export(model.net, (images,)).",
        ) from error
    return made if not open_sizes or any(any(axes[2:]) for axes in open_axes(made)) else None


def _agrees(made: ExportedProgram, module: Answering, example: Sequence[Tensor]) -> bool:
    """Whether program and module answer alike at another size; where neither answers, the size is not open."""
    others = tuple(
        torch.randint(0, 256, (3, value.shape[1], value.shape[2] + _OTHER_PX[0], value.shape[3] + _OTHER_PX[1])).to(
            value.dtype
        )
        for value in example
    )
    try:
        with torch.no_grad():
            mine, theirs = made.module()(*others), module(*others)
    except Exception:  # a shape that does not fit is a RuntimeError, a guard of the program's an AssertionError
        return False
    pairs = zip(*((value,) if isinstance(value, Tensor) else value for value in (mine, theirs)), strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs)
