"""The order of a stream, in numbers alone: who reads which samples, and what a shuffle buffer gives at each position.

A stream is read front to back, so its order is made of what that allows: shards in a random order, and a buffer from which
each position of the epoch takes one sample, chosen by a key of that position. Since the shards' counts are known, all of it
can be computed without reading anything, and an epoch can be begun in its middle.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from lamina.core import random
from lamina.data.loader import part_of

_BUFFER = 0xB0FFE2  # keeps what a buffer draws apart from what the order of shards does
_BLOCK = 4096  # positions whose draws are made at once


class Shares(NamedTuple):
    """How the samples of an epoch are shared out over batches and processes: batches as in ArrayBatches."""

    samples: int
    batch_size: int
    shard: tuple[int, int]

    @property
    def batches(self) -> int:
        """In an epoch of training; a last one with fewer samples than processes is left out."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest >= self.shard[1])

    def positions(self, batch: int) -> tuple[int, int]:
        """The positions in the epoch that this process has in a batch: the first, and the one behind the last."""
        start = batch * self.batch_size
        first, last = part_of(min(self.batch_size, self.samples - start), self.shard)
        return start + first, start + last

    def before(self, batch: int) -> int:
        """How many samples this process takes in all batches before this one."""
        return _taken(self.samples, self.batch_size, self.shard, batch)

    def stretch(self) -> tuple[int, int]:
        """The part of the epoch's sequence of samples that this process reads: its first, and the one behind its last.

        The parts of all processes follow each other, so a sample is read by one of them, and most shards are too.
        """
        rank, size = self.shard
        taken = [_taken(self.samples, self.batch_size, (each, size), self.batches) for each in range(rank + 1)]
        return sum(taken[:rank]), sum(taken)


def _taken(samples: int, batch_size: int, shard: tuple[int, int], batches: int) -> int:
    whole = min(batches, samples // batch_size)
    first, last = part_of(batch_size, shard)
    rest = part_of(samples - whole * batch_size, shard) if batches > whole else (0, 0)
    return whole * (last - first) + rest[1] - rest[0]


class Span(NamedTuple):
    """A shard in the sequence of an epoch: its number, and the positions in the sequence of its first sample and behind its last."""

    shard: int
    first: int
    last: int


def sequence(counts: Sequence[int], order_key: int | None) -> list[Span]:
    """The shards one after the other: as they are listed, or in an order that is a function of the key."""
    order = range(len(counts)) if order_key is None else random.order(order_key, len(counts)).tolist()
    spans, at = [], 0
    for shard in order:
        spans.append(Span(shard, at, at + counts[shard]))
        at += counts[shard]
    return spans


class Buffer:
    """The numbers of the samples in a shuffle buffer: `count` of them pass through it, one in, one out, and `size` are in it at most.

    It begins with the first ones. `taken` is how many have left it, `entered` how many have come.
    """

    def __init__(self, size: int, count: int) -> None:
        self.held = list(range(min(size, count)))
        self.taken, self._count = 0, count

    @property
    def entered(self) -> int:
        """How many samples have come into it."""
        return self.taken + len(self.held)

    def take(self, uniform: float) -> int:
        """The sample that a draw of [0, 1) takes out; the next one comes in for it."""
        held, place = self.held, int(uniform * len(self.held))
        number, entered = held[place], self.entered
        if entered < self._count:
            held[place] = entered
        else:
            held[place] = held[-1]
            held.pop()
        self.taken += 1
        return number


def draws(seed: int, epoch: int, positions: Iterator[int]) -> Iterator[float]:
    """A number in [0, 1) for each position in the epoch: a function of (seed, epoch, position)."""
    key = random.key(seed, epoch, _BUFFER)
    while len(block := np.fromiter(itertools.islice(positions, _BLOCK), np.int64)):
        yield from random.uniforms(key, torch.from_numpy(block), 1).flatten().tolist()
