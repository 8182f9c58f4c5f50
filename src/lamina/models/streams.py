"""Data that is read while it is trained on: what stands for it before training, and the batches of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self, TypeVar

from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.augment import Augment
from lamina.data.balance import Quota
from lamina.data.dataset import FolderDataset
from lamina.data.faults import first_readable
from lamina.data.workers import WorkerBatches
from lamina.models.arrays import Arrays, PerSample, per_sample
from lamina.structures.batch import Batch
from lamina.training.step import SupervisedStep


class _Read(Protocol):
    """WorkerBatches, StreamBatches."""

    @property
    def shard(self) -> tuple[int, int]: ...

    def adapted(self, adapt: Callable[[Iterator[Batch]], Iterator[Batch]], *, shard: tuple[int, int]) -> Self: ...


Read = TypeVar("Read", bound=_Read)


class Streamed(Arrays):
    """Arrays whose pictures stay on the disk: `inputs` holds the first one alone, by which the network is checked."""

    dataset: FolderDataset

    @classmethod
    def of(cls, dataset: FolderDataset, weights: Any = None) -> Streamed:
        """The data set, whose pictures `preprocess` gives one size. Raises DataError where none of the first can be read."""
        beside = per_sample(one_each(weights, len(dataset)))
        streamed = cls((first_readable(dataset)[None],), (dataset.labels,), beside.weights, beside.odds)
        streamed.dataset = dataset
        return streamed

    @property
    def samples(self) -> int:
        """How many samples."""
        return len(self.targets[0])


def worker_batches(
    data: Streamed,
    step: SupervisedStep,
    *,
    weights: Tensor | None,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    augment: Augment | None = None,
    sample_by: Tensor | Quota | None = None,
) -> WorkerBatches:
    """Batches of a data set on the disk, in the order in which ArrayBatches gives those of arrays."""
    batches = WorkerBatches(
        data.dataset,
        batch_size,
        shuffle=shuffle,
        seed=seed,
        augment=augment,
        weights=weights,
        sample_by=sample_by,
        pin_memory=step.runtime.pins,
        shard=step.runtime.world.shard,
    )
    return adapted(batches, step)


def adapted(batches: Read, step: SupervisedStep) -> Read:
    """The batches, moved to the step's device and with targets as its loss takes them, before they are augmented.

    Where many processes train, each takes its part, unless it was given one. `feed.release` ends their workers.
    """
    put, (target, *_) = step.runtime.put, step.targets

    def adapt(batch: Batch) -> Batch:
        assert isinstance(batch.inputs, Tensor)
        assert isinstance(batch.targets, Tensor)
        goals = target.loss.prepare(batch.targets, target.output_shape)
        return Batch(put(batch.inputs), put(goals), None if batch.weights is None else put(batch.weights))

    shard = step.runtime.world.shard if batches.shard == (0, 1) else batches.shard
    return batches.adapted(functools.partial(step.runtime.ahead, adapt), shard=shard)


def one_each(weights: Any, count: int) -> PerSample | None:
    """What comes beside each of `count` pictures. Raises DataError for another number of them."""
    if weights is None:
        return None
    given = per_sample(weights)
    for name, value in (("sample_weight", given.weights), ("sample_by", given.odds)):
        if value is not None and len(value) != count:
            raise DataError(
                f"x has {count:,} samples and {name} has {len(value):,}.",
                "Every picture needs one weight.",
                "Check how they were cut.",
            )
    return given
