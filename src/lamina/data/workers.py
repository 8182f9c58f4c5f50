"""Batches from data that does not fit in memory: worker processes read and decode, and write into shared memory.

All workers work on each batch, sample by sample in turn, so the first one comes soon and none waits for a slow worker's
whole batch. What a worker draws is a function of (seed, epoch, position in the epoch): how many there are changes nothing.
"""

from __future__ import annotations

import copy
import mmap
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.augment import Augment, augmented, composed, draw
from lamina.data.faults import all_unreadable, first_readable, named
from lamina.data.fingerprint import fingerprint, spread
from lamina.data.loader import ArrayBatches, part_of
from lamina.data.memory import processes_here
from lamina.data.pool import Pool, start_method
from lamina.data.reader import Answer, Reader, Task, Unreadable, reads_files, undisturbed
from lamina.structures.batch import Batch

_MOST = 16  # workers that "auto" starts
_AHEAD = 3  # batches that are read while one is trained on


class WorkerBatches:
    """Batches (uint8 B C H W, targets) of a map-style data set, read by worker processes that live as long as this object.

    Samples are (uint8 picture C H W of one size, number or tensor). The interface and the order are those of ArrayBatches,
    and the same `seed` gives the same run: `batch_size` counts the samples of all processes, `shard` is (rank, size).
    `workers` "auto" is one for each core that this process may use, up to 16; 0 reads here. Draws of a data set from torch's,
    numpy's or Python's global generators are keyed by the position in the epoch too. `augment` acts on whole batches.

    Unreadable pictures are in training replaced by others, drawn by a key of their number, and left out of an evaluation;
    with on_error="raise" they are a DataError. All are named in a warning. A worker that dies is a LaminaError.
    `waited_s` is how long, in seconds, the epoch in progress has waited for data.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        seed: int = 0,
        workers: int | Literal["auto"] = "auto",
        augment: Augment | None = None,
        weights: Tensor | None = None,
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
        self.workers = _count(workers, shard[1])
        self.augment, self.on_error, self.pin_memory = composed(augment), on_error, pin_memory
        self._seed = seed
        # Order and shards are those of data in memory: what is batched is the samples' numbers.
        self._plan = ArrayBatches(
            torch.arange(self.samples), batch_size=batch_size, shuffle=shuffle, seed=seed, shard=shard
        )
        self._adapt: Callable[[Batch], Batch] | None = None
        self._crew: _Crew | None = None
        self._faults: dict[int, str] = {}
        self._told = 0  # of them

    def adapted(self, adapt: Callable[[Batch], Batch], *, shard: tuple[int, int]) -> WorkerBatches:
        """The same for who trains: a part of the batches, each passed through `adapt` before it is augmented.

        It has workers of its own, which whoever asked for it closes; this object's are ended.
        """
        self.close()
        made = copy.copy(self)
        made._plan, made._adapt, made._faults = copy.copy(self._plan), adapt, {}
        made._plan.shard = shard
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
        return self._each("skip" if self.on_error == "replace" else "raise")

    def complete(self) -> Iterator[Batch]:
        """As iterating, for who needs an answer to each sample: an unreadable picture is a DataError."""
        return self._each("raise")

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch of training from the `start`-th on; nothing before it is read."""
        parts = enumerate(self._plan.epoch(epoch, start=start), start)
        work = (_Part(self._plan.positions(number)[0], batch.inputs) for number, batch in parts)  # type: ignore[arg-type]
        for part, read in self._read(epoch, work, "replace" if self.on_error == "replace" else "raise"):
            batch = self._batch(read)
            if self.augment is not None:
                # Which sample it is goes by the place: what was drawn to replace it is augmented in its stead.
                positions, samples = part.first + read.rows, part.indices[read.rows]
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
        height, width, channels = _shape(self.dataset)
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
        return fingerprint(told)

    def close(self) -> None:
        """Ends the workers; the next epoch starts others."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def _each(self, unreadable: Unreadable) -> Iterator[Batch]:
        first, last = part_of(self.samples, self.shard)
        seen = 0

        def work() -> Iterator[_Part]:
            at = first
            for batch in self._plan:
                assert isinstance(batch.inputs, Tensor)
                for indices in torch.split(batch.inputs, self._share):  # a batch of an evaluation is that of one process alone
                    yield _Part(at, indices)
                    at += len(indices)

        for _, read in self._read(0, work(), unreadable):
            seen += len(read.used)
            if len(read.used):
                yield self._batch(read)
        if not seen and first < last:
            raise all_unreadable(f"{last - first:,} pictures", self._faults)

    def _read(
        self, epoch: int, parts: Iterator[_Part], unreadable: Unreadable
    ) -> Generator[tuple[_Part, _Read], None, None]:
        crew = self._crew
        if crew is None or crew.busy:  # with an epoch, in whose midst somebody looks at a few batches
            crew = _Crew(self.dataset, self._share, workers=self.workers, pin_memory=self.pin_memory)
            self._crew = self._crew or crew
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

    def _batch(self, read: _Read) -> Batch:
        batch = Batch(read.images, read.targets, None if self.weights is None else self.weights[read.used])
        return batch if self._adapt is None else self._adapt(batch)

    def _tell(self, unreadable: Unreadable) -> None:
        new = dict(list(self._faults.items())[self._told :])
        self._told = len(self._faults)
        if not new or unreadable == "raise":
            return
        done = "others are drawn in their place" if unreadable == "replace" else "they are left out"
        warn(
            f"{len(new):,}{' more' * (len(new) < self._told)} of {self.samples:,} pictures cannot be read; {done}:\n"
            f"{named(new)}\nRepair these files, or delete them; data.WorkerBatches(dataset, on_error='raise') stops at them."
        )


class _Part(NamedTuple):
    """One batch to be read: the position in the epoch of its first sample, and the numbers of its samples in the data set."""

    first: int
    indices: Tensor


class _Read(NamedTuple):
    """One batch that was read; `rows` are the places in the part that could be filled, `used` the samples that fill them."""

    images: Tensor
    targets: Tensor
    used: Tensor
    rows: Tensor
    faults: dict[int, str]


class _Crew:
    """The workers, the shared memory that they write to, and who does what."""

    def __init__(self, dataset: Any, share: int, *, workers: int, pin_memory: bool) -> None:
        self.busy, self.waited_s = False, 0.0
        self._workers, self._pin_memory = max(workers, 1), pin_memory
        self._depth = 1 if workers == 0 else _AHEAD + 1 + 2 * workers // share
        self._slots = _shared((self._depth, share, *_shape(dataset)), shared=workers > 0)
        self._numbers = _shared((self._depth, share * 8), shared=workers > 0).view(torch.int64)
        self._live = _shared((8,), shared=workers > 0).view(torch.int64)  # the newest epoch; older work is dropped
        self._work = Reader(dataset, self._slots, self._numbers, self._live, self._workers)
        self._pool = Pool(self._work, workers) if workers else None
        self._tickets = 0
        self._expected: dict[int, int] = {}  # shares that are still to come, by ticket
        self._answers: dict[int, list[Answer]] = {}

    def read(
        self, epoch_key: int, parts: Iterator[_Part], unreadable: Unreadable
    ) -> Generator[tuple[_Part, _Read], None, None]:
        """The parts and what was read for them, in order; several are read ahead."""
        self.busy, self.waited_s = True, 0.0
        free, pending = list(range(self._depth)), deque[tuple[int, int, _Part]]()
        try:
            while True:
                began = time.perf_counter()
                while free and (part := next(parts, None)) is not None:
                    slot = free.pop()
                    pending.append((self._start(epoch_key, slot, part, unreadable), slot, part))
                if not pending:
                    return
                ticket, slot, part = pending.popleft()
                answers = self._finish(ticket)
                self.waited_s += time.perf_counter() - began
                read = self._collected(slot, answers)
                free.append(slot)
                yield part, read
        except GeneratorExit:
            self._drop()
            raise
        finally:
            self.busy = False

    def _drop(self) -> None:
        """Tells the workers that nobody waits for what they are reading, and waits until they have stopped writing."""
        self._live[0] += 1
        while self._pool is not None and not self._pool.closed and self._expected:
            self._take(self._pool.receive())
        self._expected.clear()
        self._answers.clear()

    def close(self) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.close()

    def _start(self, epoch_key: int, slot: int, part: _Part, unreadable: Unreadable) -> int:
        self._tickets += 1
        count = len(part.indices)
        self._numbers[slot, :count] = part.indices
        self._expected[self._tickets] = min(count, self._workers)
        for row in range(min(count, self._workers)):
            task = Task(
                self._tickets, int(self._live[0]), slot, epoch_key, part.first, row=row, count=count, unreadable=unreadable
            )
            if self._pool is None:
                with undisturbed():
                    self._take(self._work(task))
            else:
                self._pool.send((part.first + row) % self._workers, task)
        return self._tickets

    def _finish(self, ticket: int) -> list[Answer]:
        while ticket in self._expected:
            assert self._pool is not None
            self._take(self._pool.receive())
        answers = self._answers.pop(ticket)
        errors = sorted((error for answer in answers for error in answer.errors), key=lambda error: error[0])
        if errors:
            raise errors[0][1].error
        return answers

    def _take(self, answer: Answer) -> None:
        self._answers.setdefault(answer.ticket, []).append(answer)
        self._expected[answer.ticket] -= 1
        if not self._expected[answer.ticket]:
            del self._expected[answer.ticket]

    def _collected(self, slot: int, answers: list[Answer]) -> _Read:
        filled = sorted(
            (entry for answer in answers for entry in zip(answer.rows, answer.used, answer.targets, strict=True)),
            key=lambda entry: entry[0],
        )
        rows = torch.tensor([row for row, _, _ in filled], dtype=torch.int64)
        source = self._slots[slot]
        whole = len(rows) == (int(rows[-1]) + 1 if len(rows) else 0)
        kept = source[: len(rows)] if whole else source[rows]
        images = torch.empty(kept.shape, dtype=torch.uint8, pin_memory=self._pin_memory).copy_(kept)
        goals = [target for _, _, target in filled]
        targets = torch.as_tensor(np.stack(goals) if goals and isinstance(goals[0], np.ndarray) else np.asarray(goals))
        used = torch.tensor([index for _, index, _ in filled], dtype=torch.int64)
        faults = {index: text for answer in answers for index, text in answer.faults.items()}
        return _Read(images.permute(0, 3, 1, 2), targets, used, rows, faults)


def _shared(shape: tuple[int, ...], *, shared: bool) -> Tensor:
    """Zeros of uint8 that workers see too. What is forked needs no file: /dev/shm is often small."""
    if not shared:
        return torch.zeros(shape, dtype=torch.uint8)
    if start_method() == "fork":
        return torch.frombuffer(mmap.mmap(-1, int(np.prod(shape))), dtype=torch.uint8).view(shape)
    shared_zeros: Tensor = torch.zeros(shape, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
    return shared_zeros


def _shape(dataset: Any) -> tuple[int, int, int]:
    """(H, W, C) of the pictures."""
    if reads_files(dataset):
        if dataset.preprocess is None:
            raise DataError(
                "The pictures of the folder have no common size.",
                "A batch holds pictures of one size.",
                "Pass dataset.prepared(Preprocess(size=(224, 224))).",
            )
        return (*dataset.preprocess.size, dataset.preprocess.channels)
    with undisturbed():
        channels, height, width = first_readable(dataset).shape
    return height, width, channels


def _count(workers: int | str, processes: int) -> int:
    if workers == "auto":
        if multiprocessing.current_process().daemon:  # which may have no children
            return 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cores // processes_here(processes), _MOST))
    if not isinstance(workers, int) or workers < 0:
        raise DataError(f"workers is {workers!r}.", '"auto" or a number, 0 or more, was expected.', "Leave it out.")
    return workers
