"""Open Images V4 to V7 (Kuznetsova et al. 2018, arXiv:1811.00982; storage.googleapis.com/openimages), and what FiftyOne makes of it.

    *annotations-bbox.csv              ImageID, LabelName, XMin, XMax, YMin, YMax in shares of the sides, IsGroupOf ...   "detection"
    *imagelabels*.csv                  ImageID, LabelName, Confidence: 1 it is there, 0 a person saw that it is not       "classification"
    *class-descriptions*.csv           LabelName ("/m/0199g"), DisplayName ("Bicycle"), with or without a line of titles
    *hierarchy*.json                   see `parents`
    *rotation.csv, *images*.csv        ImageID, Subset
    PART/ID.jpg, images/PART/ID.jpg    the pictures, wherever they are, by their names

FiftyOne calls these detections.csv, classifications.csv, classes.csv and hierarchy.json. Files may begin with train-, oidv6-train-,
validation- or test-. The part of a picture is that of its folder, or what Subset says, or that of the file that annotates it.

Detection: IsGroupOf becomes crowd; attributes are `occluded`, `truncated`, `depiction`, `inside` (1 yes, 0 no, -1 unknown), extras
`present` and `absent`, the classes that a person saw to be in the picture, or not: of the others nobody knows. Classes are those of a file
of boxable classes, else those of any box, in the order of the descriptions. Pictures without a box are in
others["train_unlabelled"] and so on.

Classification: several labels for each picture (N K), from people and machines where these are certain (confidence 1); classes are
those of any label. Rows of pictures that are not there, as where only some were fetched, are counted in one warning.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Column, Ragged
from lamina.data.dataset import FolderDataset
from lamina.data.formats.gathered import Objects, split_of, splits_of, unlabelled
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.formats.named_pictures import stem
from lamina.data.memory import free_bytes
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("detection", "classification")
LOOKS_FOR = "train-annotations-bbox.csv and class-descriptions.csv of Open Images, or labels/detections.csv of FiftyOne"
_FLAGS = ("IsOccluded", "IsTruncated", "IsDepiction", "IsInside")
_EXTRAS = ("occluded", "truncated", "depiction", "inside")
_HUGE = 1e9
_BOX = ("ImageID", "LabelName", "XMin", "YMin", "XMax", "YMax")


@dataclass
class _Files:
    """The tables there are, by what they tell."""

    boxes: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    subsets: list[str] = field(default_factory=list)


def matches(tree: Tree) -> str:
    """The table that is called as Open Images calls it."""
    files = _files(tree)
    named = next(iter((*files.boxes, *files.labels, *files.names)), "")
    return named and f"{named} is a table of Open Images"


def tasks_there(tree: Tree) -> dict[str, str]:
    """Detection and classification, where they have a table."""
    tables = zip(TASKS, (_files(tree).boxes, _files(tree).labels), strict=True)
    return {task: f"{names[0]} is a table of Open Images" for task, names in tables if names}


def open_tree(tree: Tree, task: str) -> Splits[Any]:
    """The parts. Raises DataError naming file and line of a row that lacks a column or a number."""
    files, pictures = _files(tree), _Pictures(tree)
    if not (files.boxes or files.labels or files.names) or not pictures.names:
        raise DataError(
            f"{tree.root} holds {tree.digest()}, with {len(pictures.names):,} pictures.",
            f"Expected {LOOKS_FOR}, and pictures called by their IDs.",
            "Pass the folder above annotations/ and the pictures.",
        )
    pictures.read_subsets(tree, files.subsets)
    return _classification(tree, files, pictures) if task == "classification" else _detection(tree, files, pictures)


def parents(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Of each class that the hierarchy has the classes right above it, by the names that are shown ("Cat": ("Carnivore",)).

    Empty where there is no file of a hierarchy. Raises DataError naming the line where the JSON breaks off.
    """
    found = next((name for name in tree.matching("*hierarchy*.json")), None)
    above: dict[str, list[str]] = {}
    if found is None:
        return {}
    try:
        root = json.loads(tree.text(found))
        _collect(root, above)
    except json.JSONDecodeError as error:
        raise _wrong(tree.path(found), error.lineno, f"the JSON breaks off ({error.msg})") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong(tree.path(found), 1, f"it is no hierarchy of LabelName and Subcategory ({error!r})") from error
    shown = _descriptions(tree, _files(tree).names)
    return {shown.get(child, child): tuple(shown.get(each, each) for each in above[child]) for child in above}


