"""The search itself: trial after trial."""

from __future__ import annotations

import gc
import inspect
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from lamina.core import random
from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.core.warnings import warn
from lamina.training.callbacks import Monitor
from lamina.training.history import more_is_better
from lamina.training.tuner import file as study_file
from lamina.training.tuner import space as spaces
from lamina.training.tuner import study as studies
from lamina.training.tuner.progress import SearchReport, reporter
from lamina.training.tuner.study import DONE, FAILED, IMPOSSIBLE, STOPPED, Study, Trial

if TYPE_CHECKING:
    import optuna

# What search itself hands to fit.
_ITS_OWN = ("x", "y", "validation_data", "callbacks", "verbose", "seed", "run", "resume", "initial_epoch")
_FAILED_IN_A_ROW, _IMPOSSIBLE_IN_A_ROW = 5, 50  # after so many it is no bad luck
_FAULTS_OF_A_TRIAL = (RuntimeError, ValueError, ArithmeticError, MemoryError)  # others are faults of the code


def search(
    build: Callable[[Trial], Any],
    space: Mapping[str, Any],
    *,
    data: Any,
    validation: Any = None,
    trials: int = 20,
    monitor: str = "val_loss",
    timeout_s: float | None = None,
    seed: int = 0,
    storage: str | os.PathLike[str] | None = None,
    verbose: str | int = "auto",
) -> Study:
    """Draws, trains and measures until the study has `trials` trials; returns it.

    `space` maps names to `uniform`, `log_uniform`, `integer`, `choice`, or to a fixed value. `build(trial)` makes a compiled
    model from `trial["name"]`; names that its `fit` takes (`epochs`, `batch_size`, `validation_split`, ...) are handed to
    `fit`. `data` is (x, y), or whatever `fit` takes as x; `validation` its validation_data. Give neither the test set.

    `monitor` is a figure on the validation data, after the last epoch; it is maximised where more is better by its name.
    A trial that is worse than the median of those before at the same epoch is stopped. One that diverges, runs out
    of memory or cannot be computed is recorded with the reason. One whose network cannot be built (ShapeError) is no trial: its number
    is drawn again, and after 50 such draws in a row the search ends. Any other error of `build` ends it at once.

    Initial values, order and dropout of trial n (from 1) are functions of (seed, n). With `storage` the study is kept in that SQLite
    file: the same call goes on with it, also from several processes at once. Ctrl-C ends the search and returns the study.
    After `timeout_s` seconds no further epoch begins, and the trial in progress is left for the next call.

    Raises LaminaError for a space, figure or study file that cannot be used, and where no trial can be trained.
    """
    study_file.require_optuna()
    space = spaces.checked(space)
    more_is_better = _checked(space, monitor, trials)
    study = studies.open_study(space, monitor=monitor, more_is_better=more_is_better, seed=seed, storage=storage)
    report = reporter(study, trials, verbose)
    ends = math.inf if timeout_s is None else time.monotonic() + timeout_s
    run = _Search(build, study, data=data, validation=validation, trials=trials, seed=seed, ends=ends, report=report)
    drawn = random.state()
    try:
        with study_file.keeping(study.path):
            run.go()
    finally:
        random.restore(drawn)
        report.end()
    return study


class _TimeUp(Exception):  # noqa: N818 (no error)
    pass


class _Diverged(Exception):  # noqa: N818
    pass


