"""The batches of an epoch, the same ones however often it is begun anew and wherever in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from lamina.core import random

_DRAWN = 4 << 40  # keeps these keys apart from those of steps


def batches_of(batches: Iterable[Any], epoch: int, *, seed: int, start: int = 0) -> Iterator[Any]:
    """The batches of an epoch from the `start`-th on.

    Those of this library are functions of the epoch. Any other iterable may draw from torch's, numpy's and Python's own
    generators (a DataLoader's order, a transform): these are set from (seed, epoch, batch) before each of its batches,
    and those before the `start`-th are made and dropped.
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


def _drawn(batches: Iterable[Any], epoch: int, seed: int) -> Iterator[Any]:
    with random.keeping_others():
        random.reseed_all(random.key(seed, epoch, _DRAWN))
        iterator = iter(batches)
        for position in itertools.count(1):
            random.reseed_all(random.key(seed, epoch, _DRAWN + position))
            try:
                batch = next(iterator)
            except StopIteration:
                return
            yield batch
