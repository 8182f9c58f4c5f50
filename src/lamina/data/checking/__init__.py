"""Faults of a data set, found before training: in its files, its pictures, its annotations, its classes and its parts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamina.core.errors import DataError, UnknownNameError
from lamina.data import archive, datasets, formats
from lamina.data.annotated import AnnotatedDataset
from lamina.data.checking.annotations import check_annotations
from lamina.data.checking.classes import check_classes
from lamina.data.checking.duplicates import check_duplicates
from lamina.data.checking.places import Places, check_archive, check_count, check_shards
from lamina.data.checking.report import LEVELS, Fault, Findings, Report
from lamina.data.checking.scan import Part, Pictures, read_all
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import is_picture
from lamina.data.looking import refuse_misspelt
from lamina.data.splits import Splits
from lamina.data.tree import Tree

__all__ = ["LEVELS", "Fault", "Report", "check"]


def check(
    data: Any,
    *,
    format: str | None = None,
    task: str | None = None,
    duplicates: bool = True,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """What is wrong with a data set: a path, a name, `Splits`, or one data set.

    Every picture is read and decoded once, as training does it. Without `duplicates` copies are not looked for. `progress` is
    called with how many pictures of how many are done. What no reader can open is an error in the report, and the pictures
    found there are checked by themselves; so is a folder of loose pictures, and a single picture.

    Raises DataError where there is nothing at the path, UnknownNameError for an unknown name, format or task.
    """
    findings = Findings()
    with warnings.catch_warnings():
        parts, told, root = _opened(data, format, task, findings)
        if not parts:
            return findings.report(told, root, 0)
        warnings.simplefilter("ignore")  # of Pillow's: what it warns of is told as a fault
        pictures = Pictures(parts)
        read_all(pictures, findings, Places(root), looks=duplicates, threads=threads, progress=progress)
    for number, part in enumerate(pictures.parts):
        if isinstance(part, AnnotatedDataset):
            check_annotations(pictures, number, findings)
    check_classes(pictures, findings)
    if duplicates:
        check_duplicates(pictures, findings)
    if os.path.exists(root):
        check_count(len(pictures), root, findings)
        inner = archive.inside(root)
        if inner is not None or (os.path.isfile(root) and archive.is_archive(root)):
            check_archive(inner[0] if inner else root, findings)
        check_shards(root, findings)
    return findings.report(told, root, len(pictures))


def _opened(data: Any, format: str | None, task: str | None, findings: Findings) -> tuple[dict[str, Part], str, str]:
    """(parts by name, what the data is, its folder)."""
    if isinstance(data, Splits):
        return data.parts(), str(data), _root(next(iter(data.parts().values())))
    if not isinstance(data, str | os.PathLike):
        return {"data": data}, repr(data), _root(data)
    name, path = os.fspath(data), Path(data).expanduser()
    root = os.path.abspath(path)
    if not path.exists() and format is None and name in datasets.names():
        splits = datasets.load(name)
        return splits.parts(), str(splits), ""
    refuse_misspelt(name)
    if path.is_file() and is_picture(path):
        return {"pictures": _loose([root], os.path.dirname(root))}, root, os.path.dirname(root)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            splits = formats.open_path(path, format, task=task)
        except UnknownNameError:
            raise
        except DataError as error:
            if not path.exists():
                raise
            return _unopened(root, format, error, findings), root, root
    for warning in said:
        findings.add("doubt", "reader's warning", root, str(warning.message))
    return splits.parts(), str(splits), root


def _unopened(root: str, format: str | None, problem: DataError, findings: Findings) -> dict[str, Part]:
    """The pictures of what no reader can open; loose ones alone are no fault."""
    try:
        tree = Tree(root)
    except (DataError, OSError):
        findings.add("error", "not opened", root, str(problem))
        return {}
    if not len(tree):
        findings.add("error", "not opened", root, "it holds no file")
        return {}
    found = [name for name in tree.names if is_picture(name)]
    if not found or format is not None or any("/" in name for name in found) or _is_known(tree):
        notes = " ".join(getattr(problem, "__notes__", ()))
        findings.add("error", "not opened", root, f"{problem} {notes}".strip())
    return {"pictures": _loose([tree.path(name) for name in found], root)} if found else {}


def _is_known(tree: Tree) -> bool:
    return any(reader.matches(tree) for reader in formats.FORMATS.values())


def _loose(paths: list[str], root: str) -> FolderDataset:
    """Pictures without labels: all of one class."""
    return FolderDataset(paths, [0] * len(paths), ("pictures",), root=root)


def _root(part: Any) -> str:
    return os.path.abspath(part.root) if hasattr(part, "root") else ""
