"""Tables of pictures, CSV or TSV, with any columns: labels, several labels, boxes, or captions.

A folder holds one table, or train.csv, val.csv and test.csv, or one in each of the folders train/, val/ and test/, and pictures
anywhere below. Columns are known by their names and by what is in them (see `table_columns`); `recognised` says which was
taken for what, and `open_table` takes them by name. A picture with several boxes, or captions, has a row for each. Pictures are
named with or without their folders and endings.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamina.core.errors import DataError, unknown_name
from lamina.data.archive import inside
from lamina.data.formats.image_folder import SPLITS, are_classes, is_picture
from lamina.data.formats.named_pictures import NamedPictures
from lamina.data.formats.table_columns import Asked, Columns, guess, head, in_words
from lamina.data.formats.table_rows import gathered
from lamina.data.rows import SUFFIXES, rows
from lamina.data.splits import Splits
from lamina.data.tree import Tree, nearest

TASKS = ("classification", "detection", "captioning")
LOOKS_FOR = (
    "a table (.csv, .tsv) of which a column names pictures that are there, and others their labels, boxes or captions"
)
_ORDER = ("train", "validation", "test")
_NOT = ("samplesubmission", "submission")  # what contests want back: made-up labels
_OF_SPLIT = re.compile(r"(?<![a-z])(?P<split>train|training|val|valid|validation|test|testing)(?![a-z])", re.IGNORECASE)


def matches(tree: Tree) -> str:
    """The table, if one of its columns names pictures."""
    if not any(name.lower().endswith(SUFFIXES) for name in tree.names) or not any(map(is_picture, tree.names)):
        return ""
    _, found = _looked_at(tree)
    return ", ".join(found) + " names pictures" if found else ""


def passed_over(tree: Tree) -> str:
    """Why the folders of classes are taken and not the table, which names less than half of their pictures; empty where it is."""
    index, found = _looked_at(tree)
    if not found or not are_classes(tree):
        return ""
    named, total = _named(tree, found, index), len(index.names)
    if 2 * named >= total:
        return ""
    does = "names" if len(found) == 1 else "name"
    return (
        f"{', '.join(found)} {does} {named:,} of {total:,} pictures; the folders are taken as classes. "
        "For the table: --format table, in Python format='table'."
    )


def tasks_there(tree: Tree) -> dict[str, str]:
    """What the table's columns are for, by which it is known; captions beside labels too."""
    index, found = _looked_at(tree)
    columns = _guessed(tree, next(iter(found)), index, Asked()) if found else None
    if columns is None:
        return {}
    both = columns.task == TASKS[0] and columns.caption is not None
    return dict.fromkeys((columns.task, *TASKS[2:]) if both else (columns.task,), matches(tree))


def open_tree(tree: Tree, task: str) -> Splits[Any]:
    """The splits. Raises DataError, naming file and line, for rows that cannot be read, and where columns cannot be told."""
    index, found = _looked_at(tree)
    if not found:
        named = [name for name in tree.names if name.lower().endswith(SUFFIXES)]
        raise DataError(
            f"{tree.root} holds {'no table' if not named else f'{len(named):,} tables ({named[0]})'} whose columns can be told.",
            f"Expected {LOOKS_FOR}.",
            "Name the table and its columns: data.open_table('labels.csv', image='file', label='class').",
        )
    return _opened(tree, found, Asked(), task, (index, tree))


def open_table(
    path: str | Path,
    *,
    image: str | None = None,
    label: str | Sequence[str] | None = None,
    boxes: str | Sequence[str] | None = None,
    box_format: str | None = None,
    caption: str | None = None,
    split: str | None = None,
    pictures: str | Path | None = None,
    task: str | None = None,
) -> Splits[Any]:
    """The data set that a table (CSV or TSV) describes, by the names of its columns; what is None is guessed.

    `image`: the column of the pictures, named with or without folders and endings. `label`: the column of the class, or of
    several between "|", ";" or ","; or several columns, one for each class, of 0 and 1. `boxes`: four columns, or one with four
    numbers; `box_format` says that they are "xyxy", two corners, or "xywh", a corner and the size; numbers that are all
    between 0 and 1 are shares of the picture's size. `caption`: the column of a text. `split`: the column that says train, val or
    test, or names other parts. `pictures`: the folder or archive of the pictures; None is the table's own folder, and whole
    paths lead to pictures anywhere. `task`: what to take of columns for several. Without a header the columns are called
    "column 1", "column 2" ...

    A table of boxes gives an AnnotatedDataset for detection, one of captions for captioning, one of labels a FolderDataset.
    Raises DataError, naming file and line, for rows that cannot be read; UnknownNameError for a column that is not there.

        data.open_table("pets.csv", image="file", label="breed", split="fold")
        data.open_table("cars.csv", boxes=("left", "top", "w", "h"), box_format="xywh", label="kind")
    """
    if box_format not in (None, "xyxy", "xywh"):
        raise DataError(f"box_format is {box_format!r}.", "It is 'xyxy' or 'xywh'.", "Pass one of these, or None.")
    sizes = None if box_format is None else box_format == "xywh"
    where = Path(path).expanduser()
    place = inside(where)
    if place is None and not where.is_file():
        raise DataError(
            f"{where} is not there.",
            "The path of a table was expected.",
            f"Check the spelling. {nearest(where)}".strip(),
        )
    holder, name = (where.parent, where.name) if place is None else place
    tree = Tree(holder)
    seen = tree if pictures is None else Tree(pictures)
    asked = Asked(image, label, boxes, sizes, caption, split)
    if task is not None and task not in TASKS:
        raise unknown_name("task of a table", task, TASKS)
    split = SPLITS.get(_split_of(name), "train")
    return _opened(tree, {name: split}, asked, task, (NamedPictures(seen, anywhere=place is None), seen))


