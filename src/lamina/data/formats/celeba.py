"""CelebA (Liu et al. 2015): faces with attributes, boxes, five points, and who it is; as its authors, torchvision and Kaggle lay it out.

"classification" gives the attributes, 0 or 1 for each picture and attribute; "detection" the box of the face, in the pictures from
the wild; "keypoints" the points, in the aligned pictures if their list is there, else in those from the wild;
"identification" one label for each picture: the person. Lists are .txt (the count, the names, then a line for each picture) or
.csv, in any folder. Splits are those of list_eval_partition; without that list all is `train`. Pictures of which a list says
nothing are left out. Where it is known, the person is `extras["identity"]` for "detection" and "keypoints".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Column, Fixed, Ragged
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import is_picture
from lamina.data.left_out import MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.rows import numbers
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("classification", "detection", "keypoints", "identification")
LOOKS_FOR = "list_attr_celeba.txt, list_bbox_celeba.txt or list_landmarks_align_celeba.txt, with pictures 000001.jpg .."
POINTS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")
_LISTS = ("attr", "bbox", "landmarks_align", "landmarks")
D = TypeVar("D", FolderDataset, AnnotatedDataset)
_SPLITS = ("train", "validation", "test")


class _Table:
    """A list of CelebA: numbers (N D) for each picture, by their order in the list."""

    def __init__(self, tree: Tree, source: str) -> None:
        self.path = tree.path(source)
        self.header: list[str] = []
        self.rows: dict[str, int] = {}
        values, lines = list[list[float]](), list[int]()
        for line, text in tree.lines(source):
            parts = text.replace(",", " ").split() or [""]
            if len(parts) == 1 and parts[0].isdecimal() and not values:
                continue  # the count
            if not values and not is_picture(parts[0]):
                self.header = parts[1:] if parts[0].lower() == "image_id" else parts
                continue
            wanted = len(values[0]) if values else len(self.header) or len(parts) - 1
            if len(parts) - 1 != wanted:
                raise DataError(
                    f"{self.path}, line {line} has {len(parts) - 1} values.",
                    f"The name of a picture and {wanted} values were expected.",
                    "It breaks off there, or the line is damaged: fetch the file again.",
                )
            self.rows[parts[0].partition(".")[0]] = len(values)
            values.append(numbers(parts[1:], f"{self.path}, line {line}"))
            lines.append(line)
        if not values or not values[0]:
            came = "says nothing of its pictures" if values else "names no picture"
            raise DataError(f"{self.path} {came}.", "A name and values on each line were expected.", "Fetch it again.")
        self.values, self.lines = np.array(values, dtype=np.float64), np.array(lines, dtype=np.int64)


def matches(tree: Tree) -> str:
    """The list that is there."""
    found = next((source for kind in _LISTS if (source := _source(tree, f"list_{kind}_celeba"))), "")
    return f"{found} is a list of CelebA" if found else ""


def tasks_there(tree: Tree) -> dict[str, str]:
    """The tasks that have their list."""
    lists = dict(zip(TASKS, (("attr",), ("bbox",), ("landmarks_align", "landmarks"), ()), strict=True))
    found = {
        task: next((source for kind in kinds if (source := _source(tree, f"list_{kind}_celeba"))), "")
        for task, kinds in lists.items()
    }
    found[TASKS[-1]] = _source(tree, "identity_CelebA")
    return {task: f"{source} is a list of CelebA" for task, source in found.items() if source}


def open_tree(tree: Tree, task: str) -> Splits[FolderDataset] | Splits[AnnotatedDataset]:
    """The splits that have pictures. Raises DataError for a list that is missing, breaks off, or fits no picture."""
    if task in ("classification", "identification"):
        sets = _parts(tree, _labelled(tree, task))
        return Splits(sets.get("train"), sets.get("test"), sets.get("validation"), name=tree.name)
    annotated = _parts(tree, _annotated(tree, task))
    return Splits(annotated.get("train"), annotated.get("test"), annotated.get("validation"), name=tree.name)


def _labelled(tree: Tree, task: str) -> tuple[FolderDataset, list[str]]:
    table = _table(tree, "list_attr_celeba" if task == "classification" else "identity_CelebA", task)
    paths, rows, keys = _pictures(tree, table, aligned=True)
    values = table.values[rows].astype(np.int64)
    origins = Origins([table.path], table.lines[rows])
    if task == "identification":
        people, labels = np.unique(values[:, 0], return_inverse=True)
        return FolderDataset(paths, labels.tolist(), tuple(map(str, people)), root=tree.root, origins=origins), keys
    if not np.isin(values, (-1, 0, 1)).all():
        raise DataError(f"{table.path} holds other values than -1 and 1.", "-1 or 1 was expected.", "Fetch it again.")
    classes = table.header or [f"attribute {number}" for number in range(values.shape[1])]
    has = torch.from_numpy((values > 0).astype(np.int64))
    return FolderDataset(paths, has, classes, root=tree.root, origins=origins), keys


def _annotated(tree: Tree, task: str) -> tuple[AnnotatedDataset, list[str]]:
    aligned = task == "keypoints" and bool(_source(tree, "list_landmarks_align_celeba"))
    name = "list_bbox_celeba" if task == "detection" else f"list_landmarks_{'align_' if aligned else ''}celeba"
    table = _table(tree, name, task)
    if table.values.shape[1] != (4 if task == "detection" else 10):
        raise DataError(
            f"{table.path} has {table.values.shape[1]} values a line.",
            f"{'x, y, width and height' if task == 'detection' else 'x and y of five points'} were expected.",
            "Fetch it again.",
        )
    paths, rows, keys = _pictures(tree, table, aligned=aligned)
    values, ones = table.values[rows].astype(np.float32), np.arange(len(rows) + 1, dtype=np.int64)
    columns: dict[str, Column] = {"labels": Ragged(np.zeros(len(rows), dtype=np.int64), ones)}
    if task == "detection":
        columns["boxes_xyxy"] = Ragged(np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1), ones)
    else:
        seen = np.full((len(rows), len(POINTS), 1), 2.0, dtype=np.float32)
        columns["keypoints"] = Ragged(np.concatenate([values.reshape(-1, len(POINTS), 2), seen], axis=2), ones)
    if _source(tree, "identity_CelebA"):
        known = _table(tree, "identity_CelebA", task)
        who = [int(known.values[known.rows[key], 0]) if key in known.rows else -1 for key in keys]
        columns["identity"] = Fixed(np.array(who, dtype=np.int64))
    made = AnnotatedDataset(
        paths,
        columns,
        ("face",),
        task=task,
        root=tree.root,
        origins=Origins([table.path], table.lines[rows]),
        point_names=POINTS if task == "keypoints" else (),
    )
    return made, keys


def _parts(tree: Tree, whole: tuple[D, list[str]]) -> Mapping[str, D]:
    """The samples by their splits."""
    data_set, keys = whole
    if not _source(tree, "list_eval_partition"):
        return {"train": data_set}
    table = _table(tree, "list_eval_partition", "")
    told = table.values[:, 0]
    splits = np.array([int(told[table.rows[key]]) if key in table.rows else 0 for key in keys])
    if not np.isin(splits, (0, 1, 2)).all():
        raise DataError(f"{table.path} names other splits.", "0, 1 or 2 was expected.", "Fetch it again.")
    return {
        name: data_set.subset(np.flatnonzero(splits == number).tolist())
        for number, name in enumerate(_SPLITS)
        if (splits == number).any()
    }


def _source(tree: Tree, name: str) -> str:
    """The list of this name in any folder."""
    wanted = {f"{name}{ending}".lower() for ending in (".txt", ".csv")}
    return next((each for each in tree.names if each.rpartition("/")[2].lower() in wanted), "")


def _table(tree: Tree, name: str, task: str) -> _Table:
    source = _source(tree, name)
    if not source:
        there = [each for each in map(str, tree.matching("*celeba.*")) if not is_picture(each)]
        raise DataError(
            f"{tree.root} has no {name}.txt for {task} (there are {', '.join(there) or 'no lists'}).",
            "Each task has its list.",
            f"Put {name}.txt there, or ask for another task: {', '.join(TASKS)}.",
        )
    return _Table(tree, source)


def _pictures(tree: Tree, table: _Table, *, aligned: bool) -> tuple[list[str], npt.NDArray[np.int64], list[str]]:
    """(paths, rows of the table, keys) of the pictures that the table names, aligned ones or those from the wild where both are."""
    found: dict[str, str] = {}
    both = [name for name in tree.names if is_picture(name)]
    kind = [name for name in both if ("align" in name.rpartition("/")[0].lower()) == aligned]
    for name in kind or both:
        found[name.rpartition("/")[2].partition(".")[0]] = name
    left_out = LeftOut(f"pictures that {table.path} names", "Unpack all pictures beside the lists.", kind=MISSING)
    keys = []
    for key, row in table.rows.items():
        if key in found:
            keys.append(key)
        else:
            left_out.add(f"line {int(table.lines[row])}: {key} is not there")
    left_out.tell(len(table.rows), bearable=True)
    return [tree.path(found[key]) for key in keys], np.array([table.rows[key] for key in keys], dtype=np.int64), keys
