"""Snapshots: the models of one run that an ensemble can be made of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lamina.core.errors import LaminaError
from lamina.training.callback import Callback


class Snapshots(Callback):
    """Keeps the model at the end of every `every`-th epoch in `folder`, as epoch_005.safetensors and so on.

    With a schedule that ends a cycle there, such as CosineRestarts, these are the members of a snapshot ensemble (Huang 2017,
    arXiv:1704.00109): several networks for the cost of training one.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int) -> None:
        if every < 1:
            raise LaminaError(
                f"Snapshots: every is {every}.", "A number of epochs was expected.", "Pass the cycle's length."
            )
        self.folder, self.every = Path(folder), every

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Makes sure that there is a model."""
        if self.model is None:
            raise LaminaError(
                "Snapshots runs on a bare loop.",
                "It saves a Model.",
                "Train by Model.fit, or save loop.step.networks in a callback of your own.",
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Saves, where a cycle ends."""
        if (epoch + 1) % self.every == 0:
            self.model.save(self.folder / f"epoch_{epoch + 1:03d}.safetensors")
