"""Labelled pictures from lists of their names, as several data sets come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import few
from lamina.data.origins import Origins
from lamina.data.tree import Tree


def listed(
    tree: Tree, rows: Iterable[tuple[str, int, int]], classes: Sequence[str], *, file: str, word: str = "line"
) -> FolderDataset:
    """The data set of (picture, label, line of the list `file`). Pictures that are not there are named in a warning.

    Raises DataError where none is there, or a label is none of a class.
    """
    paths, labels, numbers, missing = [], [], [], []
    for name, label, number in rows:
        if not 0 <= label < len(classes):
            raise DataError(
                f"{tree.path(file)}, {word} {number}: the label is {label}.",
                f"With {len(classes)} classes labels lie in 0..{len(classes) - 1}.",
                "Fetch the file again.",
            )
        if name not in tree:
            missing.append(name)
            continue
        paths.append(tree.path(name))
        labels.append(label)
        numbers.append(number)
    if not paths:
        raise DataError(
            f"None of the {len(missing):,} pictures that {tree.path(file)} lists is in {tree.root}.",
            "The pictures of the data set were expected there.",
            "Delete its folder, so that it is fetched again.",
        )
    if missing:
        warn(f"{len(missing):,} pictures that {tree.path(file)} lists are not in {tree.root}: {few(missing)}.")
    origins = Origins([tree.path(file)], np.array(numbers, dtype=np.int64), word=word)
    return FolderDataset(paths, labels, classes, root=tree.root, origins=origins)


def fields(tree: Tree, file: str, *, count: int, separator: str | None = None) -> Iterable[tuple[int, list[str]]]:
    """(line, its fields) of a list whose lines have `count` fields or more. Raises DataError with the line that has fewer."""
    for number, line in tree.lines(file):
        parts = line.split(separator)
        if len(parts) < count:
            raise DataError(
                f"{tree.path(file)}, line {number}: {line[:80]!r} has {len(parts)} fields.",
                f"{count} were expected.",
                "Fetch the file again.",
            )
        yield number, parts
