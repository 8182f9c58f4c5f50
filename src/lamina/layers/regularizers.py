"""Penalties on weights that are added to the loss, with Keras's names and strengths."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lamina.core.errors import unknown_name


@dataclass(frozen=True)
class L1L2:
    """l1 times the sum of absolute values plus l2 times the sum of squares."""

    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, weights: Float[Tensor, "*S"]) -> Float[Tensor, ""]:
        penalty = weights.new_zeros(())
        if self.l1:
            penalty = penalty + self.l1 * weights.abs().sum()
        if self.l2:
            penalty = penalty + self.l2 * weights.square().sum()
        return penalty


@dataclass(frozen=True)
class L1:
    """l1 times the sum of absolute values."""

    l1: float = 0.01

    def __call__(self, weights: Float[Tensor, "*S"]) -> Float[Tensor, ""]:
        return self.l1 * weights.abs().sum()


@dataclass(frozen=True)
class L2:
    """l2 times the sum of squares."""

    l2: float = 0.01

    def __call__(self, weights: Float[Tensor, "*S"]) -> Float[Tensor, ""]:
        return self.l2 * weights.square().sum()


Regularizer = L1 | L2 | L1L2
REGULARIZERS: dict[str, type[Regularizer]] = {"L1": L1, "L2": L2, "L1L2": L1L2}
NAMES: dict[str, Regularizer] = {"l1": L1(), "l2": L2(), "l1_l2": L1L2(0.01, 0.01)}


def get(spec: str | Regularizer | None) -> Regularizer | None:
    """The regularizer of a name ("l1", "l2", "l1_l2"), or the object itself."""
    if spec is None or isinstance(spec, (L1, L2, L1L2)):
        return spec
    if isinstance(spec, str) and spec.lower() in NAMES:
        return NAMES[spec.lower()]
    raise unknown_name("regularizer", spec, NAMES)


def of(specs: dict[str, str | Regularizer | None]) -> dict[str, Regularizer]:
    """The regularizers that are there, by the same keys."""
    found = {key: get(spec) for key, spec in specs.items()}
    return {key: regularizer for key, regularizer in found.items() if regularizer is not None}
