"""Several archives and files as one tree: a data set whose pictures and annotations are fetched as files of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lamina.data.archive import is_archive
from lamina.data.tree import Tree, natural


class Loose(Tree):
    """Some files that lie right in a folder."""

    def __init__(self, folder: str | os.PathLike[str], names: Sequence[str]) -> None:
        self.root = os.path.abspath(folder)
        self._set(sorted(names, key=natural), [])


class Kept(Tree):
    """The files of one folder or archive whose names pass a test."""

    def __init__(self, tree: Tree, keeps: Callable[[str], bool]) -> None:
        self.root = tree.root
        self._set([name for name in tree.names if keeps(name)], [])


class Joined(Tree):
    """The files of several trees, by their names in these; of two that share a name the first counts.

    `root` is what messages call it. Paths are those of the trees, so they may lead into archives.
    """

    def __init__(self, root: str | os.PathLike[str], trees: Sequence[Tree]) -> None:
        self.root, self._trees = os.path.abspath(root), tuple(trees)
        self._owners: dict[str, int] = {}
        for number, tree in enumerate(self._trees):
            for name in tree.names:
                self._owners.setdefault(name, number)
        self._set(sorted(self._owners, key=natural), [])

    def path(self, name: str) -> str:
        """The whole path of a file, in the tree that has it."""
        number = self._owners.get(name)
        return super().path(name) if number is None else self._trees[number].path(name)

    def below(self, folder: str) -> Tree:
        """The files below one of its folders."""
        start = f"{folder.strip('/')}/"
        holding = [tree for tree in self._trees if any(name.startswith(start) for name in tree.names)]
        return Joined(super().path(folder.strip("/")), [tree.below(folder) for tree in holding])


def of_folder(folder: Path) -> Tree:
    """What lies in a folder; archives right in it are looked into, as if they were unpacked there."""
    tree = Tree(folder)
    archives = [name for name in tree.files() if is_archive(name)]
    if not archives:
        return tree
    rest = Loose(folder, [name for name in tree.names if name not in archives])
    return Joined(folder, [rest, *(Tree(tree.path(name)) for name in archives)])
