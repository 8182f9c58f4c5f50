"""A run on disk: its configuration, its curves, its models, and everything it needs to go on."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lamina.core.errors import FileFormatError, LaminaError
from lamina.core.files import remove_leftovers, replacing
from lamina.core.tree import flatten
from lamina.core.warnings import warn
from lamina.training import state as state_file
from lamina.training.callback import Callback
from lamina.training.loop import Loop
from lamina.training.world import Agreement, World
from lamina.training.writer import Writer

CHECKPOINT = "last.ckpt"
PREVIOUS = "previous.ckpt"
CONFIG = "config.yaml"
RESULTS = "results.csv"
LAST, BEST = "last.safetensors", "best.safetensors"
_FREE = ("epochs", "precision", "metrics")  # what a resumed run may change
_NAMED = 5  # parameters of a network in a message
WriteModel = Callable[[Path], object]


class RunFolder(Callback):
    """Writes a run's folder as it trains.

        config.yaml         what was asked for
        results.csv         a row an epoch
        last.safetensors    the model after the last epoch, or as it was interrupted
        best.safetensors    the model of the best epoch
        last.ckpt           networks, optimizers, position, figures: what `resume=True` goes on from
        previous.ckpt       the checkpoint before, in case the last one is damaged

    A checkpoint is taken at the end of each epoch, every `every_steps` steps, and as soon as `every_minutes` minutes have
    passed since the one before; None is never. It is copied between two updates and written by another thread. While one is
    being written, another that falls due in an epoch waits for a later step; the end of an epoch and of training wait for
    it. Where many processes accumulate gradients it waits for their update, so that the run goes on bit for bit. What
    goes wrong in writing is raised at the next step, and the files of before are whole.

    Each file is the old one or the new one, however the process ends. The checkpoint comes first and holds what the
    others are made of: a run killed in between writes them anew when it goes on.

    `take_model` takes the model as it is, and gives the function that writes it to a path. The best epoch has the lowest
    val_loss; without validation there is no best one. `data` tells the data apart (see `data.fingerprint`), and with
    `config` must be the same where a run goes on. `resume_hint` says how it does, after an interruption. Where many
    processes train each has a RunFolder, and `writes` is True in the first alone.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        config: Mapping[str, Any],
        take_model: Callable[[], WriteModel],
        data: Mapping[str, Any] | None = None,
        resume: bool = False,
        every_steps: int | None = None,
        every_minutes: float | None = 10.0,
        resume_hint: str | None = None,
        writes: bool = True,
    ) -> None:
        _check_intervals(every_steps, every_minutes)
        self.folder = Path(folder)
        self.config, self.data, self.take_model = dict(config), dict(data or {}), take_model
        self.every_steps, self.every_minutes, self.writes = every_steps, every_minutes, writes
        self.resume_hint = resume_hint or "It goes on by the same call with resume=True."
        self.facts: Mapping[
            str, Any
        ] = {}  # what config.yaml holds besides, None as nothing; it may differ where a run goes on
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._writer, self._agreed = Writer(), Agreement(World())
        self._since = (0, 0.0)  # the step and the time of the last checkpoint
        self._due = False  # as all processes have agreed
        self._last_is_whole = True
        self._over = False  # the run that was opened had come to its end
        self.checkpoint = self._open(resume)

    # Opening ------------------------------------------------------------------------------------------------------

    def _open(self, resume: bool) -> dict[str, Any] | None:
        last, previous = self.folder / CHECKPOINT, self.folder / PREVIOUS
        if self.writes:
            with _writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            if not resume and any(path.exists() for path in (last, previous, self.folder / CONFIG)):
                raise LaminaError(
                    f"{self.folder} already holds a run.",
                    "A run is not written over another.",
                    "Go on with it by resume=True (--resume), or choose another folder.",
                )
            for name in (CHECKPOINT, CONFIG, RESULTS, LAST, BEST):
                remove_leftovers(self.folder / name)
        if not resume:
            return None
        try:
            if last.exists():
                return state_file.read(last)
            return state_file.read(previous) if previous.exists() else None  # None: stopped before its first checkpoint
        except FileFormatError as damage:
            if not last.exists() or not previous.exists() or "format version" in damage.came:
                raise
            state = self._before(damage)
            self._last_is_whole = False  # and must not take the place of the previous one
            place = state["loop"]["position"]
            warn(
                f"{damage.came} The run goes on from the checkpoint before it, {previous}, "
                f"after step {place['steps_done']:,} (epoch {place['epoch'] + 1}). What came after is trained again."
            )
            return state
        except OSError as error:
            raise LaminaError(
                f"The checkpoint of the run in {self.folder} could not be read ({error}).",
                "A file that may be read was expected.",
                "Check its permissions and the disk; nothing was changed.",
            ) from error

    def _before(self, damage: FileFormatError) -> dict[str, Any]:
        """The checkpoint before the last one, which is damaged. Raises FileFormatError where both are."""
        try:
            return state_file.read(self.folder / PREVIOUS)
        except FileFormatError as other:
            model = self.folder / LAST
            remedy = f"Train anew in another folder; nothing was changed in {self.folder}."
            if model.exists():
                remedy += f" The model of the last epoch is in {model}: lamina.load opens it."
            raise FileFormatError(
                f"Both checkpoints of the run in {self.folder} are damaged. {damage.came} {other.came}",
                "A run goes on from last.ckpt, or from previous.ckpt where that is damaged.",
                f"Restore one of the two from a backup. {remedy}",
            ) from other

    def is_finished(self, epochs: int) -> bool:
        """Whether the run that was opened had come to its end, and no more epochs are asked of it than then."""
        self._over = (
            self.checkpoint is not None and bool(self.checkpoint["finished"]) and epochs <= self.checkpoint["epochs"]
        )
        return self._over

    def restore(self, loop: Loop) -> int:
        """Puts the loop where the run stopped; returns the epoch it goes on with.

        Raises LaminaError that lists every setting, every fact of the data and the first parameters that differ.
        """
        state = self.checkpoint
        if state is None:
            return 0
        self._refuse_others(state, loop)
        try:
            loop.load_state_dict(state["loop"])
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise LaminaError(
                f"The run in {self.folder} does not fit this network, optimizer or data ({str(error).splitlines()[0]}).",
                "A run goes on with the network, the optimizer and the classes that it began with.",
                "Give the same model and data, or choose another folder.",
            ) from error
        self.best, self.best_epoch, self.checkpoint, self.loop = state["best"], state["best_epoch"], None, loop
        if loop.history.epoch:  # a kill may have come between the checkpoint and the rest
            models = [] if loop.batch else [LAST, BEST] if self.best_epoch == loop.epoch else [LAST]
            model = self.take_model() if models else None  # by all: a network may be spread over them
            if self.writes:
                self._write(None, models, model, self._results())
        return loop.epoch if loop.batch else loop.epoch + 1

    def _refuse_others(self, state: Mapping[str, Any], loop: Loop) -> None:
        came = {name: value for name, value in self.config.items() if name not in _FREE}
        was = {name: value for name, value in state["config"].items() if name not in _FREE}
        found = _differences(was, came) + _differences(state["data"], self.data, "data: ")
        nets = {name: _shapes(net.state_dict()) for name, net in loop.step.networks.items()}
        saved = {name: _shapes(values) for name, values in state["loop"]["networks"].items()}
        parts = _differences(saved, nets, "network: ")
        found += parts[:_NAMED] + [f"and {len(parts) - _NAMED} more of the network"] * (len(parts) > _NAMED)
        if found:
            raise LaminaError(
                f"The run in {self.folder} is another one than came: {'; '.join(found)}.",
                f"A run goes on with what it began with; only {', '.join(_FREE)} may change.",
                "Give the same model, data and settings, or choose another folder.",
            )

    # Training -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Writes what was asked for; what others have written into the file stays."""
        self._agreed = Agreement(self.loop.world)
        self._since = (self.loop.steps_done, time.monotonic())
        if not self.writes or self._over:
            return
        path = self.folder / CONFIG
        with _writing(self.folder):
            there = _read_yaml(path) if path.exists() else {}
            told = {**there, **self.config, **self.facts}
            told = {name: value for name, value in told.items() if value is not None or name not in self.facts}
            text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Takes a checkpoint where one is due. Of many processes the first says so, and all take part."""
        self._writer.check()
        agreed = self._agreed(self.writes and self._is_due() and not self._writer.busy)
        self._due = self._due or (agreed is not None and bool(agreed[0]))
        if self._due and not self._waits():
            self._save()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes curves, models and checkpoint."""
        figure = logs.get("val_loss", math.nan)
        models = [LAST]
        if figure < (math.inf if self.best is None else self.best):  # NaN is never the best
            self.best, self.best_epoch = figure, epoch
            models.append(BEST)
        self._save(models)

    def on_interrupt(self) -> str | None:
        """Saves the run between two updates, and waits until it is on the disk."""
        with contextlib.suppress(LaminaError):
            self._writer.wait()  # if the last one failed, this one may not
        self._save([LAST])
        self._writer.wait()
        return f"The run is saved in {self.folder}. {self.resume_hint}" if self.writes else None

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Waits until all is on the disk."""
        self._writer.wait()

    def kept(self) -> str:
        """Which checkpoint there is to go back to, for a message."""
        path = self.folder / (CHECKPOINT if self._last_is_whole else PREVIOUS)
        return f"{path} is kept as it was" if path.exists() or self._writer.busy else "no checkpoint was taken before"

    def _is_due(self) -> bool:
        steps, moment = self._since
        if self.every_steps is not None and self.loop.steps_done - steps >= self.every_steps:
            return True
        return self.every_minutes is not None and time.monotonic() - moment >= 60 * self.every_minutes

    def _waits(self) -> bool:
        """Whether an update is in the making: one process keeps its gradients as they are, those of many are summed, which rounds."""
        return self.loop.world.size > 1 and any(update.is_open for update in self.loop.step.updates.values())

    def _save(self, models: Sequence[str] = ()) -> None:
        """Takes the run as it is, and has it written: the checkpoint, then what is made of it."""
        loop = self.loop
        self._writer.wait()  # before the copy, or there would be two of them in memory
        state = loop.state_dict()  # all processes take part in it
        model = self.take_model() if models else None  # in this too: a network may be spread over them
        self._since, self._due = (loop.steps_done, time.monotonic()), False
        if not self.writes:
            return
        told = {
            "loop": state,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "finished": loop.batch == 0 and (loop.stop or loop.epoch + 1 >= loop.epochs),
            "epochs": loop.epochs,
            "config": self.config,
            "data": self.data,
        }
        flat = flatten(told)
        results = self._results() if models else None
        self._writer.start(lambda: self._write(flat, models, model, results))

    def _write(self, state: Any, models: Sequence[str], model: WriteModel | None, results: str | None) -> None:
        with _writing(self.folder):
            if state is not None:
                previous = self.folder / PREVIOUS if self._last_is_whole else None
                state_file.write(self.folder / CHECKPOINT, state, previous=previous)
                self._last_is_whole = True
            for name in models:
                assert model is not None
                model(self.folder / name)
            if results is not None:
                with replacing(self.folder / RESULTS) as path:
                    path.write_text(results, encoding="utf-8", newline="")

    def _results(self) -> str:
        history = self.loop.history
        names = list(history.history)
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["epoch", *names])
        for row, epoch in enumerate(history.epoch):
            writer.writerow([epoch + 1, *(f"{history.history[name][row]:.6g}" for name in names)])
        return text.getvalue()


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A full disk or a folder that may not be written, told in three parts; what was there before is untouched."""
    try:
        yield
    except OSError as error:
        raise LaminaError(
            f"The run's folder {folder} could not be written ({error}).",
            "A folder that may be written, with room on its disk, was expected; what was there before is untouched.",
            "Make room or choose another folder, and go on with resume=True (--resume).",
        ) from error


def _check_intervals(steps: int | None, minutes: float | None) -> None:
    for name, value in (("every_steps", steps), ("every_minutes", minutes)):
        if value is not None and not value > 0:
            raise LaminaError(
                f"{name} is {value!r}.", "A number above 0 was expected.", "None takes a checkpoint an epoch."
            )


def _differences(was: Mapping[str, Any], came: Mapping[str, Any], place: str = "") -> list[str]:
    """What differs between two nested dicts, a text for each entry."""
    found = []
    for name in [*was, *(name for name in came if name not in was)]:
        a, b = was.get(name), came.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{place}{name} ")
        elif a != b and " at 0x" not in f"{a}{b}":  # an object without a name of its own is told by its address
            found.append(f"{place}{name} was {_told(a)}, and {_told(b)} came")
    return found


def _told(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _shapes(state: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: "x".join(map(str, value.shape)) or "scalar" for name, value in state.items() if hasattr(value, "shape")
    }


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        there = None
    return there if isinstance(there, dict) else {}
