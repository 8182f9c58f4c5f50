"""Folders in which several data sets lie side by side: none of them is guessed, all are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lamina.core.errors import DataError
from lamina.data.formats import image_folder
from lamina.data.formats.gathered import split_of
from lamina.data.tree import Tree

_OWN = (  # formats that one folder holds whole: what matches them is no part of another
    "lvis",
    "coco",
    "open_images",
    "voc",
    "cvat",
    "yolo",
    "wider_face",
    "celeba",
    "cityscapes",
    "ade20k",
    "camvid",
    "flickr",
    "lfw",
)
_MOST = 32  # folders with folders in them that are looked into: more are classes
Matches = Callable[[Tree], str]


def refuse_several(tree: Tree, name: str, readers: Mapping[str, Matches], *, only: str | None = None) -> None:
    """Raises DataError where at least two folders hold a data set each, which is of the format `name` by one of them.

    `readers` tell of each format by what a tree is known to be of it. Folders of parts (train, val), flat ones, and the years of VOC
    are no data sets. What is of the format without these folders too stays what it is. `only` this format counts.
    """
    while len(tree.folders()) == 1 and not tree.files():
        tree = tree.below(tree.folders()[0])
    inner = [folder for folder in tree.folders() if tree.folders(folder) and not _is_part(folder)]
    if not 2 <= len(inner) <= _MOST:
        return
    found = {folder: told for folder in inner if (told := _format_of(tree.below(folder), readers))}
    if only is not None:
        found = {folder: told for folder, told in found.items() if told == only}
    years = all(folder.lower().startswith("voc") for folder in found)
    if len(found) < 2 or years or (name not in ("", _SORTED) and set(found.values()) == {_SORTED}):
        return
    if name in _OWN and readers[name](tree.without(list(found))):
        return
    listed = image_folder.few([f"{folder}/ ({told})" for folder, told in found.items()])
    raise DataError(
        f"{tree.root} holds {len(found)} data sets.", "One was expected.", f"Pass one of: {listed}; below that folder."
    )


_SORTED = "image_folder"


def _is_part(folder: str) -> bool:
    return bool(split_of(f"{folder}/", "")) or bool(image_folder.split_words(folder))


def _format_of(tree: Tree, readers: Mapping[str, Matches]) -> str:
    """The format that a folder with pictures is of, as a whole; parts of sorted pictures count; empty where it is of none."""
    if not any(map(image_folder.is_picture, tree.names)):
        return ""
    own = next((name for name in _OWN if readers[name](tree)), "")
    return own or (_SORTED if image_folder.has_parts(tree) else "")
