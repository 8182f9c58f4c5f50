"""The batches of an epoch, the same ones however often it is begun anew and wherever in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils import data

from lamina.core import random
from lamina.core.warnings import warn
from lamina.training.untouched import generators_of, keeping, reseed
from lamina.training.world import World

_DRAWN = 4 << 40  # keeps these keys apart from those of steps


def batches_of(batches: Iterable[Any], epoch: int, *, seed: int, start: int = 0) -> Iterator[Any]:
    """The batches of an epoch from the `start`-th on.

    Those of this library are functions of the epoch. Any other iterable may draw from torch's, numpy's and Python's own
    generators (a DataLoader's order, a transform) or from those that it holds: these are set from (seed, epoch, batch) before each
    of its batches, and those before the `start`-th are made and dropped. A sampler with `set_epoch` is told the epoch.
    """
    if hasattr(batches, "epoch"):
        yield from batches.epoch(epoch, start=start)
    else:
        yield from itertools.islice(_drawn(batches, epoch, seed), start, None)


def in_order(batches: Iterable[Any], *, seed: int) -> Iterator[Any]:
    """The batches to evaluate on; where they are random after all, the same ones each time."""
    return iter(batches) if hasattr(batches, "epoch") else _drawn(batches, 0, seed)


def length_of(batches: Iterable[Any]) -> int | None:
    """How many batches an epoch has; None where nobody knows."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return None


def warn_shared(batches: Iterable[Any], world: World) -> None:
    """Warns where several processes train on one DataLoader's batches: each would shuffle alike and take them all."""
    sampler = getattr(batches, "sampler", None)
    shuffles = isinstance(sampler, data.RandomSampler | data.WeightedRandomSampler | data.SubsetRandomSampler)
    if world.size > 1 and shuffles and isinstance(batches, data.DataLoader):
        warn(
            f"Each of the {world.size} processes takes all batches of the DataLoader, in one and the same order. "
            "Each was expected to take a part of its own. Pass sampler=torch.utils.data.DistributedSampler(dataset)."
        )


def _drawn(batches: Iterable[Any], epoch: int, seed: int) -> Iterator[Any]:
    sampler: Any
    for sampler in (getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None)):
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
    own = generators_of(batches)

    def set_all(key: int) -> None:
        random.reseed_all(key)
        for index, generator in enumerate(own):
            reseed(generator, random.key(key, index))

    with random.keeping_others(), keeping(own):
        set_all(random.key(seed, epoch, _DRAWN))
        iterator = iter(batches)
        for position in itertools.count(1):
            set_all(random.key(seed, epoch, _DRAWN + position))
            try:
                batch = next(iterator)
            except StopIteration:
                return
            yield batch