def _collect(node: Mapping[str, Any], above: dict[str, list[str]]) -> None:
    for child in node.get("Subcategory", ()):
        listed = above.setdefault(child["LabelName"], [])
        if node["LabelName"] not in listed:
            listed.append(node["LabelName"])
        _collect(child, above)


def _files(tree: Tree) -> _Files:
    files = _Files()
    csvs = [name for name in tree.names if name.lower().endswith(".csv")]
    fiftyone = any(name.endswith("metadata/classes.csv") for name in csvs)
    for name in csvs:
        last = name.rpartition("/")[2].lower()
        if last.endswith("annotations-bbox.csv") or (fiftyone and name.endswith("labels/detections.csv")):
            files.boxes.append(name)
        elif "imagelabels" in last or (fiftyone and name.endswith("labels/classifications.csv")):
            files.labels.append(name)
        elif "class-descriptions" in last or (fiftyone and last == "classes.csv"):
            files.names.append(name)
        elif "rotation" in last or last.startswith("image_ids"):
            files.subsets.append(name)
    return files


class _Pictures:
    """The pictures by their IDs, and the part of each."""

    def __init__(self, tree: Tree) -> None:
        self.names = [name for name in tree.names if is_picture(name) and "masks" not in name.split("/")[:-1]]
        self.rows = {stem(name): row for row, name in enumerate(self.names)}
        self._parts = [_part(name) for name in self.names]
        self._unknown = 0
        self._files: list[str] = []
        self._file, self._line = array("i", bytes(4 * len(self.names))), array("q", bytes(8 * len(self.names)))

    def read_subsets(self, tree: Tree, files: Sequence[str]) -> None:
        """Takes the parts of pictures that lie in no folder of a part from tables."""
        for file in files if "" in self._parts else ():
            for _, (name, subset) in _table(tree, file, ("ImageID", "Subset")):
                row = self.rows.get(name)
                if row is not None and not self._parts[row]:
                    self._parts[row] = SPLITS.get(subset.lower(), subset)

    def begin(self, tree: Tree, file: str) -> None:
        """From here on, `seen` speaks of this file."""
        self._files.append(tree.path(file))
        self._part = _part(file.rpartition("/")[2].removeprefix("oidv6-").replace("-", "/"))

    def seen(self, name: str, line: int) -> int | None:
        """The row of a picture that a line of the file is about; None where it is not there."""
        row = self.rows.get(name)
        if row is None:
            self._unknown += 1
        elif not self._line[row]:
            self._line[row], self._file[row] = line, len(self._files) - 1
            self._parts[row] = self._parts[row] or self._part
        return row

    def tell_unknown(self, tree: Tree, total: int) -> None:
        """Warns once of rows about pictures that are not there."""
        if self._unknown:
            warn(
                f"{self._unknown:,} of {total:,} rows of {', '.join(self._files[:3])} are about pictures that are not below "
                f"{tree.root}. They are left out. Fetch the other pictures, if you want them."
            )

    def annotated(self) -> npt.NDArray[np.int64]:
        """The rows of the pictures that any line was about."""
        return np.flatnonzero(np.asarray(self._line))

    def parts(self, rows: npt.NDArray[np.int64]) -> dict[str, list[int]]:
        """The places in `rows` of each part."""
        made: dict[str, list[int]] = {}
        for place, row in enumerate(rows.tolist()):
            made.setdefault(self._parts[row] or "train", []).append(place)
        return made

    def origins(self, rows: npt.NDArray[np.int64]) -> Origins:
        """The first line about each picture."""
        return Origins(self._files, np.asarray(self._line)[rows], which=np.asarray(self._file, dtype=np.int64)[rows])

    def paths(self, tree: Tree, rows: npt.NDArray[np.int64]) -> Paths:
        """The paths of these pictures."""
        return Paths([tree.path(self.names[row]) for row in rows.tolist()])


def _part(name: str) -> str:
    """The part that a folder of a path tells: train, validation, test, also train_0 .. train_f; empty where none does."""
    found = split_of(name, "")
    folders = (folder.lower().partition("_")[0] for folder in reversed(name.split("/")[:-1]))
    return found or next((SPLITS[folder] for folder in folders if folder in SPLITS), "")


