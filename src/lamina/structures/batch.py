"""What the loop hands to a step, and what a step hands back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

Tensors = Tensor | tuple[Tensor, ...]
_NO_AUXILIARY: Mapping[str, Tensor] = {}


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


def outputs_of(answer: Any) -> tuple[tuple[Tensor, ...], Mapping[str, Tensor]]:
    """What a network answers as a tuple of outputs, and its auxiliary outputs by name.

    Of a named tuple with a field `logits` these are the only output; its other fields are auxiliary, and help in training alone.
    """
    if isinstance(answer, Tensor):
        return (answer,), _NO_AUXILIARY
    fields = answer._asdict() if hasattr(answer, "_asdict") else {}
    logits = fields.pop("logits", None)
    if logits is None:
        return tuple(answer), _NO_AUXILIARY
    return (logits,), {name: value for name, value in fields.items() if value is not None}
