"""Who reads a stream: one thread takes bytes from the shards, worker processes decode them, this process hands out batches.

The thread is a few batches ahead, no more, and sends the workers their pictures itself: it may wait for them, training may not.
Decoding is for processes too: threads of this one are as fast at it, but leave a training that starts many small operations
less than half of the interpreter (58,000 instead of 138,000 a second beside two that decode).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamina.core.errors import DataError, LaminaError
from lamina.data.crew import zeros_for_workers
from lamina.data.pool import Pool
from lamina.data.preprocess import Preprocess
from lamina.data.tar_bytes import Stop, StoppedError
from lamina.data.tar_stream import Label, Sample

_AHEAD = 3  # batches that are read while one is trained on
_LOOK_S = 0.5  # how often a wait looks up: on some systems Ctrl-C does not end one
_PATIENCE_S = 3.0  # for a thread that is to end; one that waits for a server's first word ends by itself later
Problem = tuple[str, str, str]  # of a picture that cannot be read: came, expected, remedy


class Part(NamedTuple):
    """One batch as it is read: the position in the epoch of its first sample, their numbers in the whole, and their bytes."""

    first: int
    numbers: list[int]
    samples: list[Sample]


class Decoded(NamedTuple):
    """One batch: pictures (B H W C) in a place that is used again, and what is wrong with some of them, by their row."""

    first: int
    numbers: list[int]
    names: list[str]
    labels: list[Label]
    pictures: Tensor
    problems: dict[int, Problem]


class _Task(NamedTuple):
    """A worker's share of a batch."""

    ticket: int
    slot: int
    rows: list[tuple[int, str, bytes]]


class _Decoder:
    """What a worker does: decodes pictures into their places."""

    def __init__(self, preprocess: Preprocess, slots: Tensor) -> None:
        self.preprocess, self.slots = preprocess, slots

    def __call__(self, task: _Task) -> tuple[int, dict[int, Problem]]:
        places, problems = self.slots[task.slot].numpy(), dict[int, Problem]()
        for row, name, content in task.rows:
            try:
                places[row] = self.preprocess.from_bytes(content, name).numpy()
            except DataError as error:
                problems[row] = (error.came, error.expected, error.remedy)
        return task.ticket, problems


class StreamCrew:
    """The workers, and the shared memory that they write to: `share` pictures for each batch that is under way."""

    def __init__(self, preprocess: Preprocess, share: int, *, workers: int) -> None:
        shape = (_AHEAD + 1, share, *preprocess.size, preprocess.channels)
        self.slots = zeros_for_workers(shape, shared=workers > 0)
        self.decode = _Decoder(preprocess, self.slots)
        self.pool = Pool(self.decode, workers) if workers else None
        self.workers = workers

    def close(self) -> None:
        """Ends the workers."""
        if self.pool is not None:
            self.pool.close()


class Reading:
    """One pass of a crew over the parts that a generator reads; that runs on a thread of its own, until `close` or its end."""

    def __init__(self, crew: StreamCrew, parts: Generator[Part, None, None], stop: Stop) -> None:
        self.crew, self.waited_s, self.whole = crew, 0.0, False
        self._parts, self._stop = parts, stop
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(len(crew.slots)):
            self._free.put(slot)
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()  # (task, numbers ...), None at the end, or an error
        self._answers: dict[int, list[dict[int, Problem]]] = {}
        self._thread = threading.Thread(target=self._feed, name="lamina-stream", daemon=True)

    def run(self) -> Generator[Decoded, None, None]:
        """The batches, in order. Raises what was raised where they were read."""
        self._thread.start()
        try:
            while True:
                began = time.perf_counter()
                told = self._next()
                if told is None:
                    self.whole = True
                    return
                task, decoded, shares = told
                problems = self._decoded(task, shares)
                self.waited_s += time.perf_counter() - began
                yield decoded._replace(pictures=self.crew.slots[task.slot, : len(decoded.numbers)], problems=problems)
                self._free.put(task.slot)
        finally:
            self.close()

    def close(self) -> None:
        """Ends the thread, and the workers too where they are in the midst of something."""
        self._stop.ask()
        self._free.put(0)  # wakes who waits for a place
        if not self.whole:
            self.crew.close()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def _next(self) -> Any:
        while True:
            try:
                told = self._ready.get(timeout=_LOOK_S)
            except queue.Empty:
                if self._stop:
                    raise LaminaError(
                        "The stream was closed.", "Batches come from an open one.", "Begin another epoch."
                    ) from None
                continue
            if isinstance(told, BaseException):
                raise told
            return told

    def _decoded(self, task: _Task, shares: int) -> dict[int, Problem]:
        if self.crew.pool is None:
            return self.crew.decode(task)[1]
        while len(self._answers.get(task.ticket, ())) < shares:
            ticket, problems = self.crew.pool.receive()
            self._answers.setdefault(ticket, []).append(problems)
        return {row: problem for problems in self._answers.pop(task.ticket) for row, problem in problems.items()}

    def _feed(self) -> None:
        """What the thread does."""
        try:
            for ticket, part in enumerate(self._parts):
                self._send(ticket, self._slot(), part)
                del part  # its bytes are the workers' now
            self._ready.put(None)
        except StoppedError:
            pass
        except BaseException as error:
            self._ready.put(error)
        finally:
            self._parts.close()

    def _slot(self) -> int:
        slot = self._free.get()
        self._stop.check()
        return slot

    def _send(self, ticket: int, slot: int, part: Part) -> None:
        rows = [(row, sample.name, sample.picture) for row, sample in enumerate(part.samples)]
        names, labels = [sample.name for sample in part.samples], [sample.label for sample in part.samples]
        decoded = Decoded(part.first, part.numbers, names, labels, torch.empty(0), {})
        pool, workers = self.crew.pool, self.crew.workers
        if pool is None:
            self._ready.put((_Task(ticket, slot, rows), decoded, 1))
            return
        shares = [rows[begin::workers] for begin in range(min(workers, len(rows)))]
        self._ready.put((_Task(ticket, slot, []), decoded, len(shares)))
        for begin, share in enumerate(shares):
            pool.send((part.first + begin) % workers, _Task(ticket, slot, share))
