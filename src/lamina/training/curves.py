"""Figures as rows of a CSV file: one an epoch, or one every so many steps."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lamina.core.errors import LaminaError
from lamina.core.files import replacing
from lamina.metrics.metric import MeanMetric
from lamina.training.loop import Loop
from lamina.training.resumable import Resumable


class CSVLogger(Resumable):
    """Writes a row for each epoch (counted from 0): the epoch and every figure. With `append` an older file goes on."""

    _state = ("names", "before")
    main_only = True

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.path, self.separator, self.append = Path(filename), separator, append
        self.names: list[str] | None = None
        self.before = 0  # rows that were there when training began

    def _begin(self) -> None:
        self.names, self.before = None, 0
        if self.append and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in csv.reader(stream, delimiter=self.separator) if row]
            self.names, self.before = rows[0][1:] if rows else None, max(len(rows) - 1, 0)
        if self.names is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("", encoding="utf-8")

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Begins the file, or takes rows away of epochs that the resumed run had not ended when it was saved."""
        resumed = self._resumed = self._resumed and self.path.exists()
        super().on_train_begin(logs)
        if resumed:
            ended = {str(epoch) for epoch in self.loop.history.epoch}
            keep_rows(self.path, lambda at, first: at <= self.before or first in ended, delimiter=self.separator)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes the row; the header before the first."""
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter=self.separator)
            if self.names is None:
                self.names = sorted(logs)
                writer.writerow(["epoch", *self.names])
            writer.writerow([epoch, *(logs.get(name, "NA") for name in self.names)])


class Stretch:
    """The figures of the steps since the last look, from means over the epoch so far; steps weigh the same.

    A metric that is no mean over samples (an area under a curve, say) speaks for the epoch so far.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def figures(self, loop: Loop) -> dict[str, float]:
        """The figures; waits for the device."""
        now, steps, metrics = loop.figures(), loop.batch, loop.step.metrics
        seen, before = 0, {}
        if self.state.get("epoch") == loop.epochs_done and self.state["steps"] < steps:
            seen, before = self.state["steps"], self.state["means"]
        self.state = {"epoch": loop.epochs_done, "steps": steps, "means": now}
        return {
            name: (mean * steps - before[name] * seen) / (steps - seen)
            if name in before and isinstance(metrics.get(name), MeanMetric | None)
            else mean
            for name, mean in now.items()
        }


class StepLogger(Resumable):
    """Writes a row every `every` steps: the step (counted from 1, over all epochs), the epoch, learning rates and figures.

    The figures are means over the steps since the last row, of training alone and of this process. Each row waits for the
    device. A resumed run goes on in the same file, from the step at which it was saved.
    """

    _state = ("names", "stretch")
    main_only = True

    def __init__(self, filename: str | os.PathLike[str] = "steps.csv", every: int = 50) -> None:
        require_steps("StepLogger", "every", every)
        self.path, self.every = Path(filename), every
        self.names: list[str] | None = None
        self._stretch = Stretch()

    @property
    def stretch(self) -> dict[str, Any]:
        """What the next row's figures are counted from."""
        return self._stretch.state

    @stretch.setter
    def stretch(self, state: dict[str, Any]) -> None:
        self._stretch.state = state

    def _begin(self) -> None:
        self.names, self.stretch = None, {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("", encoding="utf-8")

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Begins the file, or takes rows away that lie behind the step at which the resumed run was saved."""
        resumed = self._resumed = self._resumed and self.path.exists()
        super().on_train_begin(logs)
        if resumed:
            keep_rows(self.path, lambda _, first: first.isdecimal() and int(first) <= self.loop.steps_done)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Writes the row, if it is time."""
        if self.loop.steps_done % self.every:
            return
        figures = learning_rates(self.loop) | self._stretch.figures(self.loop)
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if self.names is None:
                self.names = list(figures)
                writer.writerow(["step", "epoch", *self.names])
            cells = (f"{figures[name]:.6g}" if name in figures else "NA" for name in self.names)
            writer.writerow([self.loop.steps_done, self.loop.epoch + 1, *cells])


def keep_rows(path: Path, keeps: Callable[[int, str], bool], *, delimiter: str = ",") -> None:
    """Keeps the header and the rows that `keeps` wants, by their place from 1 and first cell; the file is never half written."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream, delimiter=delimiter) if row]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        kept = [row for at, row in enumerate(rows) if at == 0 or keeps(at, row[0])]
        csv.writer(stream, delimiter=delimiter).writerows(kept)


def learning_rates(loop: Loop) -> dict[str, float]:
    """The learning rate of each update, by name where there are several."""
    updates = loop.step.updates
    single = len(updates) == 1
    rates = {name: float(update.optimizer.param_groups[0]["lr"]) for name, update in updates.items()}
    return {"learning_rate" if single else f"learning_rate_{name}": rate for name, rate in rates.items()}


def require_steps(callback: str, name: str, steps: int) -> None:
    """Raises LaminaError unless that is a number of steps."""
    if not isinstance(steps, int) or steps < 1:
        raise LaminaError(
            f"{callback}: {name} is {steps!r}.",
            "A whole number of steps was expected, 1 or more.",
            "Pass for example 50.",
        )
