"""The loop: repeats a step over batches and epochs, keeps the figures, calls the callbacks. It knows no loss and no optimizer."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import torch

from lamina.core import random
from lamina.core.errors import DataError, LaminaError
from lamina.metrics import Metric
from lamina.training.averaging import averaged
from lamina.training.batches import batches_of, in_order, length_of, warn_shared
from lamina.training.callback import Callback, Interrupted, LiveLogs
from lamina.training.history import History
from lamina.training.means import Means
from lamina.training.runtime import determinism_told, evaluating
from lamina.training.signals import noting
from lamina.training.step import Step, checked_logs, checked_step
from lamina.training.world import Agreement, World, abandon, is_spread, spread, whole

_NAMED = 16  # samples of a batch at fault
_BEGIN, _END, _EVALUATION = 1 << 40, 2 << 40, 3 << 40  # keep what is drawn at these moments apart from what steps draw


class _SignalledError(Exception):
    """A signal came in the midst of a validation, which is begun anew where the run goes on."""


class Loop:
    """Trains and evaluates a step.

    Batches are any sized iterable; one with `epoch(epoch, start=...)` (see `data.ArrayBatches`) is asked for the batches of
    each epoch, so that they differ by epoch and a run can go on in the middle.

    Nothing random has a state that would have to be kept: generators are set before they are drawn from. Torch's from (seed,
    step) before each step, so dropout draws the same in a run that was interrupted; from (seed, epoch) for what callbacks
    draw at both ends of an epoch; from the seed before an evaluation. A DataLoader, or any other iterable, may draw from
    torch's, numpy's and Python's own: they are set from (seed, epoch, batch). Afterwards all go on where they were.
    """

    def __init__(self, step: Step, *, seed: int = 0, callbacks: Sequence[Callback] = ()) -> None:
        self.step = checked_step(step)
        self.seed = seed
        self.callbacks = list(callbacks)
        self.history = History()
        self.epochs_done = 0  # over all calls of fit: the key of shuffling and augmentation
        self.steps_done = 0  # over all calls of fit: the key of dropout
        self.epoch = 0  # of this call, counted from 0
        self.epochs = 0
        self.batches: Iterable[Any] = ()  # those that `fit` was given
        self.steps_per_epoch: int | None = None
        self.samples_per_epoch: int | None = None
        self.batch = 0  # steps done in this epoch
        self.ended_after = 0  # steps of the epoch that ended last
        self.last_batch: Any = None  # the one in hand
        self.last_key = 0  # and the key of what was drawn for it
        self.stop = False
        self.failed = False  # this process ends for a reason of its own, which the others do not know
        self.means = Means()
        self._frozen: list[torch.nn.Module] = []  # in eval mode within a training network, such as a frozen BatchNorm
        self._signal: int | None = None
        self.world = World()
        self._agreed = Agreement(self.world)

    @determinism_told()
    def fit(
        self,
        batches: Iterable[Any],
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        validation: Iterable[Any] | None = None,
    ) -> History:
        """Trains from epoch `initial_epoch` to `epochs`; returns the figures of each epoch, those of `validation` as `val_...`.

        Each call lays the schedules over its own epochs, with a call of an update a batch; where a step makes more or fewer, such
        as five of a critic, or the batches have no length, say how many first: `update.plan(5 * epochs * batches, epochs=epochs)`.
        """
        if validation is not None:
            checked_step(self.step, "evaluate")
        self.epochs, self.stop, self.failed = epochs, False, False
        self.batches, self.steps_per_epoch = batches, length_of(batches)
        self._enter(World.current())
        self.samples_per_epoch = getattr(batches, "samples", None)
        logs: Mapping[str, float] = {}
        for callback in self.callbacks:
            callback.loop = self
        self._begin_updates(initial_epoch)
        drawn = random.state()
        self._frozen = [module for net in self.step.networks.values() if net.training for module in _in_eval_mode(net)]
        with contextlib.ExitStack() as ends, noting(self._note):
            ends.callback(self._end)
            ends.callback(random.restore, drawn)  # the caller's own draws go on as if fit had drawn nothing
            for callback in reversed(self.callbacks):  # each ends, whatever happens to the others
                ends.callback(lambda c: c.on_train_end(logs), callback)
            self.failed = True  # unless it comes to one of its ends
            self._call("on_train_begin", {})
            for self.epoch in range(initial_epoch, epochs):
                logs = self._epoch(batches, validation)
                if self.stop:
                    break
            self.failed = False
        return self.history

    def _end(self) -> None:
        self._signal = None
        if self.failed:
            abandon()

    def _begin_updates(self, first: int) -> None:
        """Lays the schedules that nobody else has laid, and drops what training that broke off has left."""
        for update in self.step.updates.values():
            if self.batch == 0:
                update.forget_window()
            if self.steps_per_epoch is not None:
                update.lay(first, self.epochs, self.steps_per_epoch, within=self.batch > 0)

    def _epoch(self, batches: Iterable[Any], validation: Iterable[Any] | None) -> dict[str, float]:
        start = self.batch  # not 0 only where a run goes on in the middle of an epoch
        if start == 0:
            self._reset()
        live = LiveLogs(self)
        random.reseed(random.key(self.seed, self.epochs_done, _BEGIN))
        self._call("on_epoch_begin", self.epoch, live)
        hooks = [c.on_train_batch_end for c in self.callbacks if _overrides(c, "on_train_batch_end")]
        for net in self.step.networks.values():
            net.train()
        for module in self._frozen:
            module.training = False
        train, add, seed = self.step.train, self.means.add, self.seed
        others = () if self.world.size == 1 else (self.world.rank,)
        for batch in batches_of(batches, self.epochs_done, seed=seed, start=start):
            self.last_batch, self.last_key = batch, random.key(seed, self.steps_done, *others)
            random.reseed(self.last_key)
            try:
                add(checked_logs(train(batch)))
            except Exception as error:
                error.add_note(self._place(batches))
                raise
            self.steps_done += 1
            self.batch += 1
            for hook in hooks:
                hook(self.batch - 1, live)
            if self._ends():
                break
        if self.batch == 0:
            raise DataError(
                f"The data gave no batch in epoch {self.epoch + 1}.",
                "An epoch needs at least one.",
                "Check the length of the data set; an iterator is empty after its first epoch, a list or DataLoader is not.",
            )
        for update in self.step.updates.values():
            update.flush()
        self.world.broadcast(self.step.networks.values(), buffers_only=True)  # each has followed its own batches' means
        for update in self.step.updates.values():
            if update.average is not None:
                update.average.join(self.world)
        self.means.reduce(self.world)
        logs = self.means.compute() | self._metrics(training=True)
        if validation is not None:
            self._ends(now=True)  # for a long validation would be waited for
            held = None
            with contextlib.suppress(_SignalledError), averaged(self.step, batches):
                held = self._evaluate(validation, until_signal=True)
            if held is None:
                self._interrupt()
            logs |= {f"val_{name}": value for name, value in held.items()}
        self.epochs_done += 1
        self.batch, self.ended_after = 0, self.batch
        random.reseed(random.key(seed, self.epochs_done, _END))
        self.history.append(self.epoch, logs)
        self._call("on_epoch_end", self.epoch, logs)
        self._ends(now=True)  # a signal may have come during validation
        return logs

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """The means of a step's figures and its metrics over all batches, in eval mode and without gradients."""
        return self._evaluate(batches)

    @determinism_told()
    def _evaluate(self, batches: Iterable[Any], *, until_signal: bool = False) -> dict[str, float]:
        world, means = World.current(), Means()
        saved = {name: metric.state_dict() for name, metric in self.step.metrics.items()}
        for metric in self.step.metrics.values():
            metric.reset()
        drawn = random.state()
        random.reseed(random.key(self.seed, 0, _EVALUATION))
        try:
            with evaluating(*self.step.networks.values()), torch.no_grad():
                for batch, counts in self._together(in_order(batches, seed=self.seed), world, until_signal):
                    if counts:
                        means.add(checked_logs(self.step.evaluate(batch)))
                        continue
                    own = {name: metric.state_dict() for name, metric in self.step.metrics.items()}
                    self.step.evaluate(batch)
                    for name, metric in self.step.metrics.items():
                        metric.load_state_dict(own[name])
                means.reduce(world)
                return means.compute() | self._metrics()
        finally:
            random.restore(drawn)
            for name, metric in self.step.metrics.items():
                metric.load_state_dict(saved[name])

    def _together(self, batches: Iterator[Any], world: World, until_signal: bool) -> Iterator[tuple[Any, bool]]:
        """The batches, and whether each of them counts. All processes keep step, so that a signal to one of them may end all.

        Where networks are spread over processes all must run them as often: who has fewer batches runs some again.
        """
        spread_out = any(is_spread(net) for net in self.step.networks.values())
        one: Any = None
        while True:
            batch = next(batches, None)
            left, signalled = world.most(int(batch is not None), (until_signal and self._signal) or 0)
            if signalled:
                self._signal = signalled
                raise _SignalledError
            if not left:
                return
            if spread_out and one is None and world.most(int(batch is None))[0]:  # in the first round alone
                one = next(other for other in world.gather(batch) if other is not None)
            one = one if batch is None else batch
            if batch is not None or spread_out:
                yield one, batch is not None

    def figures(self) -> dict[str, float]:
        """The means and metrics of the epoch so far, of this process; waits for the device."""
        metrics = self.step.metrics if _scores_training(self.step) else {}
        return self.means.compute() | {name: float(metric.compute()) for name, metric in metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to go on from between two updates, under any number of processes.

        Where there are several each must call it, between the same two updates: sums and shards are gathered.
        """
        step, world = self.step, self.world
        own = whole(step.state_dict()) if hasattr(step, "state_dict") else {}
        self.means.reduce(world)
        return {
            "networks": {name: whole(net.state_dict()) for name, net in step.networks.items()},
            "updates": {name: whole(update.state_dict()) for name, update in step.updates.items()},
            "metrics": {name: _joined(metric, world) for name, metric in step.metrics.items()},
            "step": own,
            "callbacks": [[type(callback).__name__, whole(callback.state_dict())] for callback in self.callbacks],
            "means": self.means.state_dict(),
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
        for name, update in step.updates.items():  # before anything is changed
            update.refuse_other(state["updates"][name])
        for name, net in step.networks.items():
            net.load_state_dict(spread(state["networks"][name], net.state_dict()))
        for name, update in step.updates.items():
            update.load_state_dict(state["updates"][name])
        device = next((p.device for net in step.networks.values() for p in net.parameters()), torch.device("cpu"))
        for name, metric in step.metrics.items():
            if name in state["metrics"]:  # a metric that was added since speaks for the rest of the epoch
                metric.load_state_dict(_on(device, state["metrics"][name]))
        if hasattr(step, "load_state_dict"):
            like = step.state_dict() if hasattr(step, "state_dict") else {}
            step.load_state_dict(spread(state["step"], like))
        saved_states = list(state["callbacks"])
        for callback in self.callbacks:  # by kind: callbacks may have been added or left out since
            for index, (kind, saved) in enumerate(saved_states):
                if kind == type(callback).__name__:
                    callback.load_state_dict(saved)
                    del saved_states[index]
                    break
        self.means.load_state_dict(_on(device, state["means"]))
        if not World.current().is_main:  # what all had summed up, the first one goes on with
            self._reset()
        self.history.epoch, self.history.history = state["history"]["epoch"], state["history"]["history"]
        position = state["position"]
        self.seed, self.epoch, self.batch = position["seed"], position["epoch"], position["batch"]
        self.epochs_done, self.steps_done = position["epochs_done"], position["steps_done"]

    def _reset(self) -> None:
        self.means = Means()
        for metric in self.step.metrics.values():
            metric.reset()

    def _metrics(self, *, training: bool = False) -> dict[str, float]:
        """Over all processes, so every one must call it: at the end of an epoch, never in its midst."""
        computed: dict[str, float] = {}
        if training and not _scores_training(self.step):
            return computed
        for name, metric in self.step.metrics.items():
            metric.reduce()
            computed[name] = float(metric.compute())
        return computed

    def _call(self, moment: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*args)

    def _enter(self, world: World) -> None:
        """Training begins at one place with one set of weights in all processes, and one of them reports."""
        self.world, self._agreed = world, Agreement(world)
        self.callbacks = [callback for callback in self.callbacks if world.is_main or not callback.main_only]
        places = world.gather((self.epochs_done, self.batch, self.steps_done, self.steps_per_epoch))
        if len(set(places)) > 1:
            told = "; ".join(f"{at}: epoch {e}, batch {b}, {n} batches each" for at, (e, b, _, n) in enumerate(places))
            raise LaminaError(
                f"The processes stand at different places ({told}).",
                "All go on from one checkpoint, and take the same number of batches.",
                "Let all of them see the run's folder and the whole data; a loader of your own must give each as many batches.",
            )
        warn_shared(self.batches, world)
        world.broadcast(self.step.networks.values())

    def _ends(self, *, now: bool = False) -> bool:
        """Whether training ends here; raises where it was interrupted. All processes are of one mind."""
        agreed = self._agreed(self.stop, self._signal or 0, now=now)
        if agreed is None:
            return False
        self.stop, self._signal = bool(agreed[0]), agreed[1] or None
        if self._signal is not None:
            self._interrupt()
        return self.stop

    def _place(self, batches: Iterable[Any]) -> str:
        """Where something went wrong: the step, the process, and the samples."""
        words = [
            f"This came in batch {self.batch + 1} of epoch {self.epoch + 1} (step {self.steps_done + 1} of the run)"
        ]
        if self.world.size > 1:
            words.append(f"process {self.world.rank} of {self.world.size}")
        if hasattr(batches, "rows"):
            rows = batches.rows(self.epochs_done, self.batch)
            words.append(f"samples {', '.join(map(str, rows[:_NAMED]))}{' ...' * (len(rows) > _NAMED)} of the data")
        return f"{', '.join(words)}."

    def _interrupt(self) -> NoReturn:
        advice = [text for callback in self.callbacks if (text := callback.on_interrupt())]
        self.failed = False
        ended = "SIGTERM" if self._signal == signal.SIGTERM else "Ctrl-C"
        text = "\n".join([f"Stopped by {ended} {self.place()}.", *advice])
        if ended == "SIGTERM":
            raise SystemExit(text)
        raise Interrupted(text)

    def place(self) -> str:
        """Where training stands, for a message: "in epoch 3 of 5, after step 120 of 469"."""
        if self.batch == 0:
            return f"after epoch {self.epoch + 1} of {self.epochs}"
        of = "" if self.steps_per_epoch is None else f" of {self.steps_per_epoch:,}"
        return f"in epoch {self.epoch + 1} of {self.epochs}, after step {self.batch:,}{of}"

    def _note(self, number: int) -> None:
        self._signal = self._signal or number


def _joined(metric: Metric, world: World) -> dict[str, Any]:
    """A metric's state with the sums of all processes."""
    if world.size == 1:
        return metric.state_dict()
    metric.settle()
    state = metric.state_dict()
    host = tuple(term.cpu() if isinstance(term, torch.Tensor) else term for term in state["sums"])
    everybody = [sums for sums in world.gather(host) if sums]
    return {**state, "sums": tuple(metric.joined(list(terms)) for terms in zip(*everybody, strict=True))}


def _in_eval_mode(net: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in net.modules() if not module.training]


def _scores_training(step: Step) -> bool:
    """Whether the step's metrics see what it trains on: what is costly to decode, such as boxes, is measured in validation alone."""
    return bool(getattr(step, "scores_training", True))


def _overrides(callback: Callback, moment: str) -> bool:
    return getattr(type(callback), moment) is not getattr(Callback, moment) or moment in vars(callback)


def _on(device: torch.device, state: Any) -> Any:
    """The same nested state with its tensors on a device."""
    if isinstance(state, torch.Tensor):
        return state.to(device)
    if isinstance(state, dict):
        return {name: _on(device, value) for name, value in state.items()}
    return type(state)(_on(device, value) for value in state) if isinstance(state, list | tuple) else state
