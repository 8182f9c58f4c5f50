"""What the loop hands to a step, and what a step hands back."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

Tensors = Tensor | tuple[Tensor, ...]


class Batch(NamedTuple):
    """One batch: inputs (B ...), targets (B ...) and weights (B). Tuples where there are several inputs or outputs."""

    inputs: Tensors
    targets: Tensors | None = None
    weights: Tensor | None = None

    @property
    def size(self) -> int:
        """How many samples the batch holds."""
        first = self.inputs if isinstance(self.inputs, Tensor) else self.inputs[0]
        return first.shape[0]


class Logs:
    """Scalars of one batch and the number of samples (or tokens) they are the mean of.

    The loop detaches the values, leaves them on the device, and weighs them by `count`: a mean of means would be wrong
    for a ragged last batch.
    """

    __slots__ = ("count", "values")

    def __init__(self, count: int | float | Tensor, **values: Tensor) -> None:
        self.count = count
        self.values = values
