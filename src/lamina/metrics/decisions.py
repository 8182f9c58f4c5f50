"""From outputs and targets to predicted and true classes. What they are goes by the loss: see `Kind`."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from lamina.core.errors import ShapeError

# sparse, one_hot: the largest output, against an integer label or the largest target; binary: each output and target against
# 0.5; signs: as binary, but outputs against 0, for a single output, else one_hot; largest: binary for a single output, else one_hot;
# targets: binary for a single output, sparse for integer targets, else one_hot.
Kind = Literal["sparse", "one_hot", "binary", "signs", "largest", "targets"]


def class_axis(rank: int) -> int:
    """Where the classes stand: second in images (B K H W), last in everything else."""
    return 1 if rank == 4 else rank - 1


def definite(kind: Kind | None, outputs: Tensor, targets: Tensor) -> Kind:
    """The kind as "sparse", "one_hot", "binary" or "signs"."""
    if kind in ("sparse", "one_hot", "binary"):
        return kind
    if outputs.dim() == 1 or outputs.shape[class_axis(outputs.dim())] == 1:
        return "signs" if kind == "signs" else "binary"
    return "one_hot" if kind in ("largest", "signs") or targets.is_floating_point() else "sparse"


def decide(
    kind: Kind, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]
) -> tuple[Integer[Tensor, "*R"], Integer[Tensor, "*R"]]:
    """(predicted, true): classes, or booleans for "binary" and "signs". Raises ShapeError where one is of another shape."""
    if kind in ("binary", "signs"):
        predicted, actual = outputs > (0.5 if kind == "binary" else 0.0), targets > 0.5
    else:
        axis = class_axis(outputs.dim())
        predicted = outputs.max(dim=axis).indices  # on a processor several times faster than argmax
        actual = targets.argmax(dim=axis) if targets.shape == outputs.shape else targets
    if predicted.shape != actual.shape:
        raise ShapeError(
            f"Outputs of shape {tuple(outputs.shape)} came with targets of shape {tuple(targets.shape)}.",
            f"Predictions of kind {kind!r} have the shape {tuple(predicted.shape)}, and so must the truth.",
            "Reshape the targets, or name the metric's kind: sparse, one_hot or binary.",
        )
    return predicted, actual


def takes_scores(kind: Kind | None) -> bool:
    """Whether logits decide as probabilities do: the largest stays the largest, but 0.5 does not stay 0.5."""
    return kind in ("sparse", "one_hot")
