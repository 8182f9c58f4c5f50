"""From checked arrays, or an iterable of batches, to what the loop is fed with."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import DataError, LaminaError, listed
from lamina.core.warnings import warn
from lamina.data.augment import Augment, composed, mixes
from lamina.data.balance import Quota
from lamina.data.loader import ArrayBatches
from lamina.data.streaming import StreamBatches
from lamina.data.workers import WorkerBatches
from lamina.losses import Loss
from lamina.losses.loss import class_axis
from lamina.models.arrays import Arrays, to_tensor
from lamina.models.cutting import made_by
from lamina.models.graph import Graph
from lamina.models.streams import Streamed, adapted, worker_batches
from lamina.structures.batch import Batch, Tensors
from lamina.training.callback import Callback
from lamina.training.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from lamina.training.runtime import Runtime
from lamina.training.step import SupervisedStep

_AT_ONCE = (
    32 * 3 * 224 * 224
)  # numbers in a batch that a processor answers fastest: MobileNet v2 at 256 x 224 px took 3.3 times as long


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
    sample_by: Tensor | Quota | None = None,
) -> ArrayBatches | WorkerBatches:
    """Batches of arrays, the targets prepared for their losses; everything is moved to the device once, not a batch at a time."""
    if isinstance(data, Streamed):
        chosen = counted(augment, step, data.targets, weights)
        return worker_batches(
            data,
            step,
            weights=weights,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            augment=chosen,
            sample_by=sample_by,
        )
    tensors = [*data.inputs, *data.targets]
    device = step.runtime.device if step.runtime.fits(tensors) else tensors[0].device
    pairs = zip(step.targets, data.targets, strict=True)
    goals = tuple(target.loss.prepare(goal, target.output_shape).to(device) for target, goal in pairs)
    return ArrayBatches(
        one(tuple(value.to(device) for value in data.inputs)),
        one(goals),
        weights=None if weights is None else weights.to(device),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        augment=counted(augment, step, goals, weights),
        sample_by=sample_by,
        shard=step.runtime.world.shard,
    )


def counted(augment: Augment | None, step: SupervisedStep, goals: Sequence[Tensor], weights: Tensor | None) -> Any:
    """The augmentation as one that knows the number of classes. Raises where it mixes samples and their loss cannot follow."""
    chosen = composed(augment)
    if not mixes(chosen):
        return chosen
    loss = step.targets[0].loss
    if weights is not None:
        raise LaminaError(
            "fit was given weights of samples or classes, and an augmentation that mixes samples.",
            "A mixed sample has no weight of its own.",
            'Leave the weights out, or Mixup and CutMix; balance="sample", "under" or "over" draws rare classes more often.',
        )
    if len(goals) > 1 or goals[0].dim() > 2 or not (goals[0].is_floating_point() or loss.takes_shares):
        raise LaminaError(
            f"An augmentation mixes samples, and the loss is {loss!r}, with {len(goals)} target of shape {tuple(goals[0].shape)}.",
            "Mixing needs one target, and a loss of the share of each class in place of labels.",
            'Use loss="sparse_categorical_crossentropy" (without ignore_class), "categorical_crossentropy" with one-hot '
            "targets, or leave Mixup and CutMix out.",
        )
    shape = step.targets[0].output_shape
    return composed(chosen, None if shape is None else shape[-1])


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
            targets = []
            for target, goal in zip(self._step.targets, goals, strict=True):
                values = to_tensor(goal, "y")
                if target.output_shape is not None and values.device.type == "cpu":  # elsewhere looking would wait
                    target.loss.check((len(values), *target.output_shape[1:]), values)
                targets.append(target.loss.prepare(values, target.output_shape))
            inputs: Tensors = (
                tuple(to_tensor(value, "x") for value in item[0])
                if isinstance(item[0], tuple | list)
                else to_tensor(item[0], "x")
            )
            yield Batch(inputs, one(tuple(targets)), None if len(item) == 2 else to_tensor(item[2], "weights"))


class SizedForeignBatches(ForeignBatches):
    """The same with a known number of batches, over which a schedule can be laid."""

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]


def foreign(batches: Iterable[Any], step: SupervisedStep) -> Any:
    """Batches for a step from any iterable; those that know epochs as they are, or this process's part of them."""
    if isinstance(batches, WorkerBatches | StreamBatches):
        return adapted(batches, step)
    if isinstance(batches, ArrayBatches) and batches.shard == (0, 1):
        part = copy.copy(batches)
        part.shard = step.runtime.world.shard
        return part
    if isinstance(batches, ArrayBatches) or hasattr(batches, "epoch"):
        return batches
    return SizedForeignBatches(batches, step) if hasattr(batches, "__len__") else ForeignBatches(batches, step)