def _opened(
    tree: Tree, tables: dict[str, str], asked: Asked, task: str | None, pictures: tuple[NamedPictures, Tree]
) -> Splits[Any]:
    index, seen = pictures
    first = next(iter(tables))
    header, _ = head(tree, first)
    columns = _guessed(tree, first, index, asked)
    if columns is None:
        raise DataError(
            f"{tree.path(first)} has the columns {', '.join(header)}; {len(index.names):,} pictures are in {seen.root}.",
            "A column that names these pictures, and one of labels, boxes or captions, were expected.",
            "Name them: data.open_table('labels.csv', image='file', label='class', pictures='photos/').",
        )
    if task is not None and task != columns.task:
        columns = _for_task(columns, task, tree.path(first), header)
    for name in tables:
        if head(tree, name)[0] != header:
            raise DataError(
                f"{tree.path(name)} has other columns than {first}.",
                "Tables of one data set have the same columns.",
                "Open them one at a time: data.open_table(...).",
            )
    parts = gathered(tree, tables, header, columns, pictures)
    others = {name: part for name, part in parts.items() if name not in _ORDER}
    return Splits(
        parts.get("train"),
        parts.get("test"),
        parts.get("validation"),
        name=tree.name,
        others=others,
        recognised=in_words(columns, header),
        format="table",
    )


def _for_task(columns: Columns, task: str, path: str, header: list[str]) -> Columns:
    """The columns that a task needs, without the others. Raises DataError where they are not there."""
    held = {"detection": bool(columns.boxes), "captioning": columns.caption is not None}
    if task == "classification" and columns.labels and not columns.boxes:
        return Columns(columns.image, columns.labels, split=columns.split, separator=columns.separator)
    if task == "captioning" and held[task] and not columns.boxes:
        return Columns(columns.image, caption=columns.caption, split=columns.split)
    if not held.get(task, False):
        raise DataError(
            f"{path} has {in_words(columns, header)}, which is for {columns.task}.",
            f"Columns for {task} were expected.",
            f"Ask for {columns.task}, or name the columns: data.open_table(...).",
        )
    return columns


def _guessed(tree: Tree, name: str, index: NamedPictures, asked: Asked) -> Columns | None:
    header, first = head(tree, name)
    return guess(header, first, index, asked)


_LOOKED_AT: weakref.WeakKeyDictionary[Tree, tuple[NamedPictures, dict[str, str]]] = weakref.WeakKeyDictionary()


def _looked_at(tree: Tree) -> tuple[NamedPictures, dict[str, str]]:
    """The pictures and the tables of a tree, looked for once: three questions are asked of it in turn."""
    if tree not in _LOOKED_AT:
        index = NamedPictures(tree)
        _LOOKED_AT[tree] = index, _tables(tree, index)
    return _LOOKED_AT[tree]


def _tables(tree: Tree, index: NamedPictures) -> dict[str, str]:
    """The tables whose columns can be told, and the split of each; beside folders of classes the first that name most pictures."""
    first: dict[str, str] = {}
    sorted_already = are_classes(tree)
    tops = tree.files(suffixes=SUFFIXES)
    inner = [
        name for folder in tree.folders() if folder.lower() in SPLITS for name in tree.files(folder, suffixes=SUFFIXES)
    ]
    for names in (tops, inner):
        kept = [name for name in names if not re.sub(r"[^a-z/]", "", name.lower()).rpartition("/")[2].startswith(_NOT)]
        told = {name: _split_of(name) for name in kept}
        named = {name: SPLITS[split] for name, split in told.items() if split}
        named = dict(sorted(named.items(), key=lambda item: _ORDER.index(item[1])))
        for chosen in (named, *({name: "train"} for name in kept)):
            good = {name: split for name, split in chosen.items() if _is_told(tree, name, index)}
            if good and len(set(good.values())) == len(good):
                if not sorted_already or 2 * _named(tree, good, index) >= len(index.names):
                    return good
                first = first or good
    return first


def _named(tree: Tree, tables: dict[str, str], index: NamedPictures) -> int:
    """How many of the pictures the rows of tables name."""
    named = set[str]()
    for table in tables:
        columns = _guessed(tree, table, index, Asked())
        try:
            for _, values in rows(tree, table) if columns is not None else ():
                if columns is not None and columns.image < len(values):
                    named.update(index.all_called(values[columns.image]))
        except DataError:  # a row that breaks off: told where the table is read
            continue
    return len(named)


def _is_told(tree: Tree, name: str, index: NamedPictures) -> bool:
    try:
        return _guessed(tree, name, index, Asked()) is not None
    except DataError:
        return False


def _split_of(name: str) -> str:
    """The word for a split in the name of a table, or of its folder; empty where there is none."""
    last = Path(name).stem
    match = _OF_SPLIT.search(last)
    folder = name.split("/")[0].lower()
    return match["split"].lower() if match is not None else folder if "/" in name and folder in SPLITS else ""
