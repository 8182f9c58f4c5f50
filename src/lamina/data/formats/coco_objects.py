"""The annotations of a COCO file as arrays, in its order: objects, and captions."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.data.columns import Texts, ends_of, spans
from lamina.data.formats.coco_json import FIRST, Categories, Faults, Pictures, Record
from lamina.data.left_out import KEPT

_LISTS_END = re.compile(r"\]\s*\]")
_FIELDS = 9  # left, top, width, height, area, crowd, category, picture, id
_HUGE = 1e15  # beyond it 32 bits hold no box
_EXACT = 1 << 53  # integers below it are exact as float64
_NO_BOX = "annotations whose bbox is not four numbers"


class Objects:
    """The annotations of a file as arrays, in its order; which of box, outline and points they need, a task says."""

    def __init__(self, *, boxes: bool = True, shapes: bool = False, points: bool = False) -> None:
        self._boxes, self._shapes, self._points = boxes, shapes, points
        self._pictures: dict[Hashable, int] = {}
        self._categories: dict[Hashable, int] = {}
        self._numbers = array("d")  # of each object _FIELDS numbers: one call for all of them is half the time
        self.text, self.text_ends = bytearray(), array("q", [0])
        self._coordinates, self._point_counts = array("f"), array("q")
        self.drawn = False

    def add(self, record: Record, text: str, begin: int, end: int) -> str:
        """One entry of `annotations`."""
        box = (0.0, 0.0, 0.0, 0.0)
        if self._boxes:
            try:
                x, y, width, height = record["bbox"]
            except (KeyError, TypeError, ValueError):
                return _NO_BOX
            box = (x, y, width, height)
        try:
            kind = self._categories.setdefault(record["category_id"], len(self._categories))
            owner = self._pictures.setdefault(record["image_id"], len(self._pictures))
        except (KeyError, TypeError):
            return "annotations without image_id or category_id"
        area, key = record.get("area"), record.get("id")
        covered = area if type(area) is float or type(area) is int else math.nan
        number = key if type(key) is int and -_EXACT < key < _EXACT else math.nan
        try:
            self._numbers.extend((*box, covered, 1 if record.get("iscrowd") else 0, kind, owner, number))
        except (TypeError, OverflowError):
            del self._numbers[len(self._numbers) // _FIELDS * _FIELDS :]
            return _NO_BOX
        if self._shapes:
            self._add_shape(record.get("segmentation"), text, begin, end)
        return self._add_points(record.get("keypoints")) if self._points else ""

    def _add_shape(self, shape: Any, text: str, begin: int, end: int) -> None:
        """Keeps the outlines as they are written: millions of numbers that nobody may ask for are not written anew.

        Where any object has an outline, those without are drawn as their box.
        """
        if not shape:
            if self.drawn:
                self._keep(_outline(self._numbers[-_FIELDS:]))
            return
        if not self.drawn:
            self.drawn = True
            for at in range(0, len(self._numbers) - _FIELDS, _FIELDS):
                self._keep(_outline(self._numbers[at : at + 4]))
        start = text.find('"segmentation"', begin, end) + len('"segmentation"')
        plain = isinstance(shape, list) and isinstance(shape[0], list) and start > begin
        if plain and text.find('"segmentation"', start, end) < 0 and (close := _LISTS_END.search(text, start, end)):
            self._keep(text[text.index("[", start) : close.end()].encode())
        else:
            self._keep(json.dumps(shape).encode())

    def _keep(self, content: bytes) -> None:
        self.text += content
        self.text_ends.append(len(self.text))

    def _add_points(self, points: Any) -> str:
        try:
            values = array("f", points or [])
        except (TypeError, OverflowError):
            values = array("f")
        self._coordinates.extend(values if len(values) % 3 == 0 else ())
        self._point_counts.append(len(values) // 3 if len(values) % 3 == 0 else 0)
        return ""

    def finish(self, file: str, pictures: Pictures, categories: Categories, faults: Faults) -> None:
        """Once the file is read: which picture and category each belongs to, -1 for none."""
        numbers = np.asarray(self._numbers, dtype=np.float64).reshape(-1, _FIELDS)
        area, crowd, kinds, owners, ids = numbers[:, 4:].T
        boxes = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]], axis=1)
        endless = ~(np.abs(boxes) < _HUGE).all(axis=1)
        boxes[endless] = 0.0
        self.boxes, self.crowd = boxes.astype(np.float32), crowd > 0
        sides = boxes[:, 2:] - boxes[:, :2]
        told_area = np.abs(area) < _HUGE * _HUGE  # not where it is NaN
        self.area = np.where(told_area, area, sides[:, 0] * sides[:, 1]).astype(np.float32)
        self.owners = _positions(owners, self._pictures, pictures.rows)
        self.labels = _positions(kinds, self._categories, categories.rows)
        self.points = np.asarray(self._coordinates, dtype=np.float32).reshape(-1, 3)
        self.point_ends = ends_of(np.asarray(self._point_counts, dtype=np.int64))
        for unknown, keys, told, what in (
            (self.owners < 0, self._pictures, owners, "annotations of pictures that it does not list"),
            (self.labels < 0, self._categories, kinds, "annotations of categories that it does not list"),
        ):
            if unknown.any():
                known = list(keys)
                named = [f"id {known[int(row)]}" for row in np.unique(told[unknown])[:FIRST]]
                faults.add(file, what, named, count=int(unknown.sum()))
        if endless.any():
            faults.add(file, _NO_BOX, [f"id {key:.0f}" for key in ids[endless][:FIRST]], count=int(endless.sum()))
            self.labels[endless] = -1
        listed, counts = np.unique(ids[~np.isnan(ids)], return_counts=True)
        if (twice := listed[counts > 1]).size:
            what = "annotations whose id another has, which are kept"
            named = [f"id {key:.0f}" for key in twice[:FIRST]]
            faults.add(file, what, named, count=int((counts - 1).sum()), kind=KEPT)

    def texts(self, used: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Texts:
        """The outlines of the objects `used`, of which picture i has `ends[i] .. ends[i + 1]`."""
        all_ends = np.asarray(self.text_ends, dtype=np.int64)
        begin, stop = all_ends[used], all_ends[used + 1]
        content = b"".join(self.text[a:b] for a, b in zip(begin.tolist(), stop.tolist(), strict=True))
        return Texts.packed(content, ends_of(stop - begin), ends)

    def keypoints(self, used: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The points of these objects (n P 3), filled up with such as are not annotated."""
        counts = np.diff(self.point_ends)[used]
        filled = np.zeros((len(used), int(counts.max(initial=0)), 3), dtype=np.float32)
        chosen, ends = spans(self.point_ends, used)
        place = np.arange(len(chosen)) - np.repeat(ends[:-1], counts)
        filled[np.repeat(np.arange(len(used)), counts), place] = self.points[chosen]
        return filled


