"""The loop: repeats a step over batches and epochs, keeps the figures, calls the callbacks. It knows no loss and no optimizer."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch

from lamina.core import random
from lamina.core.errors import DataError
from lamina.structures.batch import Logs
from lamina.training.runtime import evaluating
from lamina.training.step import Step


class Callback:
    """Something that happens at certain moments of training. Override what you need.

    `self.loop` is the running loop (`loop.step`, `loop.epoch`, `loop.steps_per_epoch`; `loop.stop = True` ends training
    after the step), and `self.model` the model where one trains. `logs` maps names to floats; within an epoch it holds
    the means so far, and reading an entry waits for the device. A method that is not overridden costs nothing.
    """

    loop: Loop
    model: Any = None

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Before the first step of an epoch (counted from 0)."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """After each step (counted from 0 in each epoch)."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """After an epoch and its validation; `logs` holds both."""

    def on_train_end(self, logs: Mapping[str, float]) -> None:
        """After the last epoch, and also when training was stopped or failed."""

    def on_interrupt(self) -> str | None:
        """At Ctrl-C or SIGTERM, between two updates: save what must not be lost; the text returned says how it goes on."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of this callback."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""


class History:
    """What was logged: `history["val_loss"][3]` belongs to `epoch[3]`."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the figures of one epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs: {', '.join(self.history)})"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the update in progress was finished and the run was saved."""


