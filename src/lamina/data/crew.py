"""The workers of one reading, the shared memory that they write to, and who does what."""

from __future__ import annotations

import mmap
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import DataError, LaminaError
from lamina.data.faults import first_readable
from lamina.data.pool import Pool, start_method
from lamina.data.reader import Answer, Reader, Task, Unreadable, reads_files, undisturbed

_AHEAD = 3  # batches that are read while one is trained on
_LENT = 2  # batches in shared memory that are out at once: that which is trained on, and the next


class Part(NamedTuple):
    """One batch to be read: the position in the epoch of its first sample, and the numbers of its samples in the data set."""

    first: int
    indices: Tensor


class Read(NamedTuple):
    """One batch that was read; `rows` are the places in the part that could be filled, `used` the samples that fill them."""

    images: Tensor
    targets: Tensor
    used: Tensor
    rows: Tensor
    faults: dict[int, str]


class Crew:
    """The workers, the shared memory that they write to, and who does what."""

    def __init__(self, dataset: Any, share: int, *, workers: int, pin_memory: bool) -> None:
        self.busy, self.waited_s = False, 0.0
        self._workers, self._pin_memory = max(workers, 1), pin_memory
        self._depth = 1 if workers == 0 else _AHEAD + _LENT + 2 * workers // share
        self._lent = set[int]()  # slots of which somebody holds a batch
        self._slots = zeros_for_workers((self._depth, share, *shape_of(dataset)), shared=workers > 0)
        self._numbers = zeros_for_workers((self._depth, share * 8), shared=workers > 0).view(torch.int64)
        # The newest epoch; older work is dropped.
        self._live = zeros_for_workers((8,), shared=workers > 0).view(torch.int64)
        self._work = Reader(dataset, self._slots, self._numbers, self._live, self._workers)
        self._pool = Pool(self._work, workers) if workers else None
        self._tickets = 0
        self._expected: dict[int, int] = {}  # shares that are still to come, by ticket
        self._answers: dict[int, list[Answer]] = {}

    def read(
        self, epoch_key: int, parts: Iterator[Part], unreadable: Unreadable
    ) -> Generator[tuple[Part, Read], None, None]:
        """The parts and what was read for them, in order; several are read ahead."""
        self.busy, self.waited_s = True, 0.0
        pending = deque[tuple[int, int, Part]]()
        try:
            while True:
                began = time.perf_counter()
                while (slot := self._free(pending)) is not None and (part := next(parts, None)) is not None:
                    pending.append((self._start(epoch_key, slot, part, unreadable), slot, part))
                if not pending:
                    return
                ticket, slot, part = pending.popleft()
                answers = self._finish(ticket)
                self.waited_s += time.perf_counter() - began
                yield part, self._collected(slot, answers)
        except GeneratorExit:
            self._drop()
            raise
        finally:
            self.busy = False

    def _free(self, pending: Iterable[tuple[int, int, Part]]) -> int | None:
        """A slot that nobody reads into, and of which nobody holds a batch."""
        return min({*range(self._depth)} - {slot for _, slot, _ in pending} - self._lent, default=None)

    def _drop(self) -> None:
        """Tells the workers that nobody waits for what they are reading, and waits until they have stopped writing."""
        self._live[0] += 1
        try:
            while self._expected and self._pool is not None and not self.closed:
                self._take(self._pool.receive())
        except LaminaError:  # one has died: nobody waits for what it was reading either
            self.close()
        self._expected.clear()
        self._answers.clear()

    @property
    def closed(self) -> bool:
        """Whether the workers were ended."""
        return self._pool is not None and self._pool.closed

    def close(self) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.close()

    def _start(self, epoch_key: int, slot: int, part: Part, unreadable: Unreadable) -> int:
        self._tickets += 1
        count = len(part.indices)
        self._numbers[slot, :count] = part.indices
        self._expected[self._tickets] = min(count, self._workers)
        for row in range(min(count, self._workers)):
            task = Task(
                self._tickets,
                int(self._live[0]),
                slot,
                epoch_key,
                part.first,
                row=row,
                stop=count,
                unreadable=unreadable,
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

    def _collected(self, slot: int, answers: list[Answer]) -> Read:
        filled = sorted(
            (entry for answer in answers for entry in zip(answer.rows, answer.used, answer.targets, strict=True)),
            key=lambda entry: entry[0],
        )
        rows = torch.tensor([row for row, _, _ in filled], dtype=torch.int64)
        whole = len(rows) == (int(rows[-1]) + 1 if len(rows) else 0)
        images = self._handed_out(slot, len(rows)) if whole else self._slots[slot][rows]
        if self._pin_memory:
            images = images.pin_memory()  # copied: the slot is free, and torch keeps the copy while a device reads it
        goals = [target for _, _, target in filled]
        targets = torch.as_tensor(np.stack(goals) if goals and isinstance(goals[0], np.ndarray) else np.asarray(goals))
        used = torch.tensor([index for _, index, _ in filled], dtype=torch.int64)
        faults = {index: text for answer in answers for index, text in answer.faults.items()}
        return Read(images.permute(0, 3, 1, 2), targets, used, rows, faults)

    def _handed_out(self, slot: int, count: int) -> Tensor:
        """The first pictures of a slot, without copying them: until nobody holds them any more nothing else is read into it.

        Who keeps several batches gets copies: the last slots are needed for reading.
        """
        if len(self._lent) >= min(_LENT, self._depth - 1):
            return self._slots[slot, :count].clone()
        held = self._slots[slot, :count].numpy()
        self._lent.add(slot)
        weakref.finalize(held, self._lent.discard, slot).atexit = False
        return torch.from_numpy(held)  # which, like all views of it, holds that array


def zeros_for_workers(shape: tuple[int, ...], *, shared: bool) -> Tensor:
    """Zeros of uint8 that workers see too. What is forked needs no file: /dev/shm is often small."""
    if not shared:
        return torch.zeros(shape, dtype=torch.uint8)
    if start_method() == "fork":
        return torch.frombuffer(mmap.mmap(-1, int(np.prod(shape))), dtype=torch.uint8).view(shape)
    shared_zeros: Tensor = torch.zeros(shape, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
    return shared_zeros


def shape_of(dataset: Any) -> tuple[int, int, int]:
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
