"""Batches from data that does not fit in memory: worker processes read and decode, and write into shared memory.

All workers work on each batch, sample by sample in turn, so the first one comes soon and none waits for a slow worker's
whole batch. What a worker draws is a function of (seed, epoch, position in the epoch): how many there are changes nothing.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.augment import Augment, augmented, composed, draw
from lamina.data.balance import Quota
from lamina.data.crew import Crew, Part, Read, shape_of
from lamina.data.faults import all_unreadable, named
from lamina.data.fingerprint import fingerprint, spread
from lamina.data.loader import ArrayBatches, part_of
from lamina.data.memory import processes_here
from lamina.data.reader import Unreadable, undisturbed
from lamina.structures.batch import Batch

_MOST = 16  # workers that "auto" starts


class WorkerBatches:
    """Batches (uint8 B C H W, targets) of a map-style data set, read by worker processes that live as long as this object.

    Samples are (uint8 picture C H W of one size, number or tensor). The interface and the order are those of ArrayBatches,
    and the same `seed` gives the same run: `batch_size` counts the samples of all processes, `shard` is (rank, size).
    `workers` "auto" is one for each core that this process may use, up to 16; 0 reads here. Draws of a data set from torch's,
    numpy's or Python's global generators are keyed by the position in the epoch too. `augment` acts on whole batches.
    `sample_by` (N, or a Quota): training draws samples as often as it asks for (see ArrayBatches).

    Unreadable pictures are in training replaced by others, drawn by a key of their number, and left out of an evaluation;
    with on_error="raise" they are a DataError. All are named in a warning. A worker that dies is a LaminaError.
    `waited_s` is how long, in seconds, the epoch in progress has waited for data.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 32,
        *,
        shuffle: bool | int = False,
        seed: int = 0,
        workers: int | Literal["auto"] = "auto",
        augment: Augment | None = None,
        weights: Tensor | None = None,
        sample_by: Tensor | Quota | None = None,
        shard: tuple[int, int] = (0, 1),
        on_error: Literal["replace", "raise"] = "replace",
        pin_memory: bool = False,
    ) -> None:
        if on_error not in ("replace", "raise"):
            raise DataError(
                f"on_error is {on_error!r}.",
                "It is 'replace' or 'raise'.",
                "Pass 'raise' to stop at the first unreadable picture.",
            )
        self.dataset, self.samples, self.weights = dataset, len(dataset), weights
        self.workers = worker_count(workers, shard[1])
        self.augment, self.pin_memory = composed(augment), pin_memory
        self.on_error = "raise" if getattr(dataset, "is_strict", False) else on_error
        self._seed = seed
        # Order and shards are those of data in memory: what is batched is the samples' numbers.
        self._plan = ArrayBatches(
            torch.arange(self.samples),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            sample_by=sample_by,
            shard=shard,
        )
        self._adapt: Callable[[Iterator[Batch]], Iterator[Batch]] = iter
        self._crew: Crew | None = None
        self._faults: dict[int, str] = {}
        self._told = 0  # of them

    def adapted(self, adapt: Callable[[Iterator[Batch]], Iterator[Batch]], *, shard: tuple[int, int]) -> Self:
        """The same for who trains: a part of the batches, passed through `adapt` before they are augmented.

        It has workers of its own, which whoever asked for it closes; this object's are ended.
        """
        self.close()
        made = copy.copy(self)
        made._plan, made._adapt = copy.copy(self._plan), adapt
        made._plan.shard = shard
        made._faults, made._told = {}, 0
        return made

    @property
    def shard(self) -> tuple[int, int]:
        """(rank, size), as it was given."""
        return self._plan.shard

    @property
    def batch_size(self) -> int:
        """Samples in a batch of all processes. Setting it ends the workers, whose places are of the old size."""
        return self._plan.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.close()
        self._plan.batch_size = size

    @property
    def _share(self) -> int:
        """Samples in this process's part of a batch, at most."""
        return -(-self.batch_size // self.shard[1])

    @property
    def waited_s(self) -> float:
        """Seconds that the epoch in progress has waited for data."""
        return 0.0 if self._crew is None else self._crew.waited_s

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        """Each sample once, over all processes, as it is: to look at and to evaluate. Unreadable pictures are left out."""
        return self._adapt(self._each("skip" if self.on_error == "replace" else "raise"))

    def complete(self) -> Iterator[Batch]:
        """As iterating, for who needs an answer to each sample: an unreadable picture is a DataError."""
        return self._adapt(self._each("raise"))

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch of training from the `start`-th on; nothing before it is read."""
        parts = enumerate(self._plan.epoch(epoch, start=start), start)
        work = (Part(self._plan.positions(number)[0], batch.inputs) for number, batch in parts)  # type: ignore[arg-type]
        placed = deque[tuple[Part, Tensor]]()  # the rows of batches that `adapt` may have taken ahead

        def batches() -> Iterator[Batch]:
            for part, read in self._read(epoch, work, "replace" if self.on_error == "replace" else "raise"):
                placed.append((part, read.rows))
                yield self._batch(read)

        for batch in self._adapt(batches()):
            part, rows = placed.popleft()
            if self.augment is not None:
                # Which sample it is goes by the place: what was drawn to replace it is augmented in its stead.
                positions, samples = part.first + rows, part.indices[rows]
                uniforms = draw(self.augment, positions, seed=self._seed, epoch=epoch, samples=samples)
                inputs, targets = augmented(self.augment, batch.inputs, batch.targets, uniforms)
                batch = Batch(inputs, targets, batch.weights)
            yield batch

    def positions(self, batch: int) -> tuple[int, int]:
        """As ArrayBatches.positions."""
        return self._plan.positions(batch)

    def rows(self, epoch: int, batch: int) -> list[int]:
        """As ArrayBatches.rows."""
        return self._plan.rows(epoch, batch)

    def fingerprint(self) -> dict[str, Any]:
        """What `data.fingerprint` tells of the same pictures in memory."""
        height, width, channels = shape_of(self.dataset)
        few = []
        with undisturbed():
            for index in spread(self.samples, height * width * channels).tolist():
                random.reseed_host(random.key(index))
                try:
                    few.append(torch.as_tensor(self.dataset[index][0]))
                except DataError:
                    few.append(torch.zeros(channels, height, width, dtype=torch.uint8))
        labels = getattr(self.dataset, "labels", None)
        told = SimpleNamespace(samples=self.samples, inputs=torch.stack(few), targets=labels, weights=self.weights)
        told.sample_by = self._plan.sample_by
        return fingerprint(told)

    def close(self) -> None:
        """Ends the workers; the next epoch starts others."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def _each(self, unreadable: Unreadable) -> Iterator[Batch]:
        first, last = part_of(self.samples, self.shard)
        seen = 0

        def work() -> Iterator[Part]:
            at = first
            for batch in self._plan:
                assert isinstance(batch.inputs, Tensor)
                # A batch of an evaluation is that of one process alone.
                for indices in torch.split(batch.inputs, self._share):
                    yield Part(at, indices)
                    at += len(indices)

        for _, read in self._read(0, work(), unreadable):
            seen += len(read.used)
            if len(read.used):
                yield self._batch(read)
        if not seen and first < last:
            raise all_unreadable(f"{last - first:,} pictures", self._faults)

    def _read(
        self, epoch: int, parts: Iterator[Part], unreadable: Unreadable
    ) -> Generator[tuple[Part, Read], None, None]:
        if self._crew is None or self._crew.closed:
            self._crew = self._hired()
        # Busy with an epoch, in whose midst somebody looks at a few batches: they have workers of their own.
        crew = self._hired() if self._crew.busy else self._crew
        reading = crew.read(random.key(self._seed, epoch), parts, unreadable)
        wanted = False
        try:
            for part, read in reading:
                self._faults.update(read.faults)
                yield part, read
            wanted = True
        except GeneratorExit:  # the rest of the epoch is not wanted
            wanted = True
            raise
        finally:
            reading.close()
            if crew is not self._crew:
                crew.close()
            elif not wanted:  # Ctrl-C may have come in the middle of an answer
                self.close()
            self._tell(unreadable)

    def _hired(self) -> Crew:
        return Crew(self.dataset, self._share, workers=self.workers, pin_memory=self.pin_memory)

    def _batch(self, read: Read) -> Batch:
        return Batch(read.images, read.targets, None if self.weights is None else self.weights[read.used])

    def _tell(self, unreadable: Unreadable) -> None:
        new = dict(list(self._faults.items())[self._told :])
        self._told = len(self._faults)
        if not new or unreadable == "raise":
            return
        done = "others are drawn in their place" if unreadable == "replace" else "they are left out"
        warn(
            f"{len(new):,}{' more' * (len(new) < self._told)} of {self.samples:,} pictures cannot be read; {done}:\n"
            f"{named(new)}\nRepair these files, or delete them."
        )


def worker_count(workers: int | str, processes: int) -> int:
    """How many workers "auto" means, where so many processes train together. Raises DataError for what is no number of them."""
    if workers == "auto":
        if multiprocessing.current_process().daemon:  # which may have no children
            return 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cores // processes_here(processes), _MOST))
    if not isinstance(workers, int) or workers < 0:
        raise DataError(f"workers is {workers!r}.", '"auto" or a number, 0 or more, was expected.', "Leave it out.")
    return workers
