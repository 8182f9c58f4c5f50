"""What lies beside a picture in files of its own, or is drawn from outlines: class maps, masks, the other picture of a pair."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError, listed
from lamina.data import archive, columns
from lamina.data.annotated import AnnotatedDataset
from lamina.data.checking.report import Level
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.structures.annotation import IGNORED

_MOST_MASKS = 1 << 30  # bytes
_LISTED = 5  # values of a class map that are named


@dataclass
class Found:
    """(level, kind, file, what) of each fault, and which classes the class map holds."""

    faults: list[tuple[Level, str, str, str]] = field(default_factory=list)
    classes: set[int] = field(default_factory=set)


class Beside:
    """The columns of a part that can only be judged by reading them with the picture's size."""

    def __init__(self, held: dict[str, columns.Column], counts: columns.Column | None = None) -> None:
        self.columns = held
        self._ends = getattr(counts, "ends", None)

    def fits(self, name: str, row: int, size: tuple[int, int]) -> bool:
        """Whether the masks of one sample can be held: a thousand of a large photo fill the memory."""
        if name != "masks" or self._ends is None:
            return True
        return int(self._ends[row + 1] - self._ends[row]) * size[0] * size[1] <= _MOST_MASKS

    @classmethod
    def of(cls, part: ImageDataset | FolderDataset | AnnotatedDataset) -> Beside:
        """Those columns of a part; none where its samples have labels only."""
        every = part.columns if isinstance(part, AnnotatedDataset) else {}
        read = {name: one for name, one in every.items() if isinstance(one, columns.Beside | columns.Shapes)}
        return cls(
            read | {name: every[name] for name in ("class_map", "masks", "other") if name in every}, every.get("labels")
        )

    def __bool__(self) -> bool:
        return bool(self.columns)


def look_beside(beside: Beside, row: int, size: tuple[int, int], classes: int) -> Found:
    """Reads what belongs to one sample, whose picture has this (height, width)."""
    found = Found()
    for name, column in beside.columns.items():
        if not beside.fits(name, row, size):
            found.faults.append(("doubt", "masks not looked at", "", "all its masks together take more than 1 GB"))
            continue
        file = column.paths.name(row) if isinstance(column, columns.Beside) else ""
        word = "class map" if name == "class_map" else name.replace("_", " ")
        try:
            value = column.at(row, size)
        except Exception as error:  # a reader's own column may raise anything on damaged bytes
            text = error.came if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            other = None if name == "other" else _size_of(file)
            if other not in (None, size):
                found.faults.append(("error", "mask size", file, _differs(word, other, size)))
            else:
                found.faults.append(("error", f"{word} unreadable", file, text))
            continue
        if name == "class_map":
            _judge_map(value, file, size, classes, found)
        elif name == "masks" and isinstance(value, Tensor):
            _judge_masks(value, file, size, found)
        elif value is None and name == "other":
            found.faults.append(("doubt", "no partner", file, "no other picture belongs to it"))
    return found


def _judge_map(value: Any, file: str, size: tuple[int, int], classes: int, found: Found) -> None:
    if value is None:
        found.faults.append(("doubt", "no mask", file, "no class map belongs to it"))
        return
    shape = tuple(value.shape[-2:])
    if shape != size:
        found.faults.append(("error", "mask size", file, _differs("class map", shape, size)))
    counts = np.bincount(np.asarray(value).ravel(), minlength=256)
    there = np.flatnonzero(counts)
    found.classes.update(there[there < classes].tolist())
    beyond = [int(number) for number in there if number >= classes and number != IGNORED]
    if beyond:
        named = listed([f"{number} ({counts[number]:,} px)" for number in beyond], most=_LISTED)
        what = f"the values {named}; classes are 0 .. {classes - 1}, and {IGNORED} is ignored"
        found.faults.append(("error", "mask values", file, what))


def _judge_masks(value: Tensor, file: str, size: tuple[int, int], found: Found) -> None:
    if tuple(value.shape[-2:]) != size:
        found.faults.append(("error", "mask size", file, _differs("masks", tuple(value.shape[-2:]), size)))
    elif len(value):
        empty = (~value.flatten(1).any(1)).nonzero().flatten().tolist()
        if empty:
            numbers = listed([number + 1 for number in empty], most=_LISTED)
            found.faults.append(("doubt", "mask without pixels", file, f"object {numbers} of {len(value)} covers none"))


def _differs(word: str, came: Any, size: tuple[int, int]) -> str:
    height, width = came
    return f"the {word} has {width} x {height} pixels, the picture {size[1]} x {size[0]}"


def _size_of(file: str) -> tuple[int, int] | None:
    """(height, width) that the header of a mask's file says; None where it says nothing."""
    try:
        with Image.open(io.BytesIO(archive.read_bytes(file))) as image:
            return image.height, image.width
    except Exception:
        return None
