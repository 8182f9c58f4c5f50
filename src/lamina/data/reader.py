"""What a worker does: reads samples into their places, each with the random draws of its position."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError, LaminaError
from lamina.data.dataset import FolderDataset
from lamina.data.faults import candidates, too_many
from lamina.data.pool import Failure

Pixels = npt.NDArray[np.uint8]
Unreadable = Literal["replace", "skip", "raise"]


class Task(NamedTuple):
    """A worker's share of a batch: every `Reader.workers`-th place of a slot, from `row` on, before `stop`.

    Small, whatever the batch: which samples they are stands in shared memory beside the places.
    """

    ticket: int
    epoch: int
    slot: int
    epoch_key: int
    position: int  # in the epoch, of row 0
    row: int
    stop: int
    unreadable: Unreadable


class Answer(NamedTuple):
    """A worker's share of a batch."""

    ticket: int
    rows: list[int]
    used: list[int]
    targets: list[Any]
    faults: dict[int, str]
    errors: list[tuple[int, Failure]]


class Reader:
    """Fills the places in shared memory that a task names. Holds the data set and that memory, and nothing else."""

    def __init__(self, dataset: Any, slots: Tensor, numbers: Tensor, live: Tensor, workers: int) -> None:
        self.dataset, self.workers = dataset, workers
        self.slots, self.numbers, self.live = slots, numbers, live
        self._folder = reads_files(dataset) and dataset.preprocess is not None

    def __call__(self, task: Task) -> Answer:
        answer = Answer(task.ticket, [], [], [], {}, [])
        places, live = (
            self.slots[task.slot].numpy(),
            self.live.numpy(),
        )  # torch takes microseconds to look at one number
        rows = range(task.row, task.stop, self.workers)
        for row, index in zip(rows, self.numbers[task.slot, rows.start : rows.stop : rows.step].tolist(), strict=True):
            if live[0] != task.epoch:
                break
            key = random.key(task.epoch_key, task.position + row)
            try:
                used, target = self._fill(places[row], key, index, task.unreadable, answer.faults)
            except Exception as error:
                error.add_note(f"It is sample {index} of the data set.")
                answer.errors.append((row, Failure(error)))
                break
            if used is not None:
                answer.rows.append(row)
                answer.used.append(used)
                answer.targets.append(target)
        return answer

    def _fill(
        self, place: Pixels, key: int, index: int, unreadable: Unreadable, faults: dict[int, str]
    ) -> tuple[int | None, Any]:
        for candidate in candidates(index, len(self.dataset)):
            try:
                return candidate, self._sample(place, key, candidate)
            except DataError as error:
                if unreadable == "raise":
                    raise
                faults[candidate] = error.came
                if unreadable == "skip":
                    return None, None
        raise too_many(index)

    def _sample(self, place: Pixels, key: int, index: int) -> Any:
        if self._folder:  # which draws nothing
            place[...] = self.dataset.picture(index).numpy()
            return int(self.dataset.labels[index])
        random.reseed_host(key)
        picture, target = self.dataset[index]
        pixels = torch.as_tensor(picture).permute(1, 2, 0)
        if pixels.dtype != torch.uint8 or pixels.shape != place.shape:
            raise LaminaError(
                f"Sample {index} is a picture of shape {tuple(picture.shape)} and type {pixels.dtype}.",
                f"uint8 of shape {(place.shape[2], *place.shape[:2])}, as the first one has it, was expected.",
                "Give all pictures one size: dataset.prepared(Preprocess(size=(224, 224))).",
            )
        place[...] = pixels.numpy()
        return target.numpy() if isinstance(target, Tensor) else target


def reads_files(dataset: Any) -> bool:
    """Whether a sample is what the file holds, and nothing that a subclass makes of it."""
    return isinstance(dataset, FolderDataset) and type(dataset).__getitem__ is FolderDataset.__getitem__


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Samples are read in this process; its own generators go on as if that had been done elsewhere."""
    drawn = torch.get_rng_state()
    with random.keeping_others():
        try:
            yield
        finally:
            torch.set_rng_state(drawn)
