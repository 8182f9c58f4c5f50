"""From checked arrays, or an iterable of batches, to what the loop is fed with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import DataError, LaminaError
from lamina.data.loader import ArrayBatches, Augment
from lamina.models.arrays import Arrays, to_tensor
from lamina.structures.batch import Batch, Tensors
from lamina.training.step import SupervisedStep


def is_batches(value: Any) -> bool:
    """Whether it is already cut into batches: a DataLoader, or any iterable that is neither array nor data set."""
    if isinstance(value, torch.utils.data.DataLoader | ArrayBatches):
        return True
    arrays = isinstance(value, Tensor | np.ndarray | list | tuple | str | Mapping | torch.utils.data.Dataset)
    return (
        not arrays and hasattr(value, "__iter__") and not hasattr(value, "images") and not hasattr(value, "__array__")
    )


def array_batches(
    data: Arrays,
    step: SupervisedStep,
    *,
    weights: Tensor | None,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    augment: Augment | None = None,
) -> ArrayBatches:
    """Batches of arrays, the targets prepared for their losses; everything is moved to the device once, not a batch at a time."""
    device = step.runtime.device
    pairs = zip(step.targets, data.targets, strict=True)
    goals = tuple(target.loss.prepare(goal, target.output_shape).to(device) for target, goal in pairs)
    return ArrayBatches(
        one(tuple(value.to(device) for value in data.inputs)),
        one(goals),
        weights=None if weights is None else weights.to(device),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        augment=augment,
    )


class ForeignBatches:
    """An iterable of (inputs, targets) or (inputs, targets, weights), such as a DataLoader, as batches for a step."""

    def __init__(self, batches: Iterable[Any], step: SupervisedStep) -> None:
        self._batches, self._step = batches, step

    def __iter__(self) -> Iterator[Batch]:
        for item in self._batches:
            if isinstance(item, Batch):
                yield item
                continue
            if not isinstance(item, tuple | list) or len(item) not in (2, 3):
                raise DataError(
                    f"A batch came as {type(item).__name__}.",
                    "(inputs, targets) or (inputs, targets, weights) was expected.",
                    "Let the iterable yield such pairs.",
                )
            goals = item[1] if isinstance(item[1], tuple | list) else (item[1],)
            targets = tuple(
                target.loss.prepare(to_tensor(goal, "y", check=False), target.output_shape)
                for target, goal in zip(self._step.targets, goals, strict=True)
            )
            inputs: Tensors = (
                tuple(to_tensor(value, "x", check=False) for value in item[0])
                if isinstance(item[0], tuple | list)
                else to_tensor(item[0], "x", check=False)
            )
            yield Batch(inputs, one(targets), None if len(item) == 2 else to_tensor(item[2], "weights", check=False))


class SizedForeignBatches(ForeignBatches):
    """The same with a known number of batches, over which a schedule can be laid."""

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]


def foreign(batches: Iterable[Any], step: SupervisedStep) -> Any:
    """Batches for a step from any iterable; ArrayBatches as they are."""
    if isinstance(batches, ArrayBatches):
        return batches
    return SizedForeignBatches(batches, step) if hasattr(batches, "__len__") else ForeignBatches(batches, step)


def one(values: tuple[Tensor, ...]) -> Any:
    """The only one of several tensors, or all of them."""
    return values[0] if len(values) == 1 else values


def split_last(data: Arrays, fraction: float) -> tuple[Arrays, Arrays]:
    """The samples without that fraction at their end, and those; as Keras's validation_split has it."""
    held = int(data.samples * fraction)
    if not 0 < held < data.samples:
        raise LaminaError(
            f"validation_split={fraction} of {data.samples} samples leaves {data.samples - held} to train and {held} to validate.",
            "Both need at least one.",
            "Pass a fraction between 0 and 1, such as 0.1.",
        )
    return data.slice(0, data.samples - held), data.slice(data.samples - held, data.samples)


def count_steps(batches: Any) -> int:
    """How many batches an epoch has; warns where that cannot be known."""
    if hasattr(batches, "__len__"):
        return len(batches)
    warnings.warn(
        "The batches have no length, so a schedule of the learning rate cannot know where training ends. "
        "It would stay at its start. Give the iterable a __len__.",
        UserWarning,
        stacklevel=4,
    )
    return 1 << 30
