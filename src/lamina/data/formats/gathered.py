"""Pictures and their objects as a reader finds them, gathered into arrays: nothing of Python is kept for each object."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Column, Ragged, Shapes, Size, Texts
from lamina.data.formats.image_folder import SPLITS as FOLDERS
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree

Draw = Callable[[Any, Size], npt.NDArray[np.bool_]]


class Objects:
    """Objects of numbered pictures: a label, a box of four numbers, whether it is a crowd, and whole numbers by name.

    The labels are numbers in the order in which the names of classes come (`label`); `columns` puts them into the final order.
    """

    def __init__(self, *attributes: str) -> None:
        self.names: dict[str, int] = {}
        self._pictures, self._labels, self._crowd = array("q"), array("q"), array("b")
        self._boxes = array("d")
        self._attributes = {name: array("q") for name in attributes}
        self._shapes: list[str] = []
        self._some_drawn = False

    def __len__(self) -> int:
        return len(self._labels)

    def label(self, name: str) -> int:
        """The number of a class, in the order of coming."""
        return self.names.setdefault(name, len(self.names))

    def add(
        self,
        picture: int,
        label: int,
        box: Sequence[float],
        *,
        crowd: bool = False,
        attributes: Sequence[int] = (),
        shape: Any = None,
    ) -> None:
        """One object more. `shape` is its outlines or runs; where any object has one, those without are drawn as their box."""
        self._pictures.append(picture)
        self._labels.append(label)
        self._boxes.extend(box)
        self._crowd.append(crowd)
        for values, value in zip(self._attributes.values(), attributes, strict=True):
            values.append(value)
        if shape is not None and not self._some_drawn:
            self._some_drawn = True
            boxes = np.asarray(self._boxes[:-4]).reshape(-1, 4).tolist()
            self._shapes = [json.dumps(_outline(each)) for each in boxes]
        if self._some_drawn:
            self._shapes.append(json.dumps(_outline(box) if shape is None else shape, separators=(",", ":")))

    def columns(
        self, count: int, classes: Sequence[str], *, per_picture: bool = False, draw: Draw | None = None
    ) -> dict[str, Column]:
        """The columns labels, boxes_xyxy, crowd and attributes of `count` pictures; masks where shapes were told, made by `draw`."""
        places = {name: place for place, name in enumerate(classes)}
        order = np.array([places[name] for name in self.names], dtype=np.int64)
        owners = np.asarray(self._pictures, dtype=np.int64)
        labels = np.asarray(self._labels, dtype=np.int64)
        boxes = np.asarray(self._boxes, dtype=np.float64).reshape(-1, 4).astype(np.float32)

        def grouped(values: npt.NDArray[Any]) -> Ragged:
            return Ragged.grouped(owners, values, count)

        made: dict[str, Column] = {
            "labels": grouped(order[labels] if self.names else labels),
            "boxes_xyxy": Ragged.grouped(owners, boxes, count, per_picture=per_picture),
            "crowd": grouped(np.asarray(self._crowd, dtype=np.bool_)),
        }
        for name, values in self._attributes.items():
            made[name] = Ragged.grouped(owners, np.asarray(values, dtype=np.int64), count, of_objects=True)
        if self._some_drawn and draw is not None:
            listed: list[list[str]] = [[] for _ in range(count)]
            for owner, text in zip(self._pictures, self._shapes, strict=True):
                listed[owner].append(text)
            made["masks"] = Shapes(Texts(listed), draw)
        return made

    def has(self, count: int) -> npt.NDArray[np.bool_]:
        """Which of `count` pictures have an object."""
        return np.bincount(np.asarray(self._pictures, dtype=np.int64), minlength=count) > 0


def _outline(box: Sequence[float]) -> list[list[float]]:
    """The corners of a box, as one outline."""
    x0, y0, x1, y1 = box
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def splits_of(
    parts: Mapping[str, Sequence[int]],
    whole: AnnotatedDataset | None,
    *,
    name: str,
    others: Mapping[str, AnnotatedDataset] | None = None,
) -> Splits[AnnotatedDataset]:
    """The parts of one data set of all pictures, from the numbers of the pictures of each, and others; empty parts are left out."""
    sets = {part: whole.subset(rows) for part, rows in parts.items() if len(rows) and whole is not None}
    train, test, validation = (sets.pop(part, None) for part in ("train", "test", "validation"))
    return Splits(train, test, validation, name=name, others={**sets, **(others or {})})


def unlabelled(
    tree: Tree, pictures: Mapping[str, Sequence[str]], classes: Sequence[str], *, task: str
) -> dict[str, AnnotatedDataset]:
    """Data sets "PART_unlabelled" of pictures that nobody annotated: unlike those with no object, they say nothing."""
    return {
        f"{part}_unlabelled": AnnotatedDataset(
            Paths([tree.path(name) for name in names]), {}, classes, task=task, root=tree.root
        )
        for part, names in pictures.items()
        if names
    }


def split_of(name: str, default: str = "train") -> str:
    """The part that the folders of a file's path say it belongs to, the innermost first: "a/valid/images/1.jpg" to validation.

    Folders may carry a number or a year (2.Validation, val2017).
    """
    for folder in reversed(name.split("/")[:-1]):
        plain = folder.lower().strip("0123456789._- ")
        if plain in FOLDERS:
            return FOLDERS[plain]
    return default
