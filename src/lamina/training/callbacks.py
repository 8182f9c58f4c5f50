"""Callbacks with Keras's names, arguments and meaning. They act between epochs and leave the loop alone otherwise.

A callback that a resumed run brings back keeps its state; any other begins anew with each `fit`.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.training.averaging import averaged
from lamina.training.callback import Callback
from lamina.training.curves import CSVLogger as CSVLogger
from lamina.training.curves import StepLogger as StepLogger
from lamina.training.finite import first_nonfinite, rows_in_hand
from lamina.training.gradient_norms import GradientNorms as GradientNorms
from lamina.training.history import more_is_better
from lamina.training.resumable import Resumable
from lamina.training.small_loss import RampSmallLoss as RampSmallLoss
from lamina.training.snapshots import Snapshots as Snapshots
from lamina.training.step import Step
from lamina.training.tensorboard import TensorBoard as TensorBoard
from lamina.training.update import Update
from lamina.training.world import spread

Mode = Literal["auto", "min", "max"]


class Monitor(Resumable):
    """Follows one figure of the logs; `best` is its best value so far."""

    def __init__(self, monitor: str, *, mode: Mode, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise LaminaError(
                f"{type(self).__name__}: mode is {mode!r}.",
                'It is "min" where less is better, "max" where more is, or "auto".',
                'Leave it out for "auto", which goes by the name.',
            )
        self.monitor, self.min_delta = monitor, abs(min_delta)
        known = mode == "max" if mode != "auto" else more_is_better(monitor)
        if known is None:
            raise LaminaError(
                f"{type(self).__name__} monitors {monitor!r}.",
                "Its name does not tell whether more or less of it is better.",
                'Pass mode="max" or mode="min".',
            )
        self.more_is_better = known
        self.best: float | None = None

    def read(self, logs: Mapping[str, float]) -> float:
        """The figure; raises LaminaError where it is not among the logs."""
        if self.monitor in logs:
            return float(logs[self.monitor])
        remedy = "Monitor one of these."
        if self.monitor.startswith("val_") and not any(name.startswith("val_") for name in logs):
            remedy = "Give fit validation_data or validation_split, or monitor one of these."
        raise LaminaError(
            f"{type(self).__name__} monitors {self.monitor!r}, which is not logged.",
            f"Logged: {', '.join(logs)}.",
            remedy,
        )

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than another by more than `min_delta`; NaN is better than nothing."""
        if than is None:
            return not math.isnan(value)
        return value - self.min_delta > than if self.more_is_better else value + self.min_delta < than


