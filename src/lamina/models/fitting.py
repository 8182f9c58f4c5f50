"""What `fit` does around its loop: callbacks that settings ask for, schedules laid over training, memory that is at its end."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lamina import optimizers
from lamina.core.errors import LaminaError, unknown_name
from lamina.core.warnings import warn
from lamina.data.augment.resize import ProgressiveResize, ResizedBatches
from lamina.data.loader import ArrayBatches
from lamina.data.workers import WorkerBatches
from lamina.models import feed
from lamina.training import Callback, Loop, RunFolder, SupervisedStep, Update, averaging
from lamina.training.batch_size import find_batch_size, train_trial
from lamina.training.callbacks import AveragesStay, GradientNorms, ReduceLROnPlateau, StepLogger
from lamina.training.gradient_norms import GRADIENTS
from lamina.training.runtime import evaluating

_TRICKS = ("accumulate", "average", "clip_norm", "clip_value", "groups", "lookahead")


def tricks(told: Mapping[str, Any] | None) -> dict[str, Any]:
    """The further arguments of an Update that `compile(update={...})` was given; averages also by name."""
    given = dict(told or {})
    for name in given:
        if name not in _TRICKS:
            raise unknown_name("argument of an update", name, _TRICKS)
    if given.get("average") is not None:
        given["average"] = averaging.get(given["average"])
    return given


def hands_out_weights(optimizer: Any, update: Mapping[str, Any] | None) -> bool:
    """Whether what `compile` was told has code of somebody's own see the parameters."""
    own = not isinstance(optimizer, str) and type(optimizer) not in optimizers.OPTIMIZERS.values()
    return own or "groups" in (update or {})


def asked_callbacks(
    update: Update, given: Sequence[Callback], *, run: str | os.PathLike[str] | None, log_every: int | None
) -> list[Callback]:
    """The callbacks, with those that the schedule, the average and `log_every` ask for; averages come to stay before others end."""
    asked: list[Callback] = [AveragesStay(), *given] if update.average is not None else list(given)
    schedule: Any = update.schedule
    while hasattr(schedule, "schedule"):  # behind a warm-up
        schedule = schedule.schedule
    if isinstance(schedule, optimizers.schedules.Plateau):
        asked.append(ReduceLROnPlateau(**dataclasses.asdict(schedule)))
    if log_every is not None:
        if run is None:
            raise LaminaError(
                f"log_every={log_every} came without a run.",
                "The figures of the steps are written into a run's folder.",
                'Pass run="runs/NAME", or callbacks=[lamina.callbacks.StepLogger(path, every=...)].',
            )
        asked += [
            StepLogger(Path(run) / "steps.csv", every=log_every),
            GradientNorms(Path(run) / GRADIENTS, every=log_every),
        ]
    return asked


def told(*, resize: ProgressiveResize | None, balance: str | None, sample_by: Any) -> dict[str, str]:
    """What a run's config says of arguments that few give."""
    given = {"resize": resize, "balance": balance, "sample_by": None if sample_by is None else "weights"}
    return {name: str(value) for name, value in given.items() if value is not None}


def lay(update: Update, train: Any, epochs: int, *, start: int | None = None) -> None:
    """Lays the schedule over so many epochs, from the next update on or from the `start`-th."""
    if not update.needs_plan:
        return
    if start is None and (misfit := optimizers.schedules.check_length(update.schedule, epochs)):
        warn(misfit)
    steps = -(-feed.count_steps(train) // update.accumulate)
    update.plan(epochs * steps, start=start, epochs=epochs)


def resumed(folder: RunFolder, loop: Loop, epochs: int) -> tuple[int, int]:
    """Puts the loop where the run stopped; returns the epoch it goes on with, and the one it ends before."""
    finished, begin = folder.is_finished(epochs), folder.restore(loop)
    if finished or begin >= epochs:
        state = (
            f"is finished ({begin} epochs)" if finished else f"has come to epoch {begin}, and {epochs} were asked for"
        )
        if folder.writes:
            print(f"The run in {folder.folder} {state}. More epochs would go on with it.")
        epochs = begin  # callbacks end all the same: one may put the best weights back
    return begin, epochs


def resized(train: Any, resize: ProgressiveResize | None, step: SupervisedStep, *, epochs: int, first: int) -> Any:
    """The batches with images that grow over the epochs. Raises where the network takes one size only."""
    if resize is None:
        return train
    if not isinstance(train, ArrayBatches) and not hasattr(train, "epoch"):
        raise LaminaError(
            f"resize came with batches of the type {type(train).__name__}.",
            "It needs batches that know their epoch.",
            "Pass arrays or a data set.",
        )
    few = next(iter(train.epoch(0)))
    if isinstance(few.targets, Tensor) and few.targets.dim() > 2:
        raise LaminaError(
            f"resize came with targets of the shape {tuple(few.targets.shape)}.",
            "It makes pictures smaller, and what is known of places in them stays as it is.",
            "Leave it out; a smaller preprocess=lamina.Preprocess(size=...) makes both small.",
        )
    with evaluating(step.net):
        resize.check(lambda images: step.forward(few._replace(inputs=images)), step.runtime.put(few.inputs))
    return ResizedBatches(train, resize, epochs=epochs, first=first)


def out_of_memory(step: SupervisedStep, train: Any, said: str) -> LaminaError:
    """The error of a `fit` whose memory is at its end, with the largest batch that was tried and fits."""
    came = f"Memory is at its end ({said})."
    size = getattr(train, "batch_size", None)
    alone = step.runtime.world.size == 1  # trials of one process would meet the others in the midst of their step
    if not alone or not isinstance(train, ArrayBatches | WorkerBatches) or not size or size < 2:
        return LaminaError(came, "A batch and its gradients must fit.", "Use smaller batches, or precision='bfloat16'.")

    def cut(size: int) -> Any:
        train.batch_size = size
        return next(iter(train.epoch(0)))

    try:
        found = find_batch_size(train_trial(step, cut), start=min(2, size - 1), limit=size - 1).largest
    except LaminaError as error:
        return LaminaError(f"{came} {error.came}", error.expected, error.remedy)
    finally:
        train.batch_size = size  # which ends workers, too
    return LaminaError(
        f"{came} Batches of {size} do not fit.",
        f"Batches of {found} were tried, and fit.",
        f"Pass batch_size={found}, with update={{'accumulate': {-(-size // found)}}} in compile for updates of the same size.",
    )
