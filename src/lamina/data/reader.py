"""What a worker does: reads samples into their places, each with the random draws of its position."""

from __future__ import annotations

import contextlib
import random as python_random
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError, LaminaError
from lamina.data.dataset import FolderDataset
from lamina.data.pool import Failure

Pixels = npt.NDArray[np.uint8]
OnError = Literal["replace", "skip", "raise"]
Task = tuple[
    int, int, int, int, list[tuple[int, int, int]]
]  # ticket, epoch, slot, the epoch's key, (row, position, index) ...
_REPLACEMENTS = 20  # draws for an unreadable picture, after which the data is at fault
_REPLACED = 0x5EED


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

    def __init__(self, dataset: Any, slots: Tensor, live: Tensor, on_error: OnError) -> None:
        self.dataset, self.slots, self.live, self.on_error = dataset, slots, live, on_error
        self._folder = isinstance(dataset, FolderDataset) and dataset.preprocess is not None

    def __call__(self, task: Task) -> Answer:
        ticket, epoch, slot, epoch_key, share = task
        answer = Answer(ticket, [], [], [], {}, [])
        places, live = self.slots[slot].numpy(), self.live.numpy()  # torch takes microseconds to look at one number
        for row, position, index in share:
            if live[0] != epoch:
                break
            try:
                used, target = self._fill(places[row], (epoch_key, position), index, answer.faults)
            except Exception as error:
                error.add_note(f"It is sample {index} of the data set.")
                answer.errors.append((row, Failure(error)))
                break
            if used is not None:
                answer.rows.append(row)
                answer.used.append(used)
                answer.targets.append(target)
        return answer

    def _fill(self, place: Pixels, keys: tuple[int, int], index: int, faults: dict[int, str]) -> tuple[int | None, Any]:
        for attempt in range(1, _REPLACEMENTS + 1):
            try:
                return index, self._sample(place, keys, index)
            except DataError as error:
                if self.on_error == "raise":
                    raise
                faults[index] = error.came
                if self.on_error == "skip":
                    return None, None
            index = random.key(*keys, _REPLACED, attempt) % len(self.dataset)
        raise DataError(
            f"{_REPLACEMENTS} pictures drawn one after the other cannot be read, the last because: {faults[max(faults)]}",
            "Most pictures of a data set can be read.",
            "Check that the files were copied or downloaded completely.",
        )

    def _sample(self, place: Pixels, keys: tuple[int, int], index: int) -> Any:
        if self._folder:  # which draws nothing
            place[...] = self.dataset.picture(index).numpy()
            return int(self.dataset.labels[index])
        key = random.key(*keys)
        random.reseed(key)
        python_random.seed(key)
        np.random.seed(key & 0xFFFFFFFF)
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


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Samples are read in this process; its own generators go on as if that had been done elsewhere."""
    torchs, pythons, numpys = random.state(), python_random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.restore(torchs)
        python_random.setstate(pythons)
        np.random.set_state(numpys)
