"""How rare classes of pixels are made to count as much as frequent ones: weights in the loss, from the training data."""

from __future__ import annotations

import dataclasses
from typing import Any

from lamina import losses
from lamina.core.errors import LaminaError, unknown_name
from lamina.data.balance import median_frequency, pixel_counts
from lamina.losses import LossSum, PixelCrossentropy
from lamina.models.annotated_data import Annotated

BALANCES = ("median_frequency",)


def check(balance: str | None) -> None:
    """Raises UnknownNameError for what is no balance of pixels."""
    if balance is not None and balance not in BALANCES:
        raise unknown_name("balance of pixels", balance, BALANCES)


def weighed(loss: Any, dataset: Annotated) -> losses.Loss:
    """The loss of `compile`, its pixel_crossentropy weighed by median frequency / frequency of each class in the data.

    Raises LaminaError where the loss holds none, or one that has weights already.
    """
    weights = tuple(median_frequency(pixel_counts(dataset)).tolist())
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
