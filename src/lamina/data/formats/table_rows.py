"""The rows of tables of pictures as data sets: one for each split, with classes in natural order."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.class_names import refuse_twins
from lamina.data.columns import Column, Ragged, Texts
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import SPLITS
from lamina.data.formats.named_pictures import NamedPictures
from lamina.data.formats.table_columns import YES, Columns, parts
from lamina.data.left_out import LeftOut
from lamina.data.origins import Origins
from lamina.data.rows import rows
from lamina.data.tree import Tree, natural

_NO = {"0", "0.0", "-1", "false", ""}
_REMEDY = "Mend these rows, or put the pictures there."
_HUGE = 1e15  # beyond it 32 bits hold no box
_EMPTY = ("", "nan")
_UNNAMED = "object"  # the class of boxes without a column of labels
_NAMED = 3  # rows in a message

Ints = npt.NDArray[np.int64]


class _RowError(Exception):
    """What is wrong with one row."""


class ContradictionError(DataError):
    """Rows that say something else of a picture than its first: `rows` holds of each the picture, the file and line, what it says."""

    def __init__(self, rows: Sequence[tuple[str, str, str]]) -> None:
        self.rows = tuple(rows)
        some = "; ".join(f"{place}: {os.path.basename(picture)} {what}" for picture, place, what in rows[:_NAMED])
        more = f"; and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
        super().__init__(
            f"{len(rows):,} row{'s' * (len(rows) > 1)} of pictures that have several contradict the first: {some}{more}.",
            "A picture with several labels has one row.",
            "Write them between bars, such as 'cat|dog', or take the wrong rows out.",
        )


class _Part:
    """What the rows of one split say, as numbers. `owners` and `labels` are pairs: a picture, and a class that it has."""

    def __init__(self) -> None:
        self.pictures = dict[str, int]()
        self.tables, self.lines = array("q"), array("q")  # of the first row of each picture
        self.owners, self.labels, self.boxes = array("q"), array("q"), array("d")
        self.captions = list[list[str]]()

    def picture(self, name: str, table: int, line: int) -> tuple[int, bool]:
        """(its position, whether it is new)."""
        at = self.pictures.setdefault(name, len(self.pictures))
        new = at == len(self.lines)
        if new:
            self.tables.append(table)
            self.lines.append(line)
        return at, new


class _Reader:
    def __init__(self, header: Sequence[str], columns: Columns) -> None:
        self.header, self.columns = header, columns
        self.classes = (
            {header[at]: number for number, at in enumerate(columns.labels)} if len(columns.labels) > 1 else {}
        )
        self.parts = dict[str, _Part]()
        self.again = 0
        self.contradicting = list[tuple[str, tuple[int, int], tuple[int, int], str]]()  # picture, first row, row, what

    def take(self, values: list[str], name: str, split: str, where: tuple[int, int]) -> None:
        """One row, of a picture that is there. Raises _RowError."""
        columns = self.columns
        told = self._told(values)
        boxes = self._box(values) if columns.boxes else None
        caption = values[columns.caption] if columns.task == "captioning" and columns.caption is not None else None
        if caption == "":
            raise _RowError("has an empty caption")
        part = self.parts.get(split)
        if part is None:
            part = self.parts[split] = _Part()
        at, new = part.picture(name, *where)
        if caption is not None:
            part.captions.append([caption]) if new else part.captions[at].append(caption)
        elif columns.boxes:
            if boxes:
                part.owners.append(at)
                part.boxes.extend(boxes)
                part.labels.extend(told or [0])
        elif new:
            part.owners.extend([at] * len(told))
            part.labels.extend(told)
        else:
            self.again += 1
            self._compare(part, at, told, name, where)

    def _compare(self, part: _Part, at: int, told: list[int], name: str, where: tuple[int, int]) -> None:
        start, end = bisect_left(part.owners, at), bisect_right(part.owners, at)  # pictures came in order
        before = part.labels[start:end].tolist()
        if set(before) != set(told):
            names = list(self.classes)
            is_here, was = (", ".join(names[label] for label in labels) or "none" for labels in (told, before))
            first = part.tables[at], part.lines[at]
            self.contradicting.append((name, first, where, f"is labelled {is_here}, and {was}"))

    def _told(self, values: list[str]) -> list[int]:
        """The classes that a row names."""
        columns = self.columns
        if columns.task == "captioning" or not columns.labels:
            return []
        if len(columns.labels) > 1:
            signs = [values[at].lower() for at in columns.labels]
            strange = next((sign for sign in signs if sign not in YES and sign not in _NO), None)
            if strange is not None:
                raise _RowError(f"has {strange!r} where 0 or 1 is expected")
            return [number for number, sign in enumerate(signs) if sign in YES]
        text = values[columns.labels[0]]
        if columns.separator:
            names = [name for part in text.split(columns.separator) if (name := part.strip())]
            return [self.classes.setdefault(name, len(self.classes)) for name in dict.fromkeys(names)]
        if not text:
            if columns.boxes and not any(values[at] for at in columns.boxes):
                return []
            raise _RowError("has no label")
        return [self.classes.setdefault(text, len(self.classes))]

    def _box(self, values: list[str]) -> list[float]:
        """The four numbers; none where all are empty: a picture without objects."""
        columns = self.columns.boxes
        told = [values[at] for at in columns] if len(columns) == 4 else parts(values[columns[0]])
        if not told or (told[0].lower() in _EMPTY and all(value.lower() in _EMPTY for value in told)):
            return []
        try:
            box = [float(value) for value in told]
        except ValueError as error:
            raise _RowError(f"has a box that is no numbers ({error})") from error
        if len(box) != 4 or not all(map(_HUGE.__gt__, map(abs, box))):
            raise _RowError(f"has a box of {len(box)} numbers: {', '.join(told)}")
        return box


def gathered(
    tree: Tree, tables: Mapping[str, str], header: Sequence[str], columns: Columns, pictures: tuple[NamedPictures, Tree]
) -> dict[str, FolderDataset | AnnotatedDataset]:
    """The data set of each split. Raises DataError where many rows cannot be used, and for labels that contradict each other."""
    index, seen = pictures
    reader = _Reader(header, columns)
    left_out = LeftOut(f"rows of {', '.join(tables)}", _REMEDY)
    total = 0
    for number, (table, split) in enumerate(tables.items()):
        near = table if "/" in table else f"{split}/"
        for line, values in rows(tree, table):
            if values == list(header):
                continue
            total += 1
            try:
                if len(values) != len(header):
                    raise _RowError(f"has {len(values)} of {len(header)} columns")
                name = index.find(values[columns.image], near=near) if values[columns.image] else None
                if name is None:
                    raise _RowError(f"names {values[columns.image]!r}, which is not there")
                own = values[columns.split] if columns.split is not None else split
                reader.take(values, name, SPLITS.get(own.lower(), own or split), (number, line))
            except _RowError as fault:
                left_out.add(f"{tree.path(table)}, line {line} {fault}")
    if reader.contradicting:
        paths = [tree.path(table) for table in tables]
        raise ContradictionError([_place_in_words(each, paths, seen) for each in reader.contradicting])
    left_out.tell(total)
    if reader.again:
        twice = LeftOut(f"rows of {', '.join(tables)}", "Take them out.")
        twice.add("they name a picture again")
        twice.count = reader.again
        twice.tell(total, bearable=True)
    if not reader.parts:
        raise DataError(
            f"{tree.path(next(iter(tables)))} has no rows.", "One for each picture was expected.", "Fill it."
        )
    return _built(tree, list(tables), reader, seen)


def _place_in_words(
    found: tuple[str, tuple[int, int], tuple[int, int], str], tables: Sequence[str], seen: Tree
) -> tuple[str, str, str]:
    """(the picture's path, the row's file and line, what it says)."""
    name, (table, line), (own, here), what = found
    path = name if os.path.isabs(name) else seen.path(name)
    there = "" if own == table else f"{tables[table]}, "
    return path, f"{tables[own]}, line {here}", f"{what} in {there}line {line}"


def _built(tree: Tree, tables: list[str], reader: _Reader, seen: Tree) -> dict[str, FolderDataset | AnnotatedDataset]:
    columns = reader.columns
    written = list(reader.classes)
    order = (
        list(range(len(written)))
        if len(columns.labels) > 1
        else sorted(range(len(written)), key=lambda at: natural(written[at]))
    )
    classes = tuple(written[at] for at in order)
    refuse_twins(classes, tree.path(tables[0]))
    renumber = np.argsort(np.array(order, dtype=np.int64)) if order else np.zeros(1, dtype=np.int64)
    parts = reader.parts.values()
    one_each = all((_counts(part) == 1).all() for part in parts) and not columns.separator
    every_box = np.concatenate([np.array(part.boxes) for part in parts])
    shares = bool(every_box.size and every_box.max() <= 1.0 and (every_box % 1).any())
    made: dict[str, FolderDataset | AnnotatedDataset] = {}
    for split, part in reader.parts.items():
        paths = [name if os.path.isabs(name) else seen.path(name) for name in part.pictures]
        origins = Origins(
            [tree.path(table) for table in tables],
            np.array(part.lines, dtype=np.int64),
            which=np.array(part.tables, dtype=np.int64),
        )
        owners, labels = np.array(part.owners, dtype=np.int64), renumber[np.array(part.labels, dtype=np.int64)]
        if columns.task == "classification":
            told = labels if one_each else _signs(owners, labels, len(paths), len(classes))
            made[split] = FolderDataset(paths, torch.from_numpy(told), classes, root=tree.root, origins=origins)
            continue
        known: dict[str, Column] = {"captions": Texts(part.captions)}
        if columns.task == "detection":
            boxes = np.array(part.boxes, dtype=np.float32).reshape(-1, 4)
            if columns.sizes:
                boxes[:, 2:] += boxes[:, :2]
            fixed = Ragged.grouped(owners, boxes, len(paths))
            known = {
                "labels": Ragged.grouped(owners, labels, len(paths)),
                "boxes_xyxy": Ragged(fixed.values, fixed.ends, per_picture=shares),
            }
        names = (classes or (_UNNAMED,)) if columns.task == "detection" else ()
        made[split] = AnnotatedDataset(paths, known, names, task=columns.task, root=tree.root, origins=origins)
    return made


def _counts(part: _Part) -> Ints:
    return np.bincount(np.array(part.owners, dtype=np.int64), minlength=len(part.pictures))


def _signs(owners: Ints, labels: Ints, count: int, classes: int) -> Ints:
    """0 or 1 for each picture and class."""
    signs = np.zeros((count, classes), dtype=np.int64)
    signs[owners, labels] = 1
    return signs
