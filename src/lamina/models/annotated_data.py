"""What people call annotated data (a path, a name, data sets, pictures with their annotations), made into data sets and batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina import data as datasets
from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.annotated import AnnotatedDataset
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.dataset import FolderDataset
from lamina.data.faults import first_sample
from lamina.data.looking import refuse_misspelt
from lamina.data.preprocess import Preprocess
from lamina.data.splits import Splits
from lamina.data.video import is_video
from lamina.models import pictures, videos
from lamina.models.arrays import Arrays

HELD_OUT = 0.1  # of the training pictures, where neither the data nor the caller brings validation
SEED = 0  # of the hash by which they are chosen
_SIGNED = 500  # pictures by which a data set is known again
_CHUNK = 64  # pictures that are decoded before they are answered
_THREADS = 4
_LOOKED_AT = 50  # pictures, for their sizes

Annotated = AnnotatedDataset | AnnotatedArrays


class Described(Arrays):
    """Stands for annotated pictures that are read while they are used: `inputs` and `targets` hold one of them.

    `dataset` is data.prepared.Prepared.
    """

    dataset: Any

    @classmethod
    def of(cls, dataset: Any, odds: Tensor | None = None) -> Described:
        """The data set. Raises DataError where none of its first samples can be read."""
        picture, target = first_sample(dataset)
        made = cls((picture[None],), (target[None],), None, odds)
        made.dataset = dataset
        return made

    @property
    def samples(self) -> int:
        """How many samples."""
        return len(self.dataset)

    @property
    def shows_several(self) -> bool:
        """Whether a sample may show several classes."""
        return True


class Shown(NamedTuple):
    """Some pictures as the network takes them, what names each (a path or a picture), and their own sizes (height, width)."""

    images: UInt8[Tensor, "B C H W"]
    sources: list[Any]
    sizes: list[tuple[int, int]]


def resolve(value: Any, task: str) -> Any:
    """Splits from a data set's name or a path, opened for the task; anything else as it is."""
    pictures.refuse_address(value)
    if not pictures.is_location(value):
        return value
    if isinstance(value, str) and value in datasets.names() and not Path(value).exists():
        return datasets.load(value, task=task)
    refuse_misspelt(value)
    opened = datasets.open(value)
    return opened if opened.task == task else _for_task(value, opened, task)


def _for_task(path: Any, opened: Any, task: str) -> Any:
    try:
        return datasets.open(path, task=task)
    except DataError:
        raise _other_task(opened.name or str(path), opened.task, task) from None


def _other_task(name: str, came: str, task: str) -> DataError:
    return DataError(
        f"{name} is a data set for {came}.",
        f"Pictures with annotations for {task} were expected.",
        "Open it with lamina.data.open(path, task=...) to see what it holds, or train another kind of model on it.",
    )


def checked_set(value: Any, task: str) -> Annotated:
    """The value, where it is a data set of annotated pictures for the task. Raises DataError for any other."""
    if isinstance(value, AnnotatedDataset | AnnotatedArrays):
        if value.task != task:
            raise _other_task(value.name, value.task, task)
        return value
    if isinstance(value, FolderDataset):
        raise _other_task(value.name, value.task, task)
    raise DataError(
        f"{'Pictures' if pictures.is_arrays(value) else f'A {type(value).__name__}'} came without annotations.",
        f"A path, a data set's name or a lamina data set for {task}, or pictures x with annotations y, was expected.",
        "Pass fit(x, y), y being one lamina.structures.Annotation for each picture.",
    )


def training_sets(x: Any, held: Any, task: str) -> tuple[Annotated, Annotated | None]:
    """(training, validation) from what `fit` was given; validation is None where neither the data nor the caller brings it."""
    validation = resolve(held, task)
    if isinstance(validation, Splits):
        validation = validation.validation or validation.test or validation.train
    x = resolve(x, task)
    if isinstance(x, Splits):
        if x.train is None:
            raise DataError(
                f"{x.name or 'The data'} has no training pictures.",
                "fit needs a training split.",
                "Name the split's folder train, or pass that part itself.",
            )
        x, validation = x.train, validation if validation is not None else x.validation
    return checked_set(x, task), None if validation is None else checked_set(validation, task)


