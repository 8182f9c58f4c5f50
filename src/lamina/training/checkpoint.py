"""A run on disk: its configuration, its curves, its models, and everything it needs to go on."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from lamina.core.errors import FileFormatError, LaminaError
from lamina.core.files import replacing
from lamina.training.loop import Callback, Loop

CHECKPOINT = "last.ckpt"
CONFIG = "config.yaml"
_FREE = ("epochs", "precision", "metrics")  # what a resumed run may change
SaveModel = Callable[[Path], object]


class RunFolder(Callback):
    """Writes a run's folder as it trains.

        config.yaml         what was asked for
        results.csv         a row an epoch
        last.safetensors    the model after the last epoch, or as it was interrupted
        best.safetensors    the model of the best epoch
        last.ckpt           networks, optimizer, position, figures: what `resume=True` goes on from

    `save_model` writes the one-file model. The best epoch has the lowest val_loss; without validation there is no best one.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, config: Mapping[str, Any], save_model: SaveModel, resume: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.config, self.save_model = dict(config), save_model
        self.best: float | None = None
        self.checkpoint = self._open(resume)

    def _open(self, resume: bool) -> dict[str, Any] | None:
        path = self.folder / CHECKPOINT
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() and not (self.folder / CONFIG).exists():
            return None
        if not resume:
            raise LaminaError(
                f"{self.folder} already holds a run.",
                "A run is not written over another.",
                "Go on with it by resume=True (--resume), or choose another folder.",
            )
        if not path.exists():
            return None  # it was stopped before its first checkpoint
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise FileFormatError(
                f"{path} cannot be read ({error}).",
                "A checkpoint that lamina wrote was expected; this one is damaged or foreign.",
                "Remove it to start the run anew; best.safetensors and last.safetensors beside it are whole models.",
            ) from error
        for name, value in state.get("config", {}).items():
            if (
                name not in _FREE
                and self.config.get(name) != value
                and " at 0x" not in f"{value}{self.config.get(name)}"
            ):
                raise LaminaError(
                    f"The run in {self.folder} has {name}={value}, and {name}={self.config.get(name)} came.",
                    "A run goes on with what it began with.",
                    "Pass the same value, or choose another folder.",
                )
        return state

    def is_finished(self, epochs: int) -> bool:
        """Whether the run that was opened had come to its end, and no more epochs are asked of it than then."""
        return self.checkpoint is not None and bool(self.checkpoint["finished"]) and epochs <= self.checkpoint["epochs"]

    def restore(self, loop: Loop) -> int:
        """Puts the loop where the run stopped; returns the epoch it goes on with."""
        if self.checkpoint is None:
            return 0
        try:
            loop.load_state_dict(self.checkpoint["loop"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise LaminaError(
                f"The run in {self.folder} does not fit this network, optimizer or data ({str(error).splitlines()[0]}).",
                "A run goes on with the network and the classes that it began with.",
                "Give the same model and data, or choose another folder.",
            ) from error
        self.best, self.checkpoint = self.checkpoint["best"], None
        return loop.epoch if loop.batch else loop.epoch + 1

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Writes what was asked for."""
        with _writing(self.folder), replacing(self.folder / CONFIG) as path:
            path.write_text(yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes curves, models and checkpoint."""
        figure = logs.get("val_loss", math.nan)
        self.save_model(self.folder / "last.safetensors")
        if figure < (math.inf if self.best is None else self.best):  # NaN is never the best
            self.best = figure
            self.save_model(self.folder / "best.safetensors")
        self._write_results()
        self._write_checkpoint(finished=self.loop.stop or epoch + 1 == self.loop.epochs)

    def on_interrupt(self) -> str:
        """Saves the run between two updates."""
        self.save_model(self.folder / "last.safetensors")
        self._write_checkpoint(finished=False)
        return f"The run is saved in {self.folder}. It goes on with resume=True (--resume)."

    def _write_checkpoint(self, *, finished: bool) -> None:
        state = {
            "loop": self.loop.state_dict(),
            "best": self.best,
            "finished": finished,
            "epochs": self.loop.epochs,
            "config": self.config,
        }
        with _writing(self.folder), replacing(self.folder / CHECKPOINT) as path:
            torch.save(state, path)

    def _write_results(self) -> None:
        history = self.loop.history
        names = list(history.history)
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["epoch", *names])
        for row, epoch in enumerate(history.epoch):
            writer.writerow([epoch + 1, *(_cell(history.history[name], row) for name in names)])
        with _writing(self.folder), replacing(self.folder / "results.csv") as path:
            path.write_text(text.getvalue(), encoding="utf-8", newline="")


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A full disk or a folder that may not be written, told in three parts; what was there before is untouched."""
    try:
        yield
    except LaminaError:
        raise
    except (OSError, RuntimeError) as error:  # torch.save answers a full disk with a RuntimeError
        raise LaminaError(
            f"The run's folder {folder} could not be written ({error}).",
            "A folder that may be written, with room on its disk, was expected; what was there before is untouched.",
            "Make room or choose another folder, and go on with resume=True (--resume).",
        ) from error


def _cell(values: list[float], row: int) -> str:
    return f"{values[row]:.6g}" if row < len(values) else ""
