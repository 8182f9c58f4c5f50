"""Finding the settings of a `fit` by trying: the learning rate, and the largest batch that fits. Nothing stays changed."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.loader import Augment
from lamina.losses import Huber, MeanAbsoluteError, MeanSquaredError
from lamina.models import balancing, feed, objective
from lamina.training import SupervisedStep
from lamina.training import batch_size as sizes
from lamina.training import find_lr as rates
from lamina.training.untouched import untouched
from lamina.training.world import World

_BATCH = 32  # as in fit
_GUESSED = 64  # batches by which the best guess is found


class Finder:
    """The methods of a Model that try settings out. They check their data as `fit` does."""

    def find_lr(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = _BATCH,
        start: float = 1e-7,
        end: float = 10.0,
        steps: int = 100,
        check: float | None = None,
        class_weight: Mapping[int, float] | None = None,
        balance: str | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> rates.RateTest:
        """The learning-rate range test (Smith 2017) on the data of a `fit`: suggestions, a plot, and a verdict on the rate `check`.

        `steps` updates at rates from `start` to `end`, fewer where the loss diverges; a verdict takes some 300 more. Losses are
        compared with that of the best answer that ignores the input, where the loss is a cross-entropy or a regression of one
        output. The model and all generators are afterwards as they were.
        """
        balancing.check(balance, class_weight=class_weight)
        feeding: dict[str, Any] = {"class_weight": class_weight, "balance": balance, "augment": augment, "seed": seed}
        with _as_before(self, x):
            step, batches = _fed(self, x, y, batch_size=batch_size, **feeding)
            try:
                guessing = guessing_loss(step, batches)
                return rates.find_lr(
                    step, batches, start=start, end=end, steps=steps, check=check, seed=seed, guessing=guessing
                )
            finally:
                feed.release(None if batches is x else batches)

    def find_batch_size(self, x: Any, y: Any = None, *, limit: int | None = None) -> sizes.BatchSizes:
        """The largest batch of these samples that fits in memory, up to `limit` or all of them; each size told was really run."""
        with _as_before(self, x):
            if feed.is_batches(x) and y is None:
                raise DataError(
                    f"find_batch_size was given a {type(x).__name__}, whose batches are cut already.",
                    "It cuts batches of many sizes.",
                    "Pass arrays or a data set.",
                )
            step, batches = _fed(self, x, y, batch_size=1)

            def cut(size: int) -> Any:
                batches.batch_size = size
                return next(iter(batches.epoch(0)))

            limit = batches.samples if limit is None else min(limit, batches.samples)
            # A BatchNorm cannot train on a single sample, so one is tried only where two do not fit.
            return sizes.find_batch_size(sizes.train_trial(step, cut), start=min(2, max(limit, 1)), limit=limit)


@contextlib.contextmanager
def _as_before(model: Any, x: Any) -> Iterator[None]:
    """Whatever was built, taken from the data or trained meanwhile: the model is afterwards as it was."""
    if hasattr(x, "__next__"):  # looking at its first batch would use it up
        raise DataError(
            f"A {type(x).__name__} came as data, whose batches are gone once they have been used.",
            "Trying settings must leave the data as it was.",
            "Pass arrays, a data set, a list of batches or a DataLoader.",
        )
    before = dict(vars(model))
    held = {name: value for name, value in before.items() if name not in ("_loop", "history")}
    with untouched(held, x if feed.is_batches(x) else None):
        try:
            yield
        finally:
            vars(model).clear()
            vars(model).update(before)


def _fed(
    model: Any,
    x: Any,
    y: Any,
    *,
    batch_size: int,
    class_weight: Mapping[int, float] | None = None,
    balance: str | None = None,
    augment: Augment | None = None,
    seed: int = 0,
) -> tuple[Any, Any]:
    """The step and the batches that `fit` would train with."""
    if feed.is_batches(x) and y is None:
        feed.refuse_with_batches({"class_weight": class_weight, "balance": balance, "augment": augment})
        batches = model._in_order(x, batch_size)
        step = model._make_step()
    else:
        data, _ = model._sets(x, y, None, None, None)
        step = model._ready(data)
        feed.refuse_augmenting_channels_last(augment, model.graph)
        weights, drawn = balancing.balanced(data, balance, class_weight)
        feeding: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "seed": seed, "augment": augment}
        batches = model._batches(data, step, weights=weights, sample_by=drawn, **feeding)
    objective.update_of(step)  # raises where nothing is trainable
    return step, batches


def guessing_loss(step: SupervisedStep, batches: Any) -> float | None:
    """The loss of the best answer that is the same for every sample, found on some of the data; None where it cannot be told.

    It can for one output (B K) with a cross-entropy of logits or a regression: other losses may take no constant, or have no least.
    """
    if not step.targets:  # its losses are its own
        return None
    target, world = step.targets[0], World.current()
    shape = target.output_shape
    known = target.takes_logits or isinstance(target.loss, MeanSquaredError | MeanAbsoluteError | Huber)
    if len(step.targets) != 1 or not known or shape is None or len(shape) != 2 or shape[1] is None:
        return None
    goals, weights = [], []
    for batch in itertools.islice(batches.epoch(0) if hasattr(batches, "epoch") else batches, _GUESSED):
        goals.append(step.runtime.put(batch.targets[0] if isinstance(batch.targets, tuple) else batch.targets))
        weights += [] if batch.weights is None else [step.runtime.put(batch.weights)]
    every = torch.cat(goals)
    weight = torch.cat(weights) if weights else None
    with torch.enable_grad():
        answer = torch.zeros(shape[1], device=every.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([answer], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = target.measure(answer.expand(len(every), -1), every, weight)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        least = world.mean(loss(), len(every))  # one number for all processes: their verdicts decide what is tried next
    return float(least) if math.isfinite(least) else None
