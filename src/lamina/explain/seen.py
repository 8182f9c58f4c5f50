"""The pictures of a data set as a model sees them, a batch at a time, and at most so many, evenly over the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lamina.core.errors import DataError, LaminaError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.dataset import FolderDataset
from lamina.data.preprocess import Preprocess
from lamina.explain.lens import Lens
from lamina.models import pictures

_BATCH = 32
NO_LABEL = "no label"  # the class of a picture that has none of several


@dataclass(frozen=True, eq=False)
class Seen:
    """Pictures (uint8 N C H W) as the network takes them, with their place in the data, labels and files where these are known."""

    images: Tensor
    places: Int64[np.ndarray, " N"]
    labels: Int64[np.ndarray, " N"] | None
    classes: tuple[str, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def batches(self) -> Iterator[tuple[int, Tensor]]:
        """The first place and the pictures of each batch."""
        for start in range(0, len(self.images), _BATCH):
            yield start, self.images[start : start + _BATCH]


def seen(model: Any, lens: Lens, data: Any, *, limit: int) -> Seen:
    """At most `limit` of the pictures of whatever the model's `predict` takes, evenly over the data, for these lie class by class."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise LaminaError(f"limit is {limit!r}.", "A number of pictures was expected.", "Pass 1000.")
    if lens.preprocess is None:
        return _bare(data, limit)
    part = _opened(model, data)
    if hasattr(part, "subset"):
        rows = _evenly(len(part), limit)
        if isinstance(part, AnnotatedDataset | AnnotatedArrays):
            return _annotated(part, lens.preprocess, rows)
        chosen = part.subset(torch.from_numpy(rows)) if len(rows) < len(part) else part
        if isinstance(chosen, FolderDataset):
            some, readable = chosen.loaded(lens.preprocess)
            rows = rows[readable.numpy()]
        else:
            some = pictures.in_memory(chosen, lens.preprocess)
        labels = (
            np.asarray(some.labels) if np.ndim(some.labels) in (1, 2) and len(some.labels) == len(some.images) else None
        )
        classes = tuple(map(str, getattr(some, "classes", ())))
        if labels is not None and labels.ndim == 2:
            labels, classes = (first_of(labels), (*classes, NO_LABEL)) if classes else (None, classes)
        told = tuple(map(str, getattr(some, "sources", ()) or ()))
        return Seen(some.images, rows, labels, classes, told)
    sampled = None
    if isinstance(part, list | tuple | np.ndarray | torch.Tensor) and not pictures.is_single(
        part, lens.preprocess.channels
    ):
        sampled = rows = _evenly(len(part), limit)
        part = [part[row] for row in rows.tolist()] if isinstance(part, list | tuple) else part[rows]
    images, sources = pictures.read(part, lens.preprocess)
    if not len(images):
        raise DataError("No picture came.", "At least one was expected.", "Check the path.")
    told = tuple(str(source) if pictures.is_location(source) else "" for source in sources)
    return Seen(images[:limit], np.arange(len(images))[:limit] if sampled is None else sampled, None, (), told[:limit])


def _annotated(data: AnnotatedDataset | AnnotatedArrays, preprocess: Preprocess, rows: Int64[np.ndarray, " N"]) -> Seen:
    """Pictures with annotations, which are no one class; those that cannot be read are left out."""
    images, readable = list[Tensor](), list[int]()
    for row in rows.tolist():
        with contextlib.suppress(DataError):
            images.append(preprocess.host(data.picture(row)))
            readable.append(row)
    if not images:
        raise DataError(
            "No picture can be read.", "At least one was expected.", "See what is wrong: lamina check DATA."
        )
    names = getattr(data, "paths", None)
    sources = () if names is None else tuple(str(names.name(row)) for row in readable)
    return Seen(torch.stack(images), np.array(readable), None, (), sources)


def first_of(labels: Int64[np.ndarray, "N K"]) -> Int64[np.ndarray, " N"]:
    """The first of several labels of each picture, K (which is NO_LABEL) for one that has none."""
    return np.asarray(np.where(labels.any(1), labels.argmax(1), labels.shape[1]))


def _opened(model: Any, data: Any) -> Any:
    """Of a path, or the name of a data set, what it holds, as the model would measure itself on it."""
    if not hasattr(model, "measured") or pictures.is_arrays(data) or isinstance(data, tuple):
        return data
    try:
        return model.measured(data)[1]
    except LaminaError:
        loose = pictures.is_location(data) and Path(data).is_dir()  # pictures in no folders of classes
        listed = pictures.files(data) if loose else None
        if listed is None:
            raise
        return listed


def _bare(data: Any, limit: int) -> Seen:
    if not isinstance(data, np.ndarray | torch.Tensor) or data.ndim != 4:
        raise DataError(
            f"A {type(data).__name__} came as data.",
            "This model does not prepare pictures: it takes an array of them (N C H W), as its network does.",
            "Prepare them yourself, or use a Classifier.",
        )
    rows = _evenly(len(data), limit)
    return Seen(torch.as_tensor(data)[rows], rows, None, (), ())


def _evenly(count: int, limit: int) -> Int64[np.ndarray, " N"]:
    if count == 0:
        raise DataError("The data set is empty.", "At least one picture is needed.", "Check the path and the split.")
    return np.arange(count) if count <= limit else np.arange(limit) * count // limit


def drawable(image: Tensor) -> Tensor:
    """The picture as uint8 (C H W): floats by their least and largest."""
    if image.dtype == torch.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return ((image.float() - low) / max(high - low, 1e-12) * 255).round().to(torch.uint8)


def file_name(sources: Sequence[str], index: int) -> str:
    """The last part of a picture's path, or nothing."""
    return sources[index].replace("\\", "/").rpartition("/")[2] if index < len(sources) else ""
