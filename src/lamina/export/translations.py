"""What ONNX is told of the library's own operators: graphs of its operators that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

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