class Captions:
    """The annotations of a file of captions."""

    def __init__(self) -> None:
        self._keys: list[Hashable] = []
        self._texts: list[str] = []
        self.owners: list[int] = []

    def add(self, record: Record, text: str, begin: int, end: int) -> str:
        """One entry of `annotations`."""
        caption, key = record.get("caption"), record.get("image_id")
        if not isinstance(caption, str):
            return "annotations without a caption"
        if key is None or not isinstance(key, Hashable):
            return "annotations without image_id"
        self._keys.append(key)
        self._texts.append(caption)
        return ""

    def finish(self, file: str, pictures: Pictures, categories: Categories, faults: Faults) -> None:
        """Once the file is read: which picture each belongs to, -1 for none."""
        self.owners = [pictures.rows.get(key, -1) for key in self._keys]
        unlisted = [f"image_id {key}" for key, owner in zip(self._keys, self.owners, strict=True) if owner < 0]
        faults.add(file, "annotations of pictures that it does not list", unlisted)

    def column(self, where: npt.NDArray[np.int64], count: int) -> Texts:
        """The captions of `count` samples; `where` tells for each picture which sample it is, -1 for none."""
        listed: list[list[str]] = [[] for _ in range(count)]
        for owner, caption in zip(self.owners, self._texts, strict=True):
            if (sample := int(where[owner])) >= 0:
                listed[sample].append(caption)
        return Texts(listed)


def _positions(
    told: npt.NDArray[np.float64], keys: Mapping[Hashable, int], rows: Mapping[Hashable, int]
) -> npt.NDArray[np.int64]:
    """From the numbers of ids to what these are numbers of; -1 for unknown ones."""
    return np.array([rows.get(key, -1) for key in keys], dtype=np.int64)[told.astype(np.int64)]


def _outline(numbers: Sequence[float]) -> bytes:
    """The corners of a box (left, top, width, height, ...), as one outline."""
    x0, y0, x1, y1 = numbers[0], numbers[1], numbers[0] + numbers[2], numbers[1] + numbers[3]
    return f"[[{x0}, {y0}, {x1}, {y0}, {x1}, {y1}, {x0}, {y1}]]".encode()