def measured(value: Any, split: Mapping[str, Any], task: str) -> tuple[str, Annotated]:
    """The name and the pictures of the part to measure on: test, else validation, else what training held out, else train."""
    splits = resolve(value, task)
    if not isinstance(splits, Splits):
        return "data", checked_set(splits, task)
    for name in ("test", "validation"):
        if getattr(splits, name) is not None:
            return name, checked_set(getattr(splits, name), task)
    train = checked_set(splits.train, task)
    if "held_out" in split and split["of"] == len(train):
        return "validation", train.split(split["held_out"], seed=split["seed"])[1]
    if split.get("trained_on") == signature(train):
        warn(
            "The model was trained on these very pictures, and none of them were held out. "
            "Its figures on them flatter it. Measure it on others."
        )
    return "train", train


def signature(dataset: Annotated) -> str:
    """What tells one data set from another: a hash of its classes and of the names and sizes, or pixels, of some pictures."""
    hashed = hashlib.sha256(f"{len(dataset)} {dataset.classes}".encode())
    for index in np.linspace(0, len(dataset) - 1, min(len(dataset), _SIGNED)).round().astype(int).tolist():
        if isinstance(dataset, AnnotatedDataset):
            path = Path(dataset.paths.name(index))
            size = archive.time_and_size(path)[1] if archive.is_file(path) else 0
            hashed.update(os.fsencode(f"{path.parent.name}/{path.name} {size}"))
        else:
            hashed.update(dataset.content(index))
    return hashed.hexdigest()[:16]


def one_size(dataset: Annotated) -> tuple[int, int] | None:
    """The (height, width) of all pictures, as far as some of them tell; None where they differ."""
    sizes: set[tuple[int, int]] = set()
    for index in range(0, len(dataset), max(len(dataset) // _LOOKED_AT, 1)):
        try:
            picture = dataset.picture(index)
        except DataError:
            continue  # named when it is read
        sizes.add((picture.shape[1], picture.shape[2]))
        if len(sizes) > 1:
            return None
    return sizes.pop() if sizes else None


def shown(value: Any, preprocess: Preprocess, task: str, on_error: pictures.OnError = "raise") -> Iterator[Shown]:
    """The pictures of whatever `predict` was given, some at a time: a file, a folder, files, arrays, Pillow pictures, a data set, a video.

    Unreadable ones among several raise a DataError that names them, or are left out with a warning where on_error="skip".
    """
    pictures.check_on_error(on_error)
    if is_video(value):
        for frames in videos.together(videos.opened(value)):
            sized = [preprocess.host_sized(frame) for frame in frames]
            yield Shown(_together([image for image, _ in sized]), list(frames), [size for _, size in sized])
        return
    each = one_by_one(value, preprocess, task)
    faults: list[str] = []
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(each), _CHUNK):
            some = each[start : start + _CHUNK]
            each_of = map if all(map(preprocess.is_made, some)) else pool.map  # else threads cost more than they save
            read = list(each_of(lambda picture: _tried(preprocess, picture), some))
            wrong = [error for error in read if isinstance(error, DataError)]
            if wrong and len(each) == 1:
                raise wrong[0]
            faults += [error.came for error in wrong]
            if faults and on_error == "raise":
                continue  # the others are read for what is wrong with them
            good = [
                (found, source) for found, source in zip(read, some, strict=True) if not isinstance(found, DataError)
            ]
            if good:
                yield Shown(
                    _together([found[0] for found, _ in good]),
                    [source for _, source in good],
                    [found[1] for found, _ in good],
                )
    if faults and (on_error == "raise" or len(faults) == len(each)):
        raise pictures.unreadable(faults, len(each))
    if faults:
        pictures.tell_left_out(faults, len(each))


def _together(images: Sequence[Tensor]) -> UInt8[Tensor, "B C H W"]:
    """One batch, made by numpy: torch's threads would go on waiting for work for a while, beside those of the engine that answers."""
    return torch.from_numpy(np.stack([image.numpy() for image in images]))


def _tried(preprocess: Preprocess, picture: Any) -> tuple[Tensor, tuple[int, int]] | DataError:
    try:
        return preprocess.host_sized(picture)
    except DataError as error:
        return error


def one_by_one(value: Any, preprocess: Preprocess, task: str) -> Sequence[Any]:
    """Pictures, each as `Preprocess.host_sized` takes it."""
    pictures.refuse_address(value)
    if not pictures.is_location(value) and pictures.is_single(value, preprocess.channels):
        return [value]
    found = pictures.files(value)
    if found is not None:
        return found
    if isinstance(value, Splits):
        value = measured(value, {}, task)[1]
    if isinstance(value, AnnotatedDataset):
        return [value.paths.name(index) for index in range(len(value))]
    if isinstance(value, AnnotatedArrays):
        return [value.pictures[index] for index in range(len(value))]
    if pictures.are_pictures(value):
        return list(value)
    return list(pictures.as_images(value))
