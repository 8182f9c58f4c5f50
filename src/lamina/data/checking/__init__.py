"""Faults of a data set, found before training: in its files, its pictures, its annotations, its classes and its parts."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamina.core.errors import DataError
from lamina.data import archive, datasets, formats
from lamina.data.annotated import AnnotatedDataset
from lamina.data.checking.annotations import check_annotations
from lamina.data.checking.classes import check_classes
from lamina.data.checking.duplicates import check_duplicates
from lamina.data.checking.places import Places, check_archive, check_count, check_shards
from lamina.data.checking.report import LEVELS, Fault, Findings, Report
from lamina.data.checking.scan import Part, Pictures, read_all
from lamina.data.dataset import FolderDataset
from lamina.data.formats.gathered import split_of
from lamina.data.formats.image_folder import is_picture
from lamina.data.formats.table_rows import ContradictionError
from lamina.data.left_out import BARE, KEPT, LeftOutWarning, listening
from lamina.data.looking import refuse_misspelt
from lamina.data.rows import SUFFIXES
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

    Every picture is read and decoded once, as training does it, however many tasks (COCO's instances, keypoints, captions ...) a
    path has annotations for: all are looked at, or the `task` that is named. Without `duplicates` copies are not looked for. `progress` is
    called with how many pictures of how many are done. What no reader can open is an error in the report, and the pictures
    found there are checked by themselves; so is a folder of loose pictures, and a single picture.

    Raises DataError where there is nothing at the path, UnknownNameError for an unknown name, format or task.
    """
    findings = Findings()
    with warnings.catch_warnings():
        found = _opened(data, format, task, findings)
        root = found.root
        if not found.parts:
            _check_entries(root, findings)
            return findings.report(found.told, root, 0)
        warnings.simplefilter("ignore")  # of Pillow's: what it warns of is told as a fault
        pictures = Pictures(found.parts, found.more)
        read_all(pictures, findings, Places(root), looks=duplicates, threads=threads, progress=progress)
    for number, part in enumerate(pictures.parts):
        if isinstance(part, AnnotatedDataset):
            check_annotations(pictures, number, findings)
    check_classes(pictures, findings)
    if duplicates:
        check_duplicates(pictures, findings)
    if os.path.exists(root):
        check_count(len(pictures), root, findings)
        _check_entries(root, findings)
        check_shards(root, findings)
    return findings.report(found.told, root, len(pictures), found.tasks)


def _check_entries(root: str, findings: Findings) -> None:
    """What is in an archive that is or holds the data, where it can be opened at all."""
    inner = archive.inside(root)
    if inner is not None or (os.path.isfile(root) and archive.is_archive(root)):
        with contextlib.suppress(DataError, OSError):  # which is told already
            check_archive(inner[0] if inner else root, findings)


@dataclass(frozen=True)
class _Opened:
    """The parts by name, what the data is, its folder, the tasks, and the parts for all but the first of these."""

    parts: Mapping[str, Part]
    told: str
    root: str
    tasks: tuple[str, ...] = ()
    more: Mapping[str, Mapping[str, Part]] = field(default_factory=dict)


def _opened(data: Any, format: str | None, task: str | None, findings: Findings) -> _Opened:
    if isinstance(data, Splits):
        return _Opened(data.parts(), str(data), _root(next(iter(data.parts().values()))), (data.task,))
    if not isinstance(data, str | os.PathLike):
        return _Opened({"data": data}, repr(data), _root(data), (data.task,) if hasattr(data, "task") else ())
    name, path = os.fspath(data), Path(data).expanduser()
    root = os.path.abspath(path)
    if not path.exists() and format is None and name in datasets.names():
        splits = datasets.load(name, task=task)
        return _Opened(splits.parts(), str(splits), "", (splits.task,))
    refuse_misspelt(name)
    if path.is_file() and is_picture(path):
        return _Opened({"pictures": _loose([root], os.path.dirname(root))}, root, os.path.dirname(root))
    every = dict[str, Splits[Any] | DataError]()
    left_out = dict[tuple[str, str], None]()  # each once, though several tasks are read
    with (
        warnings.catch_warnings(record=True) as said,
        listening(lambda kind, text: left_out.setdefault((kind, text))),
    ):
        warnings.simplefilter("always")
        try:
            if task is None:
                every.update(formats.open_tasks(path, format))
            else:
                every[task] = formats.open_path(path, format, task=task)
        except DataError as error:
            if not path.exists():
                raise
            every[task or ""] = error
    for text in dict.fromkeys(str(warning.message) for warning in said if warning.category is not LeftOutWarning):
        findings.add("doubt", "reader's warning", root, text)
    for kind, text in left_out:
        where, _, what = text.partition(": ")
        findings.add("doubt" if kind in (BARE, KEPT) else "error", kind, where if what else root, what or where)
    opened = {task: each for task, each in every.items() if isinstance(each, Splits)}
    wrong = [(task, each) for task, each in every.items() if isinstance(each, DataError)]
    if not opened:
        parts = _unopened(root, format, wrong[0][1], findings)
        wrong = wrong[1:]
    for name, problem in wrong:
        findings.add("error", "not opened", root, f"for {name}: {_in_full(problem)}")
    if not opened:
        return _Opened(parts, root, root)
    first, *others = opened
    more = {name: opened[name].parts() for name in others}
    return _Opened(opened[first].parts(), str(opened[first]), root, tuple(opened), more)


def _unopened(root: str, format: str | None, problem: DataError, findings: Findings) -> dict[str, Part]:
    """The pictures of what no reader can open; loose ones alone are no fault."""
    try:
        tree = Tree(os.path.dirname(root) if root.lower().endswith(SUFFIXES) else root)  # of a table its folder
    except (DataError, OSError):
        findings.add("error", "not opened", root, str(problem))
        return {}
    if not len(tree):
        findings.add("error", "not opened", root, "it holds no file")
        return {}
    found = [name for name in tree.names if is_picture(name)]
    if not found or format is not None or any("/" in name for name in found) or _is_known(tree):
        findings.add("error", "not opened", root, _in_full(problem))
    for picture, place, what in problem.rows if isinstance(problem, ContradictionError) else ():
        findings.add("error", "two labels", picture, f"it {what}", origin=place)
    parts: dict[str, list[str]] = {}
    for name in found:
        parts.setdefault(split_of(name), []).append(tree.path(name))
    return {name if len(parts) > 1 else "pictures": _loose(paths, root) for name, paths in parts.items()}


def _in_full(problem: DataError) -> str:
    return " ".join([str(problem), *getattr(problem, "__notes__", ())])


def _is_known(tree: Tree) -> bool:
    return any(reader.matches(tree) for reader in formats.FORMATS.values())


def _loose(paths: list[str], root: str) -> FolderDataset:
    """Pictures without labels: all of one class."""
    return FolderDataset(paths, [0] * len(paths), ("pictures",), root=root)


def _root(part: Any) -> str:
    return os.path.abspath(part.root) if hasattr(part, "root") else ""
