"""What other programs are told of the library's own operators: graphs of their operators that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.export import ExportedProgram

from lamina.structures import suppression  # noqa: F401 (defines the operator)


def table() -> dict[Any, Callable[..., Any]]:
    """By torch's operator, what torch.onnx.export calls for it (custom_translation_table)."""
    return {torch.ops.lamina.suppress.default: _suppress}


def _suppress(boxes: Any, scores: Any, labels: Any, overlap: float, num_classes: int) -> Any:
    """Which boxes stay (B N), by ONNX's NonMaxSuppression: it goes by picture and class, and gives (picture, class, box) of those."""
    from onnxscript import opset18

    op: Any = opset18  # whose types are those of a graph's own tensors
    classes = op.Constant(value_ints=list(range(num_classes)))
    mine = op.Equal(op.Unsqueeze(labels, [1]), op.Unsqueeze(classes, [0, 2]))  # B K N
    by_class = op.Mul(op.Unsqueeze(scores, [1]), op.CastLike(mine, scores))
    most = op.Gather(op.Shape(scores), [1])
    found = op.NonMaxSuppression(
        boxes, by_class, most, op.Constant(value_floats=[overlap]), op.Constant(value_floats=[0.0])
    )
    rows = op.Gather(found, [0, 2], axis=1)
    ones = op.Expand(op.Constant(value_floats=[1.0]), op.Gather(op.Shape(rows), [0]))
    kept = op.ScatterND(op.Mul(scores, op.Constant(value_float=0.0)), rows, ones)
    return op.Greater(kept, op.Constant(value_float=0.5))


# Torch programs -------------------------------------------------------------------------------------------------------


def without_library(made: ExportedProgram) -> ExportedProgram:
    """The program with the library's own operators written out in torch's, so that a process without the library can run it."""
    if all(node.target is not torch.ops.lamina.suppress.default for node in made.graph.nodes):
        return made
    plain: ExportedProgram = made.run_decompositions({torch.ops.lamina.suppress.default: _suppress_in_torch})
    return plain


def _suppress_in_torch(
    boxes: Float[Tensor, "B N 4"],
    scores: Float[Tensor, "B N"],
    labels: Int64[Tensor, "B N"],
    overlap: float,
    num_classes: int,
) -> Bool[Tensor, "B N"]:
    """Which boxes stay. A box stays that no better one which stays overlaps too much: this is applied until nothing changes, which is
    right from the best box on, one more each time at least. In rows and tables, for a program has no lists of unknown length."""
    from torch._higher_order_ops import while_loop  # which brings the compiler: seconds

    del num_classes
    loop: Any = while_loop  # which has no types
    order = scores.argsort(dim=1, descending=True, stable=True)
    corners = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    known, classes = scores.gather(1, order) > 0, labels.gather(1, order)
    left, top, right, bottom = corners.unbind(2)
    both = (torch.minimum(right[:, :, None], right[:, None]) - torch.maximum(left[:, :, None], left[:, None])).clamp(0)
    both = both * (
        torch.minimum(bottom[:, :, None], bottom[:, None]) - torch.maximum(top[:, :, None], top[:, None])
    ).clamp(0)
    area = (right - left) * (bottom - top)
    beats = both > overlap * (area[:, :, None] + area[:, None] - both)
    beats = (beats & (classes[:, :, None] == classes[:, None])).triu(1).float()  # the first of the two is the better

    def changes(stays: Tensor, before: Tensor) -> Tensor:
        return (stays != before).any()

    def again(stays: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        del before
        return known & (stays[:, None].float() @ beats)[:, 0].eq(0), stays.clone()

    stays, _ = loop(changes, again, (known, torch.zeros_like(known)))
    kept: Tensor = torch.zeros_like(stays).scatter(1, order, stays)
    return kept
