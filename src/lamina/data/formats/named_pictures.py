"""Which picture an annotation means: by name, and where several share it, by the folders that they have in common."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from lamina.data.archive import inside
from lamina.data.formats.image_folder import SUFFIXES, is_picture
from lamina.data.tree import Tree


class NamedPictures:
    """The pictures of a tree by their names without folders and endings.

    `apart`: names of folders whose pictures are none (masks). With `anywhere` the whole path of any picture on this machine is
    found too, which is for tables that somebody passes, never for those that lie in data of others.
    """

    def __init__(self, tree: Tree, *, apart: Collection[str] = (), anywhere: bool = False) -> None:
        self._root, self._anywhere = tree.root, anywhere
        self._archives = dict[str, Tree]()
        self.names = [name for name in tree.names if is_picture(name) and not _lies_in(name, apart)]
        self._known = set(self.names)
        self._by_stem: dict[str, list[str]] = {}
        for name in self.names:
            self._by_stem.setdefault(stem(name), []).append(name)

    def find(self, name: str, *, near: str = "") -> str | None:
        """The picture of this name, with or without folders and ending, as written on whatever machine; None if there is none.

        Of several the one whose folders and ending fit `name` best, then the one that lies nearest to the file `near`.
        """
        plain = name.replace("\\", "/").removeprefix("./")
        if plain in self._known:
            return plain
        if self._anywhere and os.path.isabs(name):
            below = os.path.relpath(name, self._root).replace(os.sep, "/")
            if below in self._known:
                return below
            if self._is_there(name):
                return name
        found = self._by_stem.get(stem(plain), ())
        if len(found) < 2:
            return found[0] if found else None
        return max(found, key=lambda each: (*_likeness(each, plain), *_nearness(each, near)))

    def all_called(self, name: str) -> list[str]:
        """Every picture of this name where it comes without folders, such as those of other sizes; else the one that it means."""
        if "/" not in name and "\\" not in name:
            return self._by_stem.get(stem(name), [])
        found = self.find(name)
        return [] if found is None else [found]

    def _is_there(self, path: str) -> bool:
        """Whether a whole path is that of a picture, on the disk or in an archive, which is listed once."""
        if not is_picture(path):
            return False
        place = inside(path)
        if place is None:
            return os.path.isfile(path)
        if place[0] not in self._archives:
            self._archives[place[0]] = Tree(place[0])
        return place[1] in self._archives[place[0]]


def stem(name: str) -> str:
    """A file's name without folders, and without the ending of a picture or of an annotation."""
    last = name.rpartition("/")[2]
    start, ending = os.path.splitext(last)
    return start if ending.lower() in (*SUFFIXES, ".xml", ".txt", ".json") else last


def _lies_in(name: str, folders: Collection[str]) -> bool:
    return bool(folders) and any(part in folders for part in name.split("/")[:-1])


def _likeness(name: str, wanted: str) -> tuple[int, bool]:
    """(how many of the last folders agree, whether the endings do)."""
    pairs = zip(reversed(name.split("/")[:-1]), reversed(wanted.split("/")[:-1]), strict=False)
    return _run(pairs), name.rpartition("/")[2].lower() == wanted.rpartition("/")[2].lower()


def _nearness(name: str, near: str) -> tuple[int, int]:
    """(how many folders of the two have the same name, how many of the first ones agree)."""
    one, other = name.split("/")[:-1], near.split("/")[:-1]
    return len(set(one) & set(other)), _run(zip(one, other, strict=False))


def _run(pairs: Iterable[tuple[str, str]]) -> int:
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
