"""Short runs of a step at given learning rates: what the range test and the verdict on a rate are made from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError, LaminaError
from lamina.training.step import Step
from lamina.training.world import World


def losses_at(step: Step, batches: Iterable[Any], rates: Sequence[float], seed: int) -> Iterator[float]:
    """The loss at each rate, measured before its update; an update that accumulates is given as many batches as it wants."""
    updates = list(step.updates.values())
    first = updates[0].learning_rate
    ratios = [update.learning_rate / first if first else 1.0 for update in updates]
    many = max(int(getattr(update, "accumulate", 1)) for update in updates)
    for update in updates:
        update.schedule = None
        update.plan(len(rates))  # for an average that asks how far it is
    frozen = [m for net in step.networks.values() if net.training for m in net.modules() if not m.training]
    for net in step.networks.values():
        net.train()
    for module in frozen:  # as in the loop: a frozen BatchNorm stays so
        module.training = False
    endless, world = _endless(batches), World.current()
    for number, rate in enumerate(rates):
        for update, ratio in zip(updates, ratios, strict=True):
            update.learning_rate = rate * ratio
        total, count = 0.0, 0.0
        for part in range(many):
            random.reseed(random.key(seed, number * many + part))
            logs = step.train(next(endless))
            weight = float(logs.count)
            total, count = total + weight * float(_loss(logs.values)), count + weight
        told = [float(world.sum(torch.tensor(value, dtype=torch.float64))) for value in (total, count)]
        yield told[0] / told[1] if told[1] else math.nan  # of all processes, or each would see another end


def refuse_iterators(batches: Iterable[Any]) -> None:
    """Raises DataError for what can be gone through only once."""
    if hasattr(batches, "__next__"):  # and no iter(batches): a DataLoader's would draw from torch's generator
        raise DataError(
            f"A {type(batches).__name__} came as data, whose batches are gone once they have been used.",
            "Trying rates must leave the data as it was.",
            "Pass a list of batches, a DataLoader, arrays or a data set.",
        )


def _loss(values: dict[str, Tensor]) -> Tensor:
    """The loss among the figures of a step, or the sum of those that are called so (d_loss, g_loss)."""
    if "loss" in values:
        return values["loss"]
    named = [value for name, value in values.items() if name.endswith("loss")]
    if not named:
        raise LaminaError(
            f"The step logs {', '.join(values) or 'nothing'}.", "A figure called loss was expected.", "Log the loss."
        )
    return sum(named[1:], named[0])


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    for epoch in itertools.count():
        empty = True
        for batch in batches.epoch(epoch) if hasattr(batches, "epoch") else batches:
            empty = False
            yield batch
        if empty:
            raise DataError(
                "The data gave no batch.", "At least one was expected.", "Check the length of the data set."
            )