class EarlyStopping(Monitor):
    """Ends training when a figure has not become better for `patience` epochs; may put the best weights back.

    `baseline`: what the figure has to beat before patience is renewed. `start_from_epoch`: epochs that are not looked at.
    """

    _state = ("best", "best_epoch", "wait", "stopped_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: Mode = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode=mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self._begin()

    def _begin(self) -> None:
        self.best = None
        self.best_epoch = self.wait = self.stopped_epoch = 0
        self.best_weights: dict[str, dict[str, Tensor]] | None = None

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Begins anew, or cuts the weights of a resumed run as those of the networks are."""
        super().on_train_begin(logs)
        if self.best_weights is not None:
            like = {name: net.state_dict() for name, net in self.loop.step.networks.items()}
            self.best_weights = spread(self.best_weights, like)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Looks at the figure."""
        value = self.read(logs)
        if epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)  # the first, in case none is better
        self.wait += 1
        if self.better(value, self.best):
            self.best = value
            self._keep(epoch)
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.loop.stop = epoch, True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            with averaged(self.loop.step, self.loop.batches):  # those that the figure is of
                self.best_weights = {
                    name: {key: value.detach().clone() for key, value in net.state_dict().items()}
                    for name, net in self.loop.step.networks.items()
                }

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Puts the best weights back, if asked."""
        if self.stopped_epoch and self.verbose:
            self.tell(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                self.tell(f"Restoring the weights of epoch {self.best_epoch + 1}, the best.")
            _replace_weights(self.loop.step, self.best_weights)


class ModelCheckpoint(Monitor):
    """Saves the model after each epoch, or after those only in which a figure became better.

    `filepath` may hold {epoch} (counted from 1) and figures, as in "{epoch:02d}-{val_loss:.2f}.safetensors".
    `initial_value_threshold`: what the first saved model has to beat.
    """

    _state = ("best",)

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: Mode = "auto",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode=mode)
        self.filepath, self.verbose, self.save_best_only = os.fspath(filepath), verbose, save_best_only
        self.initial_value_threshold = initial_value_threshold
        self._begin()

    def _begin(self) -> None:
        self.best = self.initial_value_threshold

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Makes sure that there is a model."""
        super().on_train_begin(logs)
        if self.model is None:
            raise LaminaError(
                "ModelCheckpoint runs on a bare loop.",
                "It saves a Model.",
                "Train by Model.fit, or save loop.step.networks in a callback of your own.",
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Saves, if there is reason to."""
        if self.save_best_only:
            value = self.read(logs)
            if not self.better(value, self.best):
                return
            self.best = value
        try:
            path = Path(self.filepath.format(epoch=epoch + 1, **logs))
        except KeyError as error:
            raise LaminaError(
                f"ModelCheckpoint: {self.filepath!r} names {error}, which is not logged.",
                f"Logged: epoch, {', '.join(logs)}.",
                "Use these names in the braces.",
            ) from error
        self.model.save(path)
        if self.verbose:
            self.tell(f"Epoch {epoch + 1}: saved {path}")


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when a figure has not become better for `patience` epochs.

    After that it waits `cooldown` epochs, and it never goes below `min_lr`.
    """

    _state = ("best", "wait", "cooling")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if not 0 < factor < 1:
            raise LaminaError(
                f"ReduceLROnPlateau: factor is {factor}.", "A number between 0 and 1 was expected.", "Usual is 0.1."
            )
        super().__init__(monitor, mode=mode, min_delta=min_delta)
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self._begin()

    def _begin(self) -> None:
        self.best, self.wait, self.cooling = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Looks at the figure."""
        value = self.read(logs)
        if self.cooling:
            self.cooling -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooling:
            self.wait += 1
            if self.wait >= self.patience:
                self.wait, self.cooling = 0, self.cooldown
                for update in self.loop.step.updates.values():
                    self._reduce(update, epoch)

    def _reduce(self, update: Update, epoch: int) -> None:
        if update.learning_rate > self.min_lr:
            update.learning_rate = max(update.learning_rate * self.factor, self.min_lr)
            if self.verbose:
                self.tell(f"Epoch {epoch + 1}: the learning rate is now {update.learning_rate:.4g}")


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch: `schedule(epoch, lr)`, or `schedule(epoch)`, from epoch 0."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose
        try:
            inspect.signature(schedule).bind(0, 0.0)
            self._takes_lr = True
        except TypeError:
            self._takes_lr = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Asks the schedule."""
        if self.loop.batch:
            return  # a run that goes on in the middle of an epoch has been here
        for update in self.loop.step.updates.values():
            rate = self.schedule(epoch, update.learning_rate) if self._takes_lr else self.schedule(epoch)
            try:
                update.learning_rate = float(rate)
            except (TypeError, ValueError) as error:
                raise LaminaError(
                    f"LearningRateScheduler: the schedule gave {rate!r} for epoch {epoch}.",
                    "A number was expected.",
                    "Return the learning rate in every case.",
                ) from error
            if self.verbose:
                self.tell(f"Epoch {epoch + 1}: the learning rate is {update.learning_rate:.4g}")


class AveragesStay(Callback):
    """At the end the networks take their averaged weights, as Keras's do with `use_ema`; `fit` adds it where there are any.

    Where training failed they keep those that they have: measuring BatchNorm's statistics takes all processes.
    """

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Puts the averages in place of the weights."""
        step = self.loop.step
        if self.loop.failed or not any(update.average and update.average.made for update in step.updates.values()):
            return
        with averaged(step, self.loop.batches):
            states = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in step.networks.items()}
        _replace_weights(step, states)


def _replace_weights(step: Step, states: Mapping[str, dict[str, Tensor]]) -> None:
    """Puts other weights into a step's networks; what followed the ones before begins anew."""
    for name, net in step.networks.items():
        net.load_state_dict(states[name])
    for update in step.updates.values():
        update.forget_averages()


class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite, and names the layer, samples and learning rate where it began.

    Looks every `every` steps, for each look waits for the device. With every=1 an update from gradients that are not finite is left
    out, so that the weights are still good.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self._ended = False
        self._guarded: list[tuple[Update, bool]] = []

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Guards the updates, where every step is looked at."""
        updates = self.loop.step.updates.values() if self.every == 1 else ()
        self._ended = False
        self._guarded = [(update, update.guard()) for update in updates]

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """Guards them no longer."""
        for update, before in self._guarded:
            update.guard(before)
        self._guarded = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Looks at the mean so far, which one NaN makes NaN for good."""
        if (batch + 1) % self.every == 0:
            self._look(logs, f"by step {batch + 1} of epoch {self.loop.epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Looks at the mean of the epoch."""
        self._look(logs, f"in epoch {epoch + 1}")

    def _look(self, logs: Mapping[str, float], when: str) -> None:
        loss, loop = logs.get("loss"), self.loop
        is_bad = loss is not None and not math.isfinite(loss)
        # The mean so far is that of each process, and looking for the cause takes all of them.
        if self._ended or not loop.world.most(int(is_bad))[0]:
            return
        self._ended = loop.stop = True
        everybody = loop.world.gather(loss)
        worst = next(value for value in everybody if value is not None and not math.isfinite(value))
        self.tell(f"The loss became {worst} {when}: training ends.")
        found = first_nonfinite(loop.step, loop.last_batch, draws=loop.last_key, rows=rows_in_hand(loop))
        for rank, text in enumerate(loop.world.gather(found)):
            if text is not None:
                self.tell(text if loop.world.size == 1 else f"Process {rank}: {text}")


class LambdaCallback(Callback):
    """Calls the functions it is given, each at its moment with the arguments of the method of that name."""

    def __init__(
        self,
        on_epoch_begin: Callable[[int, Mapping[str, float]], Any] | None = None,
        on_epoch_end: Callable[[int, Mapping[str, float]], Any] | None = None,
        on_train_begin: Callable[[Mapping[str, float]], Any] | None = None,
        on_train_end: Callable[[Mapping[str, float]], Any] | None = None,
        on_train_batch_end: Callable[[int, Mapping[str, float]], Any] | None = None,
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_end": on_train_batch_end,
        }
        vars(self).update({name: function for name, function in given.items() if function is not None})
