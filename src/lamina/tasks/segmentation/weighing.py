"""How rare classes of pixels are made to count as much as frequent ones: weights in the loss, from the training data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from lamina import losses
from lamina.core.errors import LaminaError, unknown_name
from lamina.data.balance import PixelCounts, median_frequency, pixel_counts, sqrt_median_frequency
from lamina.losses import LossSum, PixelCrossentropy
from lamina.models.annotated_data import Annotated

BALANCES: dict[str, Callable[[PixelCounts], Tensor]] = {
    "median_frequency": median_frequency,
    "sqrt_median_frequency": sqrt_median_frequency,
}


def check(balance: str | None) -> None:
    """Raises UnknownNameError for what is no balance of pixels."""
    if balance is not None and balance not in BALANCES:
        raise unknown_name("balance of pixels", balance, BALANCES)


def weighed(loss: Any, dataset: Annotated, balance: str) -> losses.Loss:
    """The loss of `compile`, its pixel_crossentropy weighed by the classes' pixels in the data, as `balance` says.

    Weights that it has, of a fit before or of one's own, are replaced. Raises LaminaError where the loss holds none.
    """
    weights = tuple(BALANCES[balance](pixel_counts(dataset)).tolist())
    found = losses.get(loss)
    parts = found.losses if isinstance(found, LossSum) else (found,)
    if not any(isinstance(part, PixelCrossentropy) for part in parts):
        raise LaminaError(
            f"balance came with the loss {loss!r}.",
            "It weighs the classes of pixel_crossentropy; dice and lovasz count all classes alike as they are.",
            'Compile with loss="pixel_crossentropy" or "pixel_crossentropy+dice", or leave balance out.',
        )
    changed = tuple(
        dataclasses.replace(part, class_weights=weights) if isinstance(part, PixelCrossentropy) else part
        for part in parts
    )
    return dataclasses.replace(found, losses=changed) if isinstance(found, LossSum) else changed[0]