def _detection(tree: Tree, files: _Files, pictures: _Pictures) -> Splits[AnnotatedDataset]:
    objects, total = Objects(*_EXTRAS), 0
    for file in files.boxes:
        pictures.begin(tree, file)
        where = tree.path(file)
        for line, (name, label, *told) in _table(tree, file, _BOX, ("IsGroupOf", *_FLAGS)):
            total += 1
            row, number = pictures.seen(name, line), objects.label(label)
            if row is not None:
                x0, y0, x1, y1, group, *flags = _numbers(told, where, line)
                objects.add(row, number, (x0, y0, x1, y1), crowd=group == 1, attributes=[int(flag) for flag in flags])
    pictures.tell_unknown(tree, total)
    shown = _descriptions(tree, files.names)
    boxable = [name for name in files.names if "boxable" in name]
    ids = list(_descriptions(tree, boxable)) if boxable else _in_order(objects.names, shown)
    ids += sorted(set(objects.names) - set(ids))
    ids = ids or list(shown)
    classes, rows = _shown(ids, shown), pictures.annotated()
    parts: dict[str, list[int]] = {}
    whole = None
    if len(rows):
        columns = {
            name: column.take(rows)
            for name, column in objects.columns(len(pictures.names), ids, per_picture=True).items()
        }
        columns |= _verified(tree, files, pictures, rows, ids)
        whole = AnnotatedDataset(
            pictures.paths(tree, rows),
            columns,
            classes,
            task="detection",
            root=tree.root,
            origins=pictures.origins(rows),
        )
        parts = pictures.parts(rows)
    rest = np.setdiff1d(np.arange(len(pictures.names)), rows)
    bare = {part: [pictures.names[rest[place]] for place in places] for part, places in pictures.parts(rest).items()}
    return splits_of(parts, whole, name=tree.name, others=unlabelled(tree, bare, classes, task="detection"))


def _verified(
    tree: Tree, files: _Files, pictures: _Pictures, rows: npt.NDArray[np.int64], ids: Sequence[str]
) -> dict[str, Column]:
    """The classes that people saw to be in each picture, and those that they saw not to be."""
    people = [file for file in files.labels if "machine" not in file]
    places = {int(row): place for place, row in enumerate(rows)}
    numbers = {each: number for number, each in enumerate(ids)}
    told = {name: (array("q"), array("q")) for name in ("present", "absent")}
    for file in people:
        for line, (name, label, confidence) in _table(tree, file, ("ImageID", "LabelName", "Confidence")):
            place = places.get(pictures.rows.get(name, -1))
            if place is not None and label in numbers:
                (sure,) = _numbers([confidence], tree.path(file), line)
                owners, values = told["present" if sure == 1 else "absent"]
                owners.append(place)
                values.append(numbers[label])
    columns: dict[str, Column] = {
        name: Ragged.grouped(np.asarray(owners, dtype=np.int64), np.asarray(values, dtype=np.int64), len(rows))
        for name, (owners, values) in told.items()
    }
    return columns if people else {}


def _classification(tree: Tree, files: _Files, pictures: _Pictures) -> Splits[FolderDataset]:
    known: dict[str, int] = {}
    owners, values, total = array("q"), array("q"), 0
    for file in files.labels:
        pictures.begin(tree, file)
        for line, (name, label, confidence) in _table(tree, file, ("ImageID", "LabelName", "Confidence")):
            total += 1
            row, number = pictures.seen(name, line), known.setdefault(label, len(known))
            if row is not None and _numbers([confidence], tree.path(file), line)[0] == 1:
                owners.append(row)
                values.append(number)
    pictures.tell_unknown(tree, total)
    rows = pictures.annotated()
    if not len(rows):
        raise DataError(
            f"{tree.root} has no image labels of its {len(pictures.names):,} pictures.",
            "A file such as train-annotations-human-imagelabels.csv was expected.",
            "Put it there, or open the data for detection.",
        )
    if len(rows) * len(known) * 8 > free_bytes() // 2:
        raise DataError(
            f"{tree.root} has {len(known):,} classes for {len(rows):,} pictures.",
            f"A table of both, {len(rows) * len(known) * 8 / 2**30:.1f} GiB, was expected to fit into half of the free memory.",
            "Take the label files of the boxable classes (...-imagelabels-boxable.csv), or fewer pictures.",
        )
    if len(rows) < len(pictures.names):
        warn(
            f"{len(pictures.names) - len(rows):,} of {len(pictures.names):,} pictures of {tree.root} have no label. They are left out."
        )
    shown = _descriptions(tree, files.names)
    ids = _in_order(known, shown)
    order = {label: place for place, label in enumerate(ids)}
    columns = np.array([order[label] for label in known], dtype=np.int64)
    labels = torch.zeros((len(rows), len(ids)), dtype=torch.int64)
    labels[
        torch.from_numpy(np.searchsorted(rows, np.asarray(owners))), torch.from_numpy(columns[np.asarray(values)])
    ] = 1
    whole = FolderDataset(
        pictures.paths(tree, rows), labels, _shown(ids, shown), root=tree.root, origins=pictures.origins(rows)
    )
    sets = {part: whole.subset(places) for part, places in pictures.parts(rows).items()}
    return Splits(
        sets.pop("train", None), sets.pop("test", None), sets.pop("validation", None), name=tree.name, others=sets
    )