class Means:
    """Means of logged values, weighed by their counts. Values stay on the device until somebody asks."""

    _PENDING = 64  # values that wait before they are summed in one go

    def __init__(self) -> None:
        self._pending: dict[str, tuple[list[torch.Tensor], list[Any]]] = {}
        self._sums: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, logs: Logs) -> None:
        """Takes in the values of one batch, detached."""
        for name, value in logs.values.items():
            pending = self._pending.get(name)
            if pending is None:
                pending = self._pending[name] = ([], [])
            pending[0].append(value.detach())
            pending[1].append(logs.count)
            if len(pending[0]) >= self._PENDING:
                self._sum(name)

    def _sum(self, name: str) -> None:
        values, counts = self._pending.pop(name)
        device = values[0].device
        exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        stacked = torch.stack(values).to(exact)
        if any(isinstance(count, torch.Tensor) for count in counts):
            weights = torch.stack([torch.as_tensor(count, device=device) for count in counts]).to(exact)
        else:
            weights = torch.tensor(counts, dtype=exact, device=device)
        total, count = self._sums.get(name, (0.0, 0.0))
        # A batch that counts nothing (all labels ignored) may be NaN, and must not spread.
        self._sums[name] = (total + torch.where(weights > 0, stacked * weights, 0.0).sum(), count + weights.sum())

    def compute(self) -> dict[str, float]:
        """The means so far; waits for the device."""
        for name in list(self._pending):
            self._sum(name)
        return {name: float(total / count) for name, (total, count) in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        self.compute()
        return {name: list(pair) for name, pair in self._sums.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._pending, self._sums = {}, {name: (pair[0], pair[1]) for name, pair in state.items()}


class LiveLogs(Mapping[str, float]):
    """The figures of the epoch in progress; nothing is computed until an entry is read."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __getitem__(self, name: str) -> float:
        return self._loop.figures()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loop.figures())

    def __len__(self) -> int:
        return len(self._loop.figures())


class Loop:
    """Trains and evaluates a step.

    Batches are any sized iterable; one with `epoch(epoch, start=...)` (see `data.ArrayBatches`) is asked for the batches of
    each epoch, so that they differ by epoch and a run can go on in the middle. Before each step torch's generators are set
    from (seed, step), so dropout draws the same in a run that was interrupted.
    """

    def __init__(self, step: Step, *, seed: int = 0, callbacks: Sequence[Callback] = ()) -> None:
        self.step = step
        self.seed = seed
        self.callbacks = list(callbacks)
        self.history = History()
        self.epochs_done = 0  # over all calls of fit: the key of shuffling and augmentation
        self.steps_done = 0  # over all calls of fit: the key of dropout
        self.epoch = 0  # of this call, counted from 0
        self.epochs = 0
        self.steps_per_epoch: int | None = None
        self.samples_per_epoch: int | None = None
        self.batch = 0  # steps done in this epoch
        self.stop = False
        self._means = Means()
        self._frozen: list[torch.nn.Module] = []  # in eval mode within a training network, such as a frozen BatchNorm
        self._signal: int | None = None

    def fit(
        self,
        batches: Iterable[Any],
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        validation: Iterable[Any] | None = None,
    ) -> History:
        """Trains from epoch `initial_epoch` to `epochs`; returns the figures of each epoch, those of `validation` as `val_...`."""
        self.epochs, self.stop = epochs, False
        self.steps_per_epoch = _length(batches)
        self.samples_per_epoch = getattr(batches, "samples", None)
        logs: Mapping[str, float] = {}
        for callback in self.callbacks:
            callback.loop = self
        drawn = random.state()
        self._frozen = [module for net in self.step.networks.values() if net.training for module in _in_eval_mode(net)]
        with contextlib.ExitStack() as ends, self._signals():
            ends.callback(random.restore, drawn)  # the caller's own draws go on as if fit had drawn nothing
            for callback in reversed(self.callbacks):  # each ends, whatever happens to the others
                ends.callback(lambda c: c.on_train_end(logs), callback)
            self._call("on_train_begin", {})
            for self.epoch in range(initial_epoch, epochs):
                logs = self._epoch(batches, validation)
                if self.stop:
                    break
        return self.history

    def _epoch(self, batches: Iterable[Any], validation: Iterable[Any] | None) -> dict[str, float]:
        start = self.batch  # not 0 only where a run goes on in the middle of an epoch
        if start == 0:
            self._reset()
        live = LiveLogs(self)
        self._call("on_epoch_begin", self.epoch, live)
        hooks = [c.on_train_batch_end for c in self.callbacks if _overrides(c, "on_train_batch_end")]
        for net in self.step.networks.values():
            net.train()
        for module in self._frozen:
            module.training = False
        train, add, seed = self.step.train, self._means.add, self.seed
        for batch in _batches(batches, self.epochs_done, start):
            random.reseed(random.key(seed, self.steps_done))
            add(train(batch))
            self.steps_done += 1
            self.batch += 1
            for hook in hooks:
                hook(self.batch - 1, live)
            if self._signal is not None:
                self._interrupt()
            if self.stop:
                break
        if self.batch == 0:
            raise DataError(
                f"The data gave no batch in epoch {self.epoch + 1}.",
                "An epoch needs at least one.",
                "Check the length of the data set; an iterator is empty after its first epoch, a list or DataLoader is not.",
            )
        logs = self._means.compute() | self._metrics()
        self.epochs_done += 1
        self.batch = 0
        if validation is not None:
            logs |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
        self.history.append(self.epoch, logs)
        self._call("on_epoch_end", self.epoch, logs)
        if self._signal is not None:  # came during validation
            self._interrupt()
        return logs

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """The means of a step's figures and its metrics over all batches, in eval mode and without gradients."""
        means, saved = Means(), {name: metric.state_dict() for name, metric in self.step.metrics.items()}
        for metric in self.step.metrics.values():
            metric.reset()
        try:
            with evaluating(*self.step.networks.values()), torch.no_grad():
                for batch in _batches(batches, 0, 0):
                    means.add(self.step.evaluate(batch))
                return means.compute() | self._metrics()
        finally:
            for name, metric in self.step.metrics.items():
                metric.load_state_dict(saved[name])

    def figures(self) -> dict[str, float]:
        """The means and metrics of the epoch so far, of this process; waits for the device."""
        return self._means.compute() | {name: float(metric.compute()) for name, metric in self.step.metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to go on from between two updates."""
        step = self.step
        own = step.state_dict() if hasattr(step, "state_dict") else {}
        return {
            "networks": {name: net.state_dict() for name, net in step.networks.items()},
            "updates": {name: update.state_dict() for name, update in step.updates.items()},
            "metrics": {name: metric.state_dict() for name, metric in step.metrics.items()},
            "step": own,
            "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in self.callbacks],
            "means": self._means.state_dict(),
            "history": {
                "epoch": list(self.history.epoch),
                "history": {k: list(v) for k, v in self.history.history.items()},
            },
            "position": {
                "seed": self.seed,
                "epoch": self.epoch,
                "batch": self.batch,
                "epochs_done": self.epochs_done,
                "steps_done": self.steps_done,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave; `fit` then goes on at that very step."""
        step = self.step
        for name, net in step.networks.items():
            net.load_state_dict(state["networks"][name])
        for name, update in step.updates.items():
            update.load_state_dict(state["updates"][name])
        for name, metric in step.metrics.items():
            metric.load_state_dict(state["metrics"][name])
        if hasattr(step, "load_state_dict"):
            step.load_state_dict(state["step"])
        saved_states = list(state["callbacks"])
        for callback in self.callbacks:  # by kind: callbacks may have been added or left out since
            for index, (kind, saved) in enumerate(saved_states):
                if kind == type(callback).__name__:
                    callback.load_state_dict(saved)
                    del saved_states[index]
                    break
        self._means.load_state_dict(state["means"])
        self.history.epoch, self.history.history = state["history"]["epoch"], state["history"]["history"]
        position = state["position"]
        self.seed, self.epoch, self.batch = position["seed"], position["epoch"], position["batch"]
        self.epochs_done, self.steps_done = position["epochs_done"], position["steps_done"]

    def _reset(self) -> None:
        self._means = Means()
        for metric in self.step.metrics.values():
            metric.reset()

    def _metrics(self) -> dict[str, float]:
        """Over all processes, so every one must call it: at the end of an epoch, never in its midst."""
        computed = {}
        for name, metric in self.step.metrics.items():
            metric.reduce()
            computed[name] = float(metric.compute())
        return computed

    def _call(self, moment: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*args)

    def _interrupt(self) -> None:
        advice = [text for callback in self.callbacks if (text := callback.on_interrupt())]
        if self._signal == signal.SIGTERM:
            raise SystemExit("\n".join(["Stopped by SIGTERM.", *advice]))
        raise Interrupted("\n".join(["Stopped by Ctrl-C.", *advice]))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turns the first Ctrl-C or SIGTERM into a stop between two updates; a second Ctrl-C stops at once."""
        self._signal = None
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _frame: FrameType | None) -> None:
            if self._signal is not None:
                raise KeyboardInterrupt
            self._signal = number

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _in_eval_mode(net: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in net.modules() if not module.training]


def _overrides(callback: Callback, moment: str) -> bool:
    return getattr(type(callback), moment) is not getattr(Callback, moment) or moment in vars(callback)


def _length(batches: Iterable[Any]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return None


def _batches(batches: Iterable[Any], epoch: int, start: int) -> Iterator[Any]:
    if hasattr(batches, "epoch"):
        yield from batches.epoch(epoch, start=start)
        return
    iterator = iter(batches)
    for _ in range(start):
        next(iterator, None)
    yield from iterator
