"""Batches from data that fits in memory: no workers, no collating, one indexing operation a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.data import balance
from lamina.data.augment import Augment as Augment
from lamina.data.augment import augmented, composed, draw
from lamina.data.balance import Quota
from lamina.structures.batch import Batch, Tensors


class ArrayBatches:
    """Batches of tensors that share their first dimension, in a new order each epoch where `shuffle` asks for it.

    The order is a function of (seed, epoch), and what `augment` (one augmentation or a list) draws for a sample of (seed,
    epoch, position in the epoch), so a run is the same whether or not it was interrupted. `inputs` and `targets` are tensors
    or tuples of them; an augmentation that mixes samples makes integer targets shares of the classes (B K).

    `shuffle` True is over all samples; a number shuffles so many that lie near each other, as a buffer of that size would, for
    shards on disks that are slow to jump.

    `sample_by` (N): as many samples as there are are drawn with replacement, each as often as its weight asks for. A Quota
    (see data.balance) says how many samples of each class an epoch has, which may be more or fewer than there are.

    Iterating is for looking and evaluating: each sample once and as it is, neither augmented nor drawn by weight. What
    trains, or measures what training sees, asks for an `epoch`.

    `shard=(rank, size)`: this process's part, where several train together. `batch_size` counts the samples of all. `epoch`
    gives a contiguous part of each batch, and a last batch with fewer samples than processes is left out, so that all take
    the same number of steps. Iterating gives a contiguous part of the whole, perhaps an empty one. Positions in the epoch
    do not depend on the number of processes.
    """

    def __init__(
        self,
        inputs: Tensors,
        targets: Tensors | None = None,
        *,
        weights: Tensor | None = None,
        batch_size: int = 32,
        shuffle: bool | int = False,
        seed: int = 0,
        augment: Augment | None = None,
        sample_by: Tensor | Quota | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}.", "A batch holds at least one sample.", "Pass 1 or more.")
        if shuffle < 0:
            raise DataError(
                f"shuffle is {shuffle}.", "True, False or a number of samples was expected.", "Pass 10_000, say."
            )
        self.inputs, self.targets, self.weights = inputs, targets, weights
        self.batch_size, self.shuffle, self.seed, self.augment = batch_size, shuffle, seed, composed(augment)
        self.samples = len(inputs if isinstance(inputs, Tensor) else inputs[0])
        self.shard = shard
        self.sample_by = _checked(sample_by, self.samples) if isinstance(sample_by, Tensor) else sample_by
        self.drawn = sample_by.samples if isinstance(sample_by, Quota) else self.samples  # in an epoch of training

    def __len__(self) -> int:
        """Batches in an epoch of training."""
        whole, rest = divmod(self.drawn, self.batch_size)
        return whole + (rest >= self.shard[1])

    def __iter__(self) -> Iterator[Batch]:
        """Each sample once, over all processes, as it is."""
        first, last = part_of(self.samples, self.shard)
        parts = ((at, min(at + self.batch_size, last)) for at in range(first, last, self.batch_size))
        order = self._shuffled(random.key(self.seed, 0)) if self.shuffle else None
        return (batch for _, batch in self._batches(order, parts))

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch of training from the `start`-th on."""
        size = self.shard[1]
        if self.batch_size < size:
            raise DataError(
                f"batch_size is {self.batch_size}, and {size} processes train together.",
                "It counts the samples of all, and each needs one or more.",
                f"Pass a batch_size of {size} or more, or start fewer processes.",
            )
        return self._augmented(epoch, (self.positions(batch) for batch in range(start, len(self))))

    def positions(self, batch: int) -> tuple[int, int]:
        """The first position in the epoch of this process's part of a training batch, and the one behind its last."""
        start = batch * self.batch_size
        first, last = part_of(min(self.batch_size, self.drawn - start), self.shard)
        return start + first, start + last

    def rows(self, epoch: int, batch: int) -> list[int]:
        """Which samples of the data this process's part of a training batch holds: to name those at fault."""
        order, (first, last) = self._order(epoch), self.positions(batch)
        return list(range(first, last)) if order is None else order[first:last].tolist()

    def _augmented(self, epoch: int, parts: Iterable[tuple[int, int]]) -> Iterator[Batch]:
        order = self._order(epoch)
        for (first, last), batch in self._batches(order, parts):
            if self.augment is None:
                yield batch
                continue
            positions = torch.arange(first, last)
            samples = positions if order is None else order[first:last]
            uniforms = draw(self.augment, positions, seed=self.seed, epoch=epoch, samples=samples)
            inputs, targets = augmented(self.augment, batch.inputs, batch.targets, uniforms)
            yield Batch(inputs, targets, batch.weights)

    def _batches(
        self, order: Tensor | None, parts: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Batch]]:
        orders = None if order is None else self._orders(order)
        for first, last in parts:
            rows = slice(first, last)
            inputs = _pick(self.inputs, rows, orders)
            targets = None if self.targets is None else _pick(self.targets, rows, orders)
            weights = None if self.weights is None else _pick_one(self.weights, rows, orders)
            yield (first, last), Batch(inputs, targets, weights)

    def _order(self, epoch: int) -> Tensor | None:
        """The sample at each position of the epoch, the same in all processes; None where it is the position."""
        epoch_key = random.key(self.seed, epoch)
        if isinstance(self.sample_by, Quota):
            return balance.draw(epoch_key, self.sample_by, shuffle=bool(self.shuffle))
        if self.sample_by is not None:
            return random.draw(epoch_key, self.sample_by, self.samples)
        return self._shuffled(epoch_key) if self.shuffle else None

    def _shuffled(self, order_key: int) -> Tensor:
        if self.shuffle is True:
            return random.order(order_key, self.samples)
        return random.order_nearby(order_key, self.samples, self.shuffle)

    def _orders(self, order: Tensor) -> dict[torch.device, Tensor]:
        """The epoch's order on each device that holds data, for an index from elsewhere would be moved at every batch."""
        held = [*_listed(self.inputs), *_listed(self.targets), *_listed(self.weights)]
        return {device: order.to(device) for device in {value.device for value in held}}


def part_of(count: int, shard: tuple[int, int]) -> tuple[int, int]:
    """The contiguous part of 0 .. count-1 that one of several processes takes: its first, and the one behind its last."""
    rank, size = shard
    return rank * count // size, (rank + 1) * count // size


def _checked(weights: Tensor, samples: int) -> Tensor:
    weights = weights.detach().cpu().double()
    if (
        weights.shape != (samples,)
        or not bool(((weights >= 0) & weights.isfinite()).all())
        or float(weights.sum()) <= 0
    ):
        raise DataError(
            f"sample_by has shape {tuple(weights.shape)} and values from {weights.min():g} to {weights.max():g}.",
            f"A weight for each of the {samples} samples was expected, 0 or more, and not all 0.",
            "Pass for example 1 / (how often the sample's class occurs).",
        )
    return weights


def _pick(values: Tensors, rows: slice, orders: dict[torch.device, Tensor] | None) -> Tensors:
    if isinstance(values, Tensor):
        return _pick_one(values, rows, orders)
    return tuple(_pick_one(value, rows, orders) for value in values)


def _pick_one(value: Tensor, rows: slice, orders: dict[torch.device, Tensor] | None) -> Tensor:
    return value[rows] if orders is None else value[orders[value.device][rows]]


def _listed(values: Tensors | None) -> tuple[Tensor, ...]:
    return () if values is None else (values,) if isinstance(values, Tensor) else tuple(values)
