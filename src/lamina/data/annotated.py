"""Data sets whose samples are pictures with annotations: boxes, masks, points, captions, other pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lamina.core.errors import DataError, unknown_name
from lamina.data import archive, folds
from lamina.data.columns import Column, Ragged
from lamina.data.cuttable import Cuttable
from lamina.data.cutting import positions
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.pictures import read
from lamina.data.preprocess import pixels
from lamina.structures.annotation import Annotation

TASKS = ("detection", "segmentation", "panoptic", "keypoints", "captioning", "translation", "verification")
Change = Callable[[UInt8[Tensor, "C H W"], Annotation], tuple[UInt8[Tensor, "C H W"], Annotation]]

_FIELDS = tuple(each.name for each in fields(Annotation) if each.name not in ("attributes", "extras"))


class AnnotatedDataset(Cuttable, Dataset[tuple[Tensor, Annotation]]):
    """Picture files and columns of annotations; a sample is (uint8 picture C H W, Annotation), read when it is asked for.

    `columns` are named as the fields of Annotation; others become its `attributes`, if they are of objects, or `extras`.
    `classes` are the names of labels, in order; `task` is one of TASKS. `origins` say where each sample was read. `things`: of a
    panoptic data set, for each class whether its objects are counted. `skeleton`: pairs of numbers of points, from 0, that are joined
    by a line where they are drawn. `frequencies`: of LVIS, how frequent each class is ("r",
    "c", "f"). Raises DataError
    where the columns do not fit together, and at a sample whose picture or annotation cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        columns: Mapping[str, Column],
        classes: Sequence[str],
        *,
        task: str,
        root: str | Path,
        origins: Origins | None = None,
        things: Sequence[bool] | None = None,
        point_names: Sequence[str] = (),
        frequencies: Sequence[str] = (),
        skeleton: Sequence[tuple[int, int]] = (),
    ) -> None:
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
        self.paths = paths if isinstance(paths, Paths) else Paths(paths)
        self.columns, self.classes, self.task = dict(columns), tuple(classes), task
        self.root, self.origins = Path(root), origins
        self.things = None if things is None else tuple(things)
        self.point_names, self.frequencies = tuple(point_names), tuple(frequencies)
        self.skeleton = tuple((int(one), int(other)) for one, other in skeleton)
        self.change: Change | None = None
        self.is_strict = False
        counts = {name: len(column) for name, column in self.columns.items()}
        if origins is not None:
            counts["origins"] = len(origins)
        wrong = [f"{count:,} {name}" for name, count in counts.items() if count != len(self.paths)]
        if wrong or not len(self.paths):
            raise DataError(
                f"There are {len(self.paths):,} pictures and {', '.join(wrong) or 'no annotations'}.",
                "At least one picture, and one entry of each column for each, were expected.",
                "Check the path or the filter.",
            )

    @property
    def name(self) -> str:
        """The name of the folder or archive."""
        return self.root.name

    def __repr__(self) -> str:
        return f"<AnnotatedDataset {self.name!r} for {self.task}, {len(self):,} pictures, {len(self.classes)} classes>"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "C H W"], Annotation]:
        picture = self.picture(index)
        annotation = self.annotation(index, (picture.shape[1], picture.shape[2]))
        return (picture, annotation) if self.change is None else self.change(picture, annotation)

    def picture(self, index: int) -> UInt8[Tensor, "C H W"]:
        """The picture of one sample. Raises DataError where it cannot be read."""
        return pixels(read(self.paths.name(index)))

    def annotation(self, index: int, size: tuple[int, int] | None = None) -> Annotation:
        """What is known of one picture of this (height, width); None asks its file, if an annotation depends on it."""
        if size is None:
            picture = read(self.paths.name(index))
            size = (picture.height, picture.width)
        try:
            told = {name: column.at(index, size) for name, column in self.columns.items()}
        except DataError as error:
            error.add_note(f"It belongs to {self.paths.name(index)} ({self.origin(index)}).")
            raise
        known = {name: told.pop(name) for name in _FIELDS if name in told}
        of_objects = {name for name in told if getattr(self.columns[name], "of_objects", False)}
        return Annotation(
            **known,
            attributes={name: value for name, value in told.items() if name in of_objects},
            extras={name: value for name, value in told.items() if name not in of_objects},
        )

    def changed(self, change: Change | None) -> AnnotatedDataset:
        """The same samples, each passed through `change(picture, annotation)` when it is read: an augmentation, say.

        SampleTransforms without names of points take this data set's. Raises DataError where they mirror points without names.
        """
        if change is not None and "keypoints" in self.columns and hasattr(change, "for_points"):
            change = change.for_points(self.point_names)
        return self._with(change=change)

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """The samples at these positions, in this order, or where a mask (N) is true."""
        chosen = positions(indices, len(self))
        rows = chosen.numpy()
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        origins = None if self.origins is None else self.origins.take(rows)
        return self._with(paths=self.paths.take(chosen), columns=columns, origins=origins, cut={})

    def _contents(self) -> Iterable[bytes]:
        return (archive.read_bytes(self.paths.name(index)) for index in range(len(self)))

    def _strata(self) -> None:
        return None  # a picture holds objects of several classes, or none

    def limit(self, count: int) -> AnnotatedDataset:
        """`count` samples, evenly spread over all."""
        if count < 1:
            raise DataError(f"The limit is {count}.", "At least one sample was expected.", "Pass 1 or more.")
        return self if count >= len(self) else self.subset(torch.arange(count) * len(self) // count)

    def strict(self) -> Self:
        """The same samples, of which one that cannot be read ends a training, and is not replaced by another."""
        return self._with(is_strict=True)

    def few_shot(self, k: int, *, seed: int = 0) -> Self:
        """For each class k pictures that hold at least one object of it, drawn by the seed; those of a smaller k are among them.

        One picture may be drawn for several of its classes, and shows others beside: of a class there are k pictures or more,
        and k x K at most in all. Raises DataError where fewer hold a class, and where objects have no labels.
        """
        labels, count = self.columns.get("labels"), len(self.classes)
        if not isinstance(labels, Ragged):
            raise DataError(
                f"{self.name} has no labels of objects.",
                "k pictures are drawn for each class of objects.",
                "Use limit(count), or choose them yourself: subset(positions).",
            )
        owners, values = np.repeat(np.arange(len(self)), np.diff(labels.ends)), np.asarray(labels.values, np.int64)
        known = (values >= 0) & (values < count)
        pairs = np.unique(owners[known] * count + values[known])  # each picture and class that it holds, once
        drawn = folds.few_of_each(torch.from_numpy(pairs % count), self.classes, k, seed=seed)
        return self.subset(torch.from_numpy(np.unique(pairs[drawn.numpy()] // count)))

    def _with(self, **changes: Any) -> Self:
        made = copy.copy(self)
        vars(made).update(changes)
        return made

    def origin(self, index: int) -> str:
        """Where a sample was read: its file, or the line or entry of the file that annotates it."""
        return self.paths.name(index) if self.origins is None else self.origins[index]

    def counts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """How many objects of each class are annotated (K), without reading a picture; zeros where there are no labels."""
        labels = getattr(self.columns.get("labels"), "values", np.zeros(0, np.int64))
        return np.bincount(np.asarray(labels, dtype=np.int64).ravel(), minlength=len(self.classes))
