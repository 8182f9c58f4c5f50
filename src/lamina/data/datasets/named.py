"""What is known of a data set by its name, before anything of it is fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lamina.data.splits import Splits
from lamina.data.tree import Tree

Read = Callable[[Tree, str], Splits[Any]]


@dataclass(frozen=True)
class Remote:
    """One file: where it is fetched, its published hash (see `core.download`), its bytes, and the name under which it is kept.

    `mirrors` are asked where the address gives nothing. `inner`: the archive in it that holds the data.
    """

    url: str
    digest: str
    size: int
    name: str = ""
    inner: str = ""
    mirrors: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The name under which it is kept."""
        return self.name or self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Named:
    """A data set by name: for which `tasks` (the usual one first), how many pictures, under which licence, whose work.

    `files` are fetched, and read together by the reader `read`: the name of a format, or a function. `load` is in place of both.
    `classes` are their names where the files have none that a person reads. `by_hand` says how a person gets what is not
    fetched here; then the `files` have no address. `folder`: of several data sets that come in one file.
    """

    tasks: tuple[str, ...]
    pictures: int
    licence: str
    cite: str
    files: tuple[Remote, ...] = ()
    read: str | Read = ""
    load: Callable[[], Splits[Any]] | None = None
    classes: tuple[str, ...] = ()
    by_hand: str = ""
    folder: str = ""

    @property
    def size(self) -> int:
        """Bytes to fetch; 0 where nobody says."""
        return sum(file.size for file in self.files)
