"""Several losses of one output as one: their weighted sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.losses.loss import AccuracyKind, Activation, Loss, Reduction
from lamina.losses.overlap import Dice
from lamina.losses.pixels import PixelCrossentropy


@dataclass(frozen=True)
class LossSum(Loss):
    """The sum of the losses, each times its weight (all 1 where none are said); by name "pixel_crossentropy+dice".

    All take the same outputs and targets: logits of one activation, and the same ignored label. Over several batches it is
    weighed by the count of the first.
    """

    losses: tuple[Loss, ...] = (PixelCrossentropy(), Dice())
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        parts = tuple(self.losses)
        if not parts or not all(isinstance(part, Loss) for part in parts):
            raise LaminaError(
                f"LossSum: losses is {self.losses!r}.",
                "Loss objects were expected.",
                'Pass for example (lamina.losses.get("pixel_crossentropy"), lamina.losses.get("dice")).',
            )
        weights = (1.0,) * len(parts) if self.weights is None else tuple(float(weight) for weight in self.weights)
        if len(weights) != len(parts) or not all(0 <= weight < math.inf for weight in weights):
            raise LaminaError(
                f"LossSum: weights are {weights} for {len(parts)} losses.",
                "A finite number of 0 or more for each loss was expected.",
                "Pass one for each, or none.",
            )
        for told in ("activation", "ignore_class", "accuracy"):
            kinds = {part: getattr(part, told) for part in parts}
            if len(set(kinds.values())) > 1:
                raise LaminaError(
                    f"LossSum: {told} is {', '.join(f'{kind!r} for {type(part).__name__}' for part, kind in kinds.items())}.",
                    "Losses that are added take the same outputs and targets.",
                    "Say the same ignore_class for all, or leave one out.",
                )
        object.__setattr__(self, "losses", parts)
        object.__setattr__(self, "weights", weights)

    @property
    def activation(self) -> Activation | None:  # type: ignore[override]
        """That of the losses."""
        return self.losses[0].activation

    @property
    def accuracy(self) -> AccuracyKind:  # type: ignore[override]
        """That of the losses."""
        return self.losses[0].accuracy

    @property
    def ignore_class(self) -> int | None:  # type: ignore[override]
        """That of the losses."""
        return self.losses[0].ignore_class

    @property
    def takes_shares(self) -> bool:  # type: ignore[override]
        """Whether all of the losses do."""
        return all(part.takes_shares for part in self.losses)

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The sum for final outputs."""
        return self._sum([part(outputs, targets, reduction=reduction) for part in self.losses], targets, reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The sum for what stands before the activation."""
        values = [part.from_logits(logits, targets, reduction=reduction) for part in self.losses]
        return self._sum(values, targets, reduction)

    def count(self, targets: Shaped[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """That of the first loss."""
        return self.losses[0].count(targets)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises as each of the losses."""
        for part in self.losses:
            part.check(output_shape, targets)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Shaped[Tensor, "*U"]:
        """As the first loss."""
        return self.losses[0].prepare(targets, output_shape)

    def _sum(self, values: Sequence[Tensor], targets: Tensor, reduction: Reduction) -> Tensor:
        assert self.weights is not None
        total = values[0] * self.weights[0]
        first = self.count(targets)
        for part, value, weight in zip(self.losses[1:], values[1:], self.weights[1:], strict=True):
            if reduction == "none":  # the sum of all samples is divided by the first one's count
                own = part.count(targets)
                value = value * (len(targets) if first is None else first)
                value = value / (len(targets) if own is None else own.clamp(min=1e-12))
            total = total + value * weight
        return total
