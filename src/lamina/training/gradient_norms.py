"""The size of the gradients, layer by layer, while training goes on."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.training.checkpoint import RunFolder
from lamina.training.curves import keep_rows, require_steps
from lamina.training.resumable import Resumable
from lamina.training.world import is_spread

GRADIENTS = "gradients.csv"


class GradientNorms(Resumable):
    """Writes the Euclidean norm of the gradient of each layer's weights, a row every `every` steps.

    Columns: the step (counted from 1, over all epochs), then the layers that have weights, from the input on; biases and the scales
    of normalisations are left out, as in Glorot & Bengio 2010 (figures 7 and 8), where gradients that shrink or grow by depth
    show. The norms are those that the optimizer saw (averaged over micro-batches and processes, clipped where
    one clips). They stay on the device until the end of the epoch, so no step waits. Where a network is sharded over processes
    nothing is written. Without `filename` it is gradients.csv in the run's folder.
    """

    _state = ("names",)
    main_only = True

    def __init__(self, filename: str | os.PathLike[str] | None = None, every: int = 50) -> None:
        require_steps("GradientNorms", "every", every)
        self.path, self.every = None if filename is None else Path(filename), every
        self.names: list[str] | None = None
        self._weights: list[nn.Parameter] = []
        self._kept: list[tuple[int, Tensor]] = []

    def _begin(self) -> None:
        self.names = None
        path = self._place()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")

    def _place(self) -> Path:
        if self.path is not None:
            return self.path
        folder = next((c.folder for c in self.loop.callbacks if isinstance(c, RunFolder)), None)
        if folder is None:
            raise LaminaError(
                "GradientNorms came without a file, and training without a run's folder.",
                "It writes gradients.csv into the folder of the run.",
                'Pass run="runs/NAME" to fit, or GradientNorms("gradients.csv").',
            )
        return folder / GRADIENTS

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Begins the file, or takes rows away that lie behind the step at which the resumed run was saved."""
        path = self._place()
        resumed = self._resumed = self._resumed and path.exists()
        super().on_train_begin(logs)
        if resumed:
            keep_rows(path, lambda _, first: first.isdecimal() and int(first) <= self.loop.steps_done)
        self._kept, named = [], _weights(self.loop.step.networks)
        if any(is_spread(net) for net in self.loop.step.networks.values()):
            named = {}
        if self.names is not None and self.names != list(named):  # layers that were frozen may learn now
            self._begin()
        self._weights = list(named.values())
        if self.names is None and named:
            self.names = list(named)
            with path.open("a", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerow(["step", *self.names])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Takes the norms, if it is time and an update was made."""
        if self.loop.steps_done % self.every or not self._weights:
            return
        if any(update.is_open for update in self.loop.step.updates.values()):
            return  # gathered in part, and perhaps scaled
        found = {at: weight.grad for at, weight in enumerate(self._weights) if weight.grad is not None}
        if not found:
            return
        norms = dict(zip(found, torch._foreach_norm(list(found.values())), strict=True))  # one kernel for all
        none = norms[next(iter(norms))].new_full((), torch.nan)
        row = torch.stack([norms.get(at, none) for at in range(len(self._weights))])
        self._kept.append((self.loop.steps_done, row))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes the rows of the epoch."""
        self._write()

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Writes what is left of an epoch that did not end."""
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; the rows so far are in the file then."""
        self._write()
        return super().state_dict()

    def _write(self) -> None:
        if not self._kept:
            return
        steps, rows = [step for step, _ in self._kept], torch.stack([row for _, row in self._kept]).tolist()
        with self._place().open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(
                [step, *(f"{x:.6g}" for x in row)] for step, row in zip(steps, rows, strict=True)
            )
        self._kept = []


def _weights(networks: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The weights that are matrices or kernels and learn, by the name of their layer; a shared one once."""
    found: dict[str, nn.Parameter] = {}
    for network, net in networks.items():
        for name, weight in net.named_parameters():
            if weight.requires_grad and weight.dim() >= 2:
                layer = (
                    name.removesuffix(".weight") if len(networks) == 1 else f"{network}.{name.removesuffix('.weight')}"
                )
                found[layer] = weight
    return found
