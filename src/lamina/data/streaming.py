"""Batches from shards that are read front to back, from disks and web servers: nothing is sought, and nothing stored.

What an epoch is, to the last bit, is a function of (seed, epoch) and of the number of processes: how many workers there are, where the
shards lie, and whether the epoch was begun in its middle change nothing.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import stream_source
from lamina.data.augment import Augment, augmented, composed, draw
from lamina.data.faults import all_unreadable, named
from lamina.data.loader import part_of
from lamina.data.preprocess import Preprocess
from lamina.data.reader import Unreadable
from lamina.data.stream_crew import Decoded, Part, Reading, StreamCrew
from lamina.data.stream_order import Shares
from lamina.data.stream_reader import StreamReader
from lamina.data.stream_source import Source
from lamina.data.tar_bytes import Stop
from lamina.data.tar_stream import Label
from lamina.data.workers import worker_count
from lamina.structures.batch import Batch

_REPLACED = 0x5EED


class StreamBatches:
    """Batches (uint8 B C H W, int64 labels B, or 0 and 1 B K where there are several) of shards; `stream` makes them.

    The interface is that of WorkerBatches. An epoch is its shards, in an order that is a function of (seed, epoch), one after the
    other through a buffer of `shuffle` samples, from which each position takes one by its key; without `shuffle` all come as
    they are listed. The buffer holds files, not pixels; beside it four batches are under way.

    `shard=(rank, size)`: each process reads a stretch of that sequence, and opens no other shards. All take the same number of
    steps, and nothing is read twice; which samples share a batch depends on the number of processes. An epoch that is begun in
    its middle opens only the shards that are still needed, and decodes nothing before its first batch.

    A picture that cannot be read is in training replaced by another one of its batch, drawn by a key, and left out of an
    evaluation; with on_error="raise" it is a DataError. A shard that is cut short, or not what its index says, is one always.
    `waited_s` is how long, in seconds, the epoch in progress has waited for data.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Preprocess,
        *,
        batch_size: int = 32,
        shuffle: int = 0,
        seed: int = 0,
        workers: int | Literal["auto"] = "auto",
        augment: Augment | None = None,
        shard: tuple[int, int] = (0, 1),
        on_error: Literal["replace", "raise"] = "replace",
    ) -> None:
        _check(source, batch_size=batch_size, shuffle=shuffle, on_error=on_error)
        self.source, self.preprocess = source, preprocess
        self.samples, self.classes = source.samples, source.classes
        self.shuffle, self.seed, self.augment = int(shuffle), seed, composed(augment)
        self.shard, self.on_error = shard, on_error
        self.workers = worker_count(workers, shard[1])
        self._batch_size = batch_size
        self._adapt: Callable[[Iterator[Batch]], Iterator[Batch]] = iter
        self._begin()

    def _begin(self) -> None:
        self._crew: StreamCrew | None = None  # that waits for the next pass
        self._readings: list[Reading] = []
        self._training: Reading | None = None
        self._faults: dict[int, str] = {}
        self._told = 0  # of them

    def adapted(self, adapt: Callable[[Iterator[Batch]], Iterator[Batch]], *, shard: tuple[int, int]) -> Self:
        """The same for who trains: a part of the batches, passed through `adapt` before they are augmented.

        It has workers of its own, which whoever asked for it closes; this object's are ended.
        """
        self.close()
        made = copy.copy(self)
        made.shard, made._adapt = shard, adapt
        made._begin()
        return made

    @property
    def batch_size(self) -> int:
        """Samples in a batch of all processes. Setting it ends the workers, whose places are of the old size."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.close()
        self._batch_size = size

    @property
    def waited_s(self) -> float:
        """Seconds that the epoch in progress has waited for data."""
        return 0.0 if self._training is None else self._training.waited_s

    @property
    def _shares(self) -> Shares:
        return Shares(self.samples, self.batch_size, self.shard)

    @property
    def _reader(self) -> StreamReader:
        return StreamReader(self.source, self._shares, self.shuffle, self.seed)

    def __len__(self) -> int:
        """Batches in an epoch of training."""
        return self._shares.batches

    def __iter__(self) -> Iterator[Batch]:
        """Each sample once, over all processes, as it is: to look at and to evaluate. Unreadable pictures are left out."""
        return self._adapt(self._each("skip" if self.on_error == "replace" else "raise"))

    def complete(self) -> Iterator[Batch]:
        """As iterating, for who needs an answer to each sample: an unreadable picture is a DataError."""
        return self._adapt(self._each("raise"))

    def positions(self, batch: int) -> tuple[int, int]:
        """The positions in the epoch that this process's part of a training batch has: the first, and the one behind the last."""
        return self._shares.positions(batch)

    def rows(self, epoch: int, batch: int) -> list[int]:
        """Which samples this process's part of a training batch holds, as they are counted through the shards as listed."""
        return self._reader.numbers(epoch, batch)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch of training from the `start`-th on; nothing before it is decoded."""
        if self.batch_size < self.shard[1]:
            raise DataError(
                f"batch_size is {self.batch_size}, and {self.shard[1]} processes train together.",
                "It counts the samples of all, and each needs one or more.",
                f"Pass a batch_size of {self.shard[1]} or more, or start fewer processes.",
            )
        stop = Stop()
        unreadable: Unreadable = "replace" if self.on_error == "replace" else "raise"
        placed = deque[tuple[int, list[int]]]()  # the samples of batches that `adapt` may have taken ahead

        def batches() -> Iterator[Batch]:
            for decoded in self._read(self._reader.epoch(epoch, start, stop), stop, unreadable, training=True):
                placed.append((decoded.first, decoded.numbers))
                yield self._batch(decoded, self._rows(decoded, unreadable))

        for batch in self._adapt(batches()):
            first, numbers = placed.popleft()
            if self.augment is not None:
                positions = first + torch.arange(len(numbers))
                samples = torch.tensor(numbers)  # by the place: a replacement is augmented in its stead
                uniforms = draw(self.augment, positions, seed=self.seed, epoch=epoch, samples=samples)
                inputs, targets = augmented(self.augment, batch.inputs, batch.targets, uniforms)
                batch = Batch(inputs, targets, batch.weights)
            yield batch

    def fingerprint(self) -> dict[str, Any]:
        """What tells these samples and their order from others: a run goes on in the middle of a pass through the buffer."""
        order = f"buffer of {self.shuffle}, seed {self.seed}"
        return {"samples": self.samples, "content of shards": self.source.digest, "order": order}

    def close(self) -> None:
        """Ends the workers, and all reading that is in progress; the next epoch starts others."""
        for reading in self._readings:
            reading.close()
        self._readings = []
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    @property
    def _share(self) -> int:
        """Samples in this process's part of a batch, at most."""
        return -(-self.batch_size // self.shard[1])

    def _each(self, unreadable: Unreadable) -> Iterator[Batch]:
        first, last = part_of(self.samples, self.shard)
        if first == last:
            return
        stop, seen = Stop(), 0
        for decoded in self._read(self._reader.listed(self._share, stop), stop, unreadable):
            rows = self._rows(decoded, unreadable)
            seen += len(rows)
            if rows:
                yield self._batch(decoded, rows)
        if not seen:
            raise all_unreadable(f"{last - first:,} pictures", self._faults)

    def _read(
        self, parts: Generator[Part, None, None], stop: Stop, unreadable: Unreadable, *, training: bool = False
    ) -> Iterator[Decoded]:
        crew, self._crew = self._crew, None
        crew = crew or StreamCrew(self.preprocess, self._share, workers=self.workers)
        reading = Reading(crew, parts, stop)
        self._readings.append(reading)
        if training:
            self._training = reading
        decoding = reading.run()
        try:
            yield from decoding
        finally:
            decoding.close()
            reading.close()
            self._readings = [each for each in self._readings if each is not reading]
            if reading.whole and self._crew is None:
                self._crew = crew  # its workers wait for the next epoch
            else:
                crew.close()
            self._tell(unreadable)

    def _rows(self, decoded: Decoded, unreadable: Unreadable) -> list[int]:
        """The rows of what was decoded that make the batch: those that could be, and others for those that could not."""
        rows, problems = range(len(decoded.numbers)), decoded.problems
        if not problems:
            return list(rows)
        if unreadable == "raise":
            raise DataError(*problems[min(problems)])
        faults = {decoded.numbers[row]: came for row, (came, _, _) in problems.items()}
        self._faults.update(faults)
        good = [row for row in rows if row not in problems]
        if unreadable == "skip":
            return good
        if not good:
            raise all_unreadable(f"{len(rows):,} pictures of a batch", faults)
        stands_in = {row: good[random.key(_REPLACED, decoded.numbers[row]) % len(good)] for row in problems}
        return [stands_in.get(row, row) for row in rows]

    def _batch(self, decoded: Decoded, rows: list[int]) -> Batch:
        chosen = decoded.pictures[torch.tensor(rows)]  # copied, with the channels last
        labels = [self._label(decoded.labels[row], decoded.names[row]) for row in rows]
        if len({label.dim() for label in labels}) > 1:
            raise DataError(
                f"Of the samples from {decoded.names[0]} on, some have one class, and some several.",
                "KEY.cls everywhere, or KEY.json, was expected.",
                "Write the shards again.",
            )
        return Batch(chosen.permute(0, 3, 1, 2), torch.stack(labels))

    def _label(self, label: Label, name: str) -> Tensor:
        several = label if isinstance(label, tuple) else (label,)
        if max(several, default=-1) >= len(self.classes):
            raise DataError(
                f"{name} is of class {max(several)}.",
                f"There are {len(self.classes)} classes, counted from 0.",
                "Write the shards again, or name every class: classes=[...].",
            )
        if not isinstance(label, tuple):
            return torch.tensor(label)
        made = torch.zeros(len(self.classes), dtype=torch.int64)
        made[list(label)] = 1
        return made

    def _tell(self, unreadable: Unreadable) -> None:
        new = dict(list(self._faults.items())[self._told :])
        self._told = len(self._faults)
        if not new or unreadable == "raise":
            return
        done = "others of their batches stand in for them" if unreadable == "replace" else "they are left out"
        warn(
            f"{len(new):,}{' more' * (len(new) < self._told)} of {self.samples:,} pictures cannot be read; {done}:\n"
            f"{named(new)}\nRepair these files, and write their shards again."
        )


def stream(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    preprocess: Preprocess,
    *,
    classes: Sequence[str] | None = None,
    batch_size: int = 32,
    shuffle: int = 0,
    seed: int = 0,
    workers: int | Literal["auto"] = "auto",
    augment: Augment | None = None,
    shard: tuple[int, int] = (0, 1),
    on_error: Literal["replace", "raise"] = "replace",
) -> StreamBatches:
    """Batches of shards, read front to back: of a folder, on a disk or at a web address, or of a list of tars (see StreamBatches).

    A folder is one part, `.../train`, with the index that `lamina data shard` writes. Shards of other programs (KEY.jpg with KEY.cls or
    KEY.json) are looked through once, to count their samples; `classes` names what their labels count, else classes.txt does.
    A name may stand for many: "https://host/train-{000..146}.tar".

    `shuffle` is how many samples are mixed: 10_000, say; their files lie in memory. `workers` as for WorkerBatches.
    Raises DataError for shards of other tasks than classification, and DownloadError where a server gives none.
    """
    if isinstance(shuffle, bool) and shuffle:
        raise DataError(
            "shuffle is True.", "A stream is mixed in a buffer, whose size was expected.", "Pass shuffle=10_000, say."
        )
    return StreamBatches(
        stream_source.found(source, classes),
        preprocess,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        workers=workers,
        augment=augment,
        shard=shard,
        on_error=on_error,
    )


def _check(source: Source, *, batch_size: int, shuffle: int, on_error: str) -> None:
    if batch_size < 1:
        raise DataError(f"batch_size is {batch_size}.", "A batch holds at least one sample.", "Pass 1 or more.")
    if shuffle < 0:
        raise DataError(f"shuffle is {shuffle}.", "A number of samples was expected.", "Pass 10_000, say.")
    if on_error not in ("replace", "raise"):
        raise DataError(
            f"on_error is {on_error!r}.", "It is 'replace' or 'raise'.", "Pass 'raise' to stop at the first."
        )
    if not source.samples:
        raise DataError("The shards hold no sample.", "At least one was expected.", "Check the folder.")
