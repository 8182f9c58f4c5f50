"""What every loss offers, and the arithmetic that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError, ShapeError

Activation = Literal["softmax", "sigmoid"]
AccuracyKind = Literal["sparse", "one_hot", "binary", "signs", "largest", "targets"]
Reduction = Literal["mean", "none"]

EPSILON = 1e-7  # Keras's: probabilities are clipped to [EPSILON, 1 - EPSILON] before their logarithm is taken


class Loss(ABC):
    """A loss on a network's final outputs, `loss(outputs, targets)`, and on what a closing softmax or sigmoid takes in.

    `activation` is the one that `from_logits` has taken in (None: there is no such form). `accuracy` says what the
    metric "accuracy" means beside this loss ("targets": their dtype decides). Reduction "mean" gives a scalar, "none"
    a value of each sample (B): the mean of its entries, of which ignored ones are 0. For all losses
    loss(..., reduction="none").sum() / count is the mean. Half precisions are raised to float32; float64 stays.
    `takes_shares`: instead of integer labels (B) it also takes the share of each class (B K), as mixed samples have it.
    """

    activation: Activation | None = None
    accuracy: AccuracyKind = "targets"
    ignore_class: int | None = None
    takes_shares: bool = False

    logits_only: bool = False  # whether somebody said that outputs are logits, whatever they look like

    @abstractmethod
    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of final outputs (probabilities, where the loss wants them)."""

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of what stands before `activation`; the same as the call where there is none."""
        return self(logits, targets, reduction=reduction)

    def count(self, targets: Shaped[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """What the mean of a batch divides by, in samples, from prepared targets; None where it is their number.

        Less than their number where entries are ignored, their summed weight where classes have one. Means of several
        batches are the mean of all samples only if weighed by it.
        """
        del targets
        return None

    def check(  # noqa: B027 (checking nothing is a choice)
        self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]
    ) -> None:
        """Raises ShapeError or DataError if a data set's targets do not go with outputs of this shape (batch first)."""

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Shaped[Tensor, "*U"]:
        """Targets in the dtype and, given `output_shape` (batch first), in the shape that this loss compares."""
        return as_outputs(targets.to(torch.float32), output_shape)


def raised(values: Tensor) -> Tensor:
    """Half precisions as float32, for a loss is a small number made of many; others as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def reduced(values: Float[Tensor, "*S"], reduction: Reduction) -> Float[Tensor, "*R"]:
    """The mean of all values, or of each sample's."""
    if reduction == "mean":
        return values.mean()
    if reduction != "none":
        raise LaminaError(
            f"The reduction {reduction!r} came.",
            'A loss knows "mean" and "none".',
            'For a sum use "none" and sum the samples.',
        )
    return values.flatten(1).mean(dim=1) if values.dim() > 1 else values


def in_samples(shares: Shaped[Tensor, "*T"]) -> Float[Tensor, ""]:
    """The sum of the shares of all entries, in samples: a sample whose every entry has the share 1 counts as 1."""
    return shares.sum().float() / max(shares.shape[1:].numel(), 1)


def class_axis(rank: int) -> int:
    """Where the classes stand: second in images (B K H W), last in everything else."""
    return 1 if rank == 4 else rank - 1


def as_outputs(targets: Tensor, output_shape: Sequence[int | None] | None) -> Tensor:
    """Targets with the axis of length 1 that outputs have and they lack, (B) to (B 1), or without a last one more."""
    if output_shape is None:
        return targets
    rank, axis = len(output_shape), class_axis(len(output_shape))
    if targets.dim() == rank - 1 and output_shape[axis] == 1:
        return targets.unsqueeze(axis)
    if targets.dim() == rank + 1 and targets.shape[-1] == 1:
        return targets.squeeze(-1)
    return targets


def require_same_shape(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Raises ShapeError: torch would broadcast (B 1) against (B) to B x B values and train on nonsense."""
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"{type(loss).__name__}: outputs have shape {tuple(outputs.shape)} but targets {tuple(targets.shape)}.",
            "Both must have one shape.",
            "Use loss.prepare(targets, outputs.shape), or for integer labels a sparse_categorical_crossentropy.",
        )