class _Watch(Monitor):
    """Reports the figure of each epoch to the study; ends the trial where going on is of no use."""

    def __init__(self, monitor: str, trial: optuna.Trial, *, ends: float, report: SearchReport) -> None:
        super().__init__(monitor, mode="auto")
        self.trial, self.ends, self.report = trial, ends, report
        self.figures: list[float] = []

    def _begin(self) -> None:
        self.figures = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        self.report.step(self.loop.epoch, self.loop.epochs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        import optuna

        try:
            value = self.read(logs)
        except LaminaError as error:
            remedy = 'Give search validation=..., put "validation_split": 0.2 into the space, or monitor one of these.'
            raise UnknownNameError(
                f"search monitors {self.monitor!r}, which is not logged.", error.expected, remedy
            ) from None
        for name in (self.monitor, "loss", "val_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise _Diverged(f"{name} was {logs[name]} after epoch {epoch + 1}.")
        self.figures.append(value)
        with study_file.quiet():
            self.trial.report(value, epoch)
            if epoch + 1 < self.loop.epochs and self.trial.should_prune():
                raise optuna.TrialPruned(
                    f"Worse than the median after epoch {epoch + 1} of {self.loop.epochs} ({studies.figure_shown(value)})."
                )
        if epoch + 1 < self.loop.epochs and time.monotonic() > self.ends:
            raise _TimeUp


class _Search:
    """One process's part in a search."""

    def __init__(
        self,
        build: Callable[[Trial], Any],
        study: Study,
        *,
        data: Any,
        validation: Any,
        trials: int,
        seed: int,
        ends: float,
        report: SearchReport,
    ) -> None:
        import optuna

        self.build, self.study, self.trials, self.seed, self.ends = build, study, trials, seed, ends
        self.data, self.validation, self.report = data, validation, report
        self.states = optuna.trial.TrialState
        self.used: set[str] = set()
        self.in_vain = {FAILED: 0, IMPOSSIBLE: 0}

    def go(self) -> None:
        """Trial after trial."""
        import optuna

        self.study.optuna.pruner = optuna.pruners.MedianPruner()
        studies.release_dead(self.study)
        counts = [trial for trial in self.study.alive() if self._counts(trial)]
        self.report.begin(self.study, sum(trial.state.is_finished() for trial in counts))
        done = False
        try:
            while time.monotonic() < self.ends and self._wanted():
                outcome = self._trial()
                if outcome is None:
                    break
                done = done or outcome == DONE
        except KeyboardInterrupt:
            self.study.interrupted = True
        if done:
            self._warn_of_unused()

    def _wanted(self) -> bool:
        return sum(map(self._counts, self.study.alive())) < self.trials

    def _counts(self, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.user_attrs.get("outcome") != IMPOSSIBLE

    def _trial(self) -> str | None:
        """Draws and trains one; returns its outcome, or None where there was none to be drawn or the time was up."""
        import optuna

        with study_file.quiet():
            asked = self.study.optuna.ask()
        told = False
        try:
            number = self._claim(asked)
            if number is None:
                return None
            with (
                study_file.quiet()
            ):  # a sampler for each trial: what is drawn depends on the trials before, not on the process
                # ... and on how often this number was drawn in vain, or the same would be drawn for ever.
                sampler_seed = random.key(self.seed, number, 1 + self._in_vain(number)) >> 32
                self.study.optuna.sampler = optuna.samplers.TPESampler(seed=sampler_seed)
                values = spaces.draw(self.study.space, asked)
            trial = Trial(values, self.study.space, number=number, seed=asked.user_attrs["seed"])
            began = time.monotonic()
            self.report.trial(trial)
            watch = _Watch(self.study.monitor, asked, ends=self.ends, report=self.report)
            try:
                outcome, reason = self._train(trial, watch)
            except _TimeUp:
                return None
            finally:
                self.used |= trial.asked
            gc.collect()  # model, loop and callbacks hold each other, and the network may be large
            trial.outcome, trial.reason = outcome, reason
            trial.figures, trial.seconds = tuple(watch.figures), time.monotonic() - began
            asked.set_user_attr("outcome", outcome)
            asked.set_user_attr("reason", reason)
            with study_file.quiet():
                if outcome == DONE:
                    self.study.optuna.tell(asked, trial.figure)
                else:  # also a failed one: the sampler learns to keep away from there
                    self.study.optuna.tell(asked, state=self.states.PRUNED)
            told = True
            self.report.done(trial, self.study)
            self._refuse_in_vain(trial)
            return outcome
        finally:
            if not told:  # interrupted: it leaves no trace, and its number is free again
                self.study.optuna.tell(asked, state=self.states.FAIL, skip_if_finished=True)

    def _claim(self, asked: optuna.Trial) -> int | None:
        """The trial's number, which no other has that was not interrupted; None where all wanted trials are taken."""
        wanted = (self.states.COMPLETE, self.states.PRUNED, self.states.RUNNING)
        others = [t for t in self.study.optuna.get_trials(deepcopy=False, states=wanted) if t.number != asked.number]
        counted = [trial for trial in others if self._counts(trial)]
        before = [trial for trial in counted if trial.number < asked.number]
        if len(before) >= self.trials:
            return None
        taken = {trial.user_attrs.get("slot") for trial in counted}
        number = len(before) + 1
        if number in taken:
            number = next(free for free in range(1, len(counted) + 2) if free not in taken)
        asked.set_user_attr("process", studies.this_process())
        asked.set_user_attr("seed", random.key(self.seed, number) >> 32)
        asked.set_user_attr("slot", number)
        return number

    def _in_vain(self, number: int) -> int:
        """How many draws of a trial's number were impossible."""
        return sum(t.user_attrs["slot"] == number and not self._counts(t) for t in self.study.alive())

    def _train(self, trial: Trial, watch: _Watch) -> tuple[str, str]:
        """The outcome and its reason."""
        import optuna

        try:
            torch.manual_seed(trial.seed)
            model = self.build(trial)
            self._fit(model, trial, watch)
        except optuna.TrialPruned as stopped:
            return STOPPED, str(stopped)
        except _Diverged as diverged:
            return FAILED, str(diverged)
        except ShapeError as error:
            return IMPOSSIBLE, error.came
        except (UnknownNameError, DataError):
            raise
        except _FAULTS_OF_A_TRIAL as error:
            lines = str(error).strip().splitlines() or [""]
            return FAILED, error.came if isinstance(error, LaminaError) else f"{type(error).__name__}: {lines[0][:200]}"
        if not watch.figures:
            raise LaminaError(
                f"{type(model).__name__}.fit trained no epoch that search has seen.",
                "It was expected to call the callbacks that it is given.",
                "Return a lamina model from build, with epochs of 1 or more.",
            )
        return DONE, ""

    def _fit(self, model: Any, trial: Trial, watch: _Watch) -> None:
        if not callable(getattr(model, "fit", None)):
            raise DataError(
                f"build returned {type(model).__name__}.",
                "A compiled model was expected.",
                "End build with `return model`.",
            )
        takes = set(inspect.signature(model.fit).parameters) & set(self.study.space)
        self.used |= takes
        options = {name: trial[name] for name in takes if name in trial}
        if self.validation is not None:
            options["validation_data"] = self.validation
        data = self.data if isinstance(self.data, tuple) else (self.data,)
        model.fit(*data, callbacks=[watch], verbose=0, seed=trial.seed, **options)

    def _refuse_in_vain(self, trial: Trial) -> None:
        if trial.outcome not in self.in_vain:
            self.in_vain = dict.fromkeys(self.in_vain, 0)
            return
        self.in_vain[trial.outcome] += 1
        failed = self.in_vain[FAILED] >= _FAILED_IN_A_ROW and not any(t.outcome == DONE for t in self.study.trials)
        if failed or self.in_vain[IMPOSSIBLE] >= _IMPOSSIBLE_IN_A_ROW:
            count = self.in_vain[trial.outcome]
            if trial.outcome == IMPOSSIBLE:
                raise LaminaError(
                    f"{count} draws in a row could not be built. The last: {trial.reason}",
                    "A space was expected of which most networks fit the data.",
                    "Give larger pictures, or take what does not fit them out of the space.",
                )
            raise LaminaError(
                f"{count} trials in a row were {trial.outcome}. The last: {trial.reason}",
                "Some were expected to train.",
                "Correct build, the data or the space.",
            )

    def _warn_of_unused(self) -> None:
        drawn = [n for n, entry in self.study.space.items() if isinstance(entry, spaces.Range | spaces.Choice)]
        unused = [repr(name) for name in drawn if name not in self.used]
        if unused:
            warn(
                f"The space draws {', '.join(unused)}, which neither build nor fit has used. Names that build reads by "
                "trial[...], or arguments of fit, were expected. Use them, or leave them out.",
            )


def _checked(space: Mapping[str, Any], monitor: str, trials: int) -> bool:
    """Whether more of the monitored figure is better. Raises LaminaError for what cannot be searched."""
    if not isinstance(trials, int) or trials < 1:
        raise LaminaError(f"trials is {trials!r}.", "A whole number of 1 or more was expected.", "Pass trials=20.")
    if not monitor.startswith("val_"):
        raise LaminaError(
            f"search monitors {monitor!r}.",
            "A figure on validation data was expected: settings that are best on the training data are the overfitted ones.",
            f"Monitor val_{monitor}.",
        )
    own = [name for name in space if name in _ITS_OWN]
    if own:
        raise LaminaError(
            f"The space has {own[0]!r}.",
            "search hands that to fit itself.",
            "Leave it out; data, validation and seed are arguments of search.",
        )
    if isinstance(space.get("loss"), spaces.Choice) and monitor == "val_loss":
        raise LaminaError(
            "The space draws the loss, and search monitors 'val_loss'.",
            "A figure that means the same in every trial was expected.",
            'Monitor "val_accuracy", or fix the loss.',
        )
    more = more_is_better(monitor)
    if more is None:
        raise LaminaError(
            f"search monitors {monitor!r}.",
            "Its name does not tell whether more or less of it is better.",
            "Give the metric a name that ends in accuracy or score, or in error or loss.",
        )
    return more
