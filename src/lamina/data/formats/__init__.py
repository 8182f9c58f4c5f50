"""Readers, one file a format: what it looks like (`matches`, `LOOKS_FOR`) and what is in it (`open_tree`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from lamina.core.errors import DataError, unknown_name
from lamina.core.warnings import warn
from lamina.data import rows
from lamina.data.archive import inside, is_archive
from lamina.data.formats import (
    ade20k,
    ai_hub,
    camvid,
    celeba,
    cifar_binary,
    cityscapes,
    coco,
    cvat,
    flickr,
    idx,
    image_folder,
    imagenet,
    lfw,
    lvis,
    masks,
    open_images,
    pairs,
    shards,
    table,
    voc,
    wider_face,
    yolo,
)
from lamina.data.formats.several import refuse_several
from lamina.data.splits import Splits
from lamina.data.tree import Tree, nearest

__all__ = ["FORMATS", "open_path", "open_tasks", "open_tree"]

_FEW = 8  # folders beside the one of pictures: more are classes
_DEPTH = 3  # folders that an archive, or whoever unpacked it, puts around a data set


class Format(Protocol):
    """What a reader's file offers.

    One that knows several tasks may have `tasks_there(tree)`: those that there are files for, the usual one first, each with what
    `matches` says of it.
    """

    @property
    def LOOKS_FOR(self) -> str:  # noqa: N802 - a constant of the file
        """What the files look like, for a message."""
        ...

    @property
    def TASKS(self) -> tuple[str, ...]:  # noqa: N802
        """What the annotations are for, the usual one first."""
        ...

    def matches(self, tree: Tree) -> str:
        """By what the files are known to be of this format, as part of a sentence; empty where they are not."""
        ...

    def open_tree(self, tree: Tree, task: str) -> Splits[Any]:
        """The data set, for one of its tasks."""
        ...


FORMATS: dict[str, Format] = {  # the first that matches is taken, so what looks like much else comes last
    "lvis": lvis,
    "coco": coco,
    "open_images": open_images,
    "voc": voc,
    "cvat": cvat,
    "yolo": yolo,
    "wider_face": wider_face,
    "celeba": celeba,
    "cityscapes": cityscapes,
    "ade20k": ade20k,
    "camvid": camvid,
    "flickr": flickr,
    "lfw": lfw,
    "ai_hub": ai_hub,
    "imagenet": imagenet,
    "cifar_binary": cifar_binary,
    "idx": idx,
    "shards": shards,
    "pairs": pairs,
    "masks": masks,
    "table": table,
    "image_folder": image_folder,
}


def open_path(path: str | Path, format: str | None = None, *, task: str | None = None) -> Splits[Any]:
    """The data set in a folder, a zip or a tar, in the named format or in the first that matches, which `recognised` tells.

    `task` is for annotations of several kinds, such as COCO's: "detection", "keypoints", "captioning" ...; None takes the
    usual one. Archives are read where they lie. A folder of pictures holds a folder for each class, and all is `train`; or
    folders train, val (or valid, validation) and test (training, testing), which each hold such folders: see `image_folder`.

    Raises DataError that says what was looked for and what was found; UnknownNameError for an unknown format or task.
    """
    where = Path(path).expanduser()
    if _is_table(where, format):
        return table.open_table(where, task=task)
    return open_tree(_listed(where), format, task=task)


def open_tasks(path: str | Path, format: str | None = None) -> dict[str, Splits[Any] | DataError]:
    """As `open_path`, for every task that there are files for, the usual one first; the error in place of what cannot be opened.

    The name of the usual task is empty where only the files tell it, and they cannot be opened.
    """
    where = Path(path).expanduser()
    if _is_table(where, format):
        return _for_each([""], lambda _: table.open_table(where))
    name, tree, how = _recognised(_listed(where), format, None)
    return _for_each([*_tasks_there(name, tree)] or [""], lambda task: _opened(name, tree, task or None, how))


def _for_each(tasks: Iterable[str], opens: Callable[[str], Splits[Any]]) -> dict[str, Splits[Any] | DataError]:
    made: dict[str, Splits[Any] | DataError] = {}
    for task in tasks:
        try:
            splits = opens(task)
            made[task or splits.task] = splits
        except DataError as error:
            made[task] = error
    return made


def _is_table(where: Path, format: str | None) -> bool:
    """Whether the path is that of a table."""
    if format is not None and format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    return (
        where.suffix.lower() in rows.SUFFIXES and bool(where.is_file() or inside(where)) and format in (None, "table")
    )


def _listed(where: Path) -> Tree:
    """The files of a folder or an archive. Raises DataError where it is neither."""
    if not where.is_dir() and not (where.is_file() and is_archive(where)):
        raise DataError(
            f"{where} is {'a file' if where.exists() else 'not there'}.",
            "The path of a folder, a zip or a tar was expected.",
            "Pass the folder that holds a folder of pictures for each class."
            if image_folder.is_picture(where)
            else "Pass the folder that it is in."
            if where.exists()
            else " ".join(
                filter(
                    None, [nearest(where), "Check the spelling; lamina.data.names() lists data sets without a path."]
                )
            ),
        )
    return Tree(where)


def open_tree(top: Tree, format: str | None = None, *, task: str | None = None) -> Splits[Any]:
    """As `open_path`, of files that are listed already."""
    if format is not None and format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    name, tree, how = _recognised(top, format, task)
    return _opened(name, tree, task, how)


def _recognised(top: Tree, format: str | None, task: str | None) -> tuple[str, Tree, str]:
    """(the format, what is of it, by what that is known). Raises DataError where none is."""
    tree: Tree | None = top
    depth = 0
    looks = {name: reader.matches for name, reader in FORMATS.items()}
    while tree is not None and depth <= _DEPTH:
        for name in [format] if format is not None else FORMATS:
            if how := FORMATS[name].matches(tree):
                stray = name == "table" and format is None and task in (None, *image_folder.TASKS)
                if stray and (said := table.passed_over(tree)):
                    warn(said)
                    continue
                refuse_several(tree, name, looks, only=format)
                _warn_of_passed_over(top, tree)
                return name, tree, how
        refuse_several(tree, "", looks, only=format)
        tree, depth = _only_folder(tree), depth + 1
    if format is not None:
        return format, top, ""
    if any("/" in name and image_folder.is_picture(name) for name in top.names):
        return "image_folder", top, ""  # which says what is wrong with it
    raise _unrecognised(top)


def _opened(name: str, tree: Tree, task: str | None, how: str) -> Splits[Any]:
    reader = FORMATS[name]
    if task is not None and task not in reader.TASKS:
        raise unknown_name(f"task of the format {name}", task, reader.TASKS)
    there = _tasks_there(name, tree)
    task = next(iter(there), reader.TASKS[0]) if task is None else task
    splits = reader.open_tree(tree, task)
    how = there.get(task) or how
    said = "; ".join(each for each in (how, splits.recognised) if each)
    return replace(splits, format=name, recognised=said or "as it was named")


def _tasks_there(name: str, tree: Tree) -> dict[str, str]:
    """The tasks that there are files for, with what each is known by; of a format that knows one, that."""
    looks: Callable[[Tree], dict[str, str]] | None = getattr(FORMATS[name], "tasks_there", None)
    return {FORMATS[name].TASKS[0]: ""} if looks is None else looks(tree)


def _only_folder(tree: Tree) -> Tree | None:
    """What is in the folder, where that is all there is but texts, or where no other folder or file is of pictures."""
    folders = tree.folders()
    if len(folders) == 1 and len(tree.files()) <= 3:
        return tree.below(folders[0])
    if len(folders) > _FEW or any(map(image_folder.is_picture, tree.files())):
        return None
    inner = {folder: tree.below(folder) for folder in folders}
    filled = [folder for folder, each in inner.items() if any(map(image_folder.is_picture, each.names))]
    whole = len(filled) == 1 and all(len(each) for each in inner.values())  # an empty folder may be a class
    return inner[filled[0]] if whole else None


def _warn_of_passed_over(top: Tree, tree: Tree) -> None:
    """Warns once of folders beside the one that holds all pictures."""
    steps = os.path.relpath(tree.root, top.root).split(os.sep) if tree.root != top.root else []
    passed, at = list[str](), ""
    for step in steps:
        passed += [f"{at}{each}/" for each in top.folders(at) if each != step]
        at = f"{at}{step}/"
    if passed:
        warn(
            f"All pictures of {top.root} lie in {at}, which is read; {image_folder.few(passed)} beside it are not. "
            "If they tell classes or splits, sort the pictures by them, or write a table: see lamina.data.open_table."
        )


def _unrecognised(tree: Tree) -> DataError:
    loose = [name for name in tree.files() if image_folder.is_picture(name)]
    archives = [name for name in tree.files() if is_archive(name)]
    return DataError(
        f"{tree.root} holds {tree.digest()}.",
        f"No format was recognised. {_looked_for(tree)}",
        f"Sort the pictures into a folder for each class; if {tree.name} is one of the classes, pass the folder above it."
        + image_folder.named_after(loose)
        if loose
        else f"Unpack {image_folder.few(archives)} here, or pass one of them."
        if archives
        else "Arrange the files like this, or pass the folder that holds them.",
    )


def _looked_for(tree: Tree) -> str:
    """What files of the nearest formats look like, by the endings that there are, and the names of the others."""
    endings = {os.path.splitext(name)[1].lower() for name in tree.names} - {"", *image_folder.SUFFIXES}
    near = [name for name, reader in FORMATS.items() if any(ending in reader.LOOKS_FOR for ending in endings)]
    told = dict.fromkeys(["image_folder", *(near or ["masks", "table"])])
    lines = "".join(f"\n  {name}: {FORMATS[name].LOOKS_FOR}" for name in told)
    others = ", ".join(name for name in FORMATS if name not in told)
    return f"Looked for{lines}\nand for {others}.\n"