def _descriptions(tree: Tree, files: Sequence[str]) -> dict[str, str]:
    """The name of each class by its ID, in the order of the files."""
    shown: dict[str, str] = {}
    for file in files:
        for line, values in _lines(tree, file):
            if len(values) < 2:
                raise _wrong(tree.path(file), line, f"{values} is not an ID and a name")
            if values[0] != "LabelName":
                shown.setdefault(values[0], values[1])
    return shown


def _in_order(ids: Iterable[str], shown: Mapping[str, str]) -> list[str]:
    used = set(ids)
    return [each for each in shown if each in used] + sorted(used - set(shown))


def _shown(ids: Sequence[str], shown: Mapping[str, str]) -> tuple[str, ...]:
    """The names of classes; with their ID where two are called alike."""
    names = [shown.get(each, each) for each in ids]
    counts = Counter(name.casefold() for name in names)
    return tuple(
        name if counts[name.casefold()] == 1 else f"{name} ({each})" for name, each in zip(names, ids, strict=True)
    )


def _table(
    tree: Tree, file: str, wanted: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, values of these columns) of each row; those of optional columns that are not there are "-1"."""
    where, rows = tree.path(file), _lines(tree, file)
    titles = next(rows, (1, []))[1]
    lacking = [title for title in wanted if title not in titles]
    if lacking:
        raise _wrong(where, 1, f"the titles {', '.join(titles[:12])} lack {', '.join(lacking)}")
    columns = [titles.index(title) if title in titles else len(titles) for title in (*wanted, *optional)]
    pick, width = itemgetter(*columns), len(titles)
    least = max(column for column in columns if column < width)
    for line, values in rows:
        if len(values) <= least:
            raise _wrong(where, line, f"the row has {len(values)} values, and {width} titles stand above it")
        yield line, pick(values if len(values) > width else [*values, *["-1"] * (width + 1 - len(values))])


def _lines(tree: Tree, file: str) -> Iterator[tuple[int, list[str]]]:
    """(line, values) of each row of a table, read as it is needed: those of Open Images have gigabytes."""
    where = tree.path(file)
    inside = archive.inside(where) is not None
    with contextlib.ExitStack() as stack:
        raw: IO[bytes] = io.BytesIO(tree.read(file)) if inside else stack.enter_context(Path(where).open("rb"))
        text = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""))
        reader, begins = csv.reader(text, strict=True), 1
        try:
            for values in reader:
                if values:
                    yield begins, values
                begins = reader.line_num + 1
        except csv.Error as error:
            raise _wrong(where, begins, f"the row that begins there breaks off or is badly quoted ({error})") from error
        except UnicodeDecodeError as error:  # met while a block of lines is read
            raise _wrong(where, begins, f"there or soon after, {error}") from error


def _numbers(told: Sequence[str], where: str, line: int) -> list[float]:
    try:
        values = [float(value) for value in told]
    except ValueError as error:
        raise _wrong(where, line, str(error)) from error
    if not all(abs(value) < _HUGE for value in values):
        raise _wrong(where, line, f"{', '.join(told)} are no shares of a picture")
    return values


def _wrong(where: str, line: int, how: str) -> DataError:
    return DataError(
        f"{where}, line {line}: {how}.",
        "A whole file as Open Images publishes it was expected.",
        "Mend that line, or fetch the file again.",
    )