def complete(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches to answer, each with all of its samples: an unreadable picture is an error."""
    return batches.complete() if isinstance(batches, WorkerBatches | StreamBatches) else iter(batches)


def release(*fed: Any) -> None:
    """Ends the workers of batches that were made for a `fit` or an evaluation; those of the user's own are others."""
    for batches in fed:
        inner = getattr(batches, "batches", batches)  # behind a resizing
        if isinstance(inner, WorkerBatches | StreamBatches):
            inner.close()


def peek(batches: Any) -> tuple[Any, Any]:
    """(x, y) of the first batch, and the batches with it still in front."""
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise DataError("The data gave no batch.", "At least one was expected.", "Check the length of the data set.")
    again = itertools.chain([first], iterator) if iterator is batches else batches
    if isinstance(first, Batch):
        return (first.inputs, first.targets), again
    if not isinstance(first, tuple | list) or len(first) not in (2, 3):
        return (inputs_of(first), None), again
    return (first[0], first[1]), again


def inputs_of(item: Any) -> Any:
    """The inputs of a batch that may hold targets too."""
    if isinstance(item, Batch):
        return item.inputs
    return item[0] if isinstance(item, tuple | list) and len(item) in (1, 2, 3) else item


def refuse_with_batches(given: Mapping[str, Any], validation_split: float | None = None) -> None:
    """Raises where `fit` was given batches that are cut already, and an argument that acts on arrays."""
    names = [name for name, value in given.items() if value is not None] + ["validation_split"] * bool(validation_split)
    if names:
        raise LaminaError(
            f"fit was given batches and {names[0]}.",
            "It acts on arrays and data sets, before they are cut into batches.",
            "Pass arrays or a data set, or let the iterable yield (x, y, weights), augmented and split as you want them.",
        )


def checked_callbacks(callbacks: Any, epochs: Any) -> list[Callback]:
    """The callbacks as a list. Raises for what is none, a class for instance, and for epochs that cannot be counted."""
    if not isinstance(epochs, int) or epochs < 0:
        raise LaminaError(
            f"epochs is {epochs!r}.", "A whole number was expected, 0 or more.", "Pass for example epochs=5."
        )
    listed = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
    for callback in listed:
        if not isinstance(callback, Callback):
            kind = f"the class {callback.__name__}" if isinstance(callback, type) else f"a {type(callback).__name__}"
            raise LaminaError(
                f"callbacks holds {kind}.",
                "Objects of lamina.callbacks or of your own subclass of training.Callback were expected.",
                f"Pass {callback.__name__}(...)."
                if isinstance(callback, type)
                else "Derive it from training.Callback.",
            )
    return listed


def checked_size(batch_size: int) -> int:
    """The batch size. Raises DataError where it is none."""
    if batch_size < 1:
        raise DataError(f"batch_size is {batch_size}.", "A batch holds at least one sample.", "Pass 1 or more.")
    return batch_size


def answered_at_once(batch_size: int, inputs: Sequence[Tensor], runtime: Runtime) -> int:
    """How many samples to answer at once, which changes no answer: on processors fewer of large ones, whose maps leave the caches."""
    if runtime.device.type != "cpu":
        return checked_size(batch_size)
    each = sum(math.prod(value.shape[1:]) for value in inputs)
    return min(checked_size(batch_size), max(_AT_ONCE // max(each, 1), 1))


def check_monitors(callbacks: Sequence[Callback], step: SupervisedStep, *, validated: bool) -> None:
    """Raises before the first step where a callback monitors a figure that will never be logged."""
    parts = [f"{target.name}_loss" for target in step.targets] if len(step.targets) > 1 else []
    logged = ["loss", *parts, *step.metrics]
    logged += [f"val_{name}" for name in logged] if validated else []
    for callback in callbacks:
        unused = isinstance(callback, ModelCheckpoint) and not callback.save_best_only
        if not isinstance(callback, EarlyStopping | ReduceLROnPlateau | ModelCheckpoint) or unused:
            continue
        if callback.monitor not in logged:
            unvalidated = callback.monitor.startswith("val_") and not validated
            raise LaminaError(
                f"{type(callback).__name__} monitors {callback.monitor!r}, which is not logged.",
                f"Logged: {', '.join(logged)}.",
                "Give fit validation_data or validation_split, or monitor one of these."
                if unvalidated
                else "Monitor one of these.",
            )


def refuse_augmenting_channels_last(augment: Any, graph: Graph | None) -> None:
    """Raises where an augmentation, which acts on B C H W, would shift or turn the wrong axes."""
    if augment is not None and graph is not None and graph.inputs[0].data_format == "channels_last":
        raise LaminaError(
            "augment came with a network whose images are channels-last.",
            "Augmentations act on images of shape (C, H, W).",
            'Describe the input as (C, H, W), without data_format="channels_last".',
        )


def are_probabilities(loss: Loss, outputs: Tensor) -> bool:
    """Whether a network that seems to end in logits was seen to answer with what the loss's activation gives.

    Probabilities of classes are known by their sum, those of yes or no by what the outputs were computed by, if that is known.
    """
    values = outputs.detach().float()
    if loss.logits_only or loss.activation is None or not bool(((values >= 0) & (values <= 1 + 1e-4)).all()):
        return False
    if loss.activation == "sigmoid":
        return made_by(outputs) == {"sigmoid"}
    axis = class_axis(outputs.dim())
    if outputs.dim() not in (2, 3, 4) or outputs.shape[axis] < 2:
        return False
    return bool(torch.allclose(values.sum(dim=axis), torch.ones((), device=values.device), atol=1e-4))


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
    train, last = data.slice(0, data.samples - held), data.slice(data.samples - held, data.samples)
    _warn_of_lacking_classes(train, last, fraction)
    return train, last


def _warn_of_lacking_classes(train: Arrays, held: Arrays, fraction: float) -> None:
    """Warns where samples are sorted by class, so that the last of them are of a few classes alone."""
    for goals, last in zip(train.targets, held.targets, strict=True):
        if goals.is_floating_point() or goals.numel() != train.samples:
            continue
        trained, there = ({*np.unique(labels.cpu().numpy()).tolist()} for labels in (goals, last))
        lacking = sorted(trained - there)
        # A few samples cannot hold every class; numbers that hardly repeat are no classes.
        if not lacking or held.samples < 2 * len(trained) or 2 * len(trained) > train.samples:
            continue
        warn(
            f"validation_split={fraction} holds out the last {held.samples:,} samples, and none of them is of class {listed(lacking)}: "
            "the samples seem to be sorted by class. Validation says nothing of these. "
            "Shuffle x and y together first, or pass validation_data."
        )


def count_steps(batches: Any) -> int:
    """How many batches an epoch has; warns where that cannot be known."""
    if hasattr(batches, "__len__"):
        return len(batches)
    warn(
        "The batches have no length, so a schedule of the learning rate cannot know where training ends. "
        "It would stay at its start. Give the iterable a __len__.",
    )
    return 1 << 30
