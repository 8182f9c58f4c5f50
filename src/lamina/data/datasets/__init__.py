"""Data sets by name: found in the package or in the cache, fetched on request, and checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lamina.core.errors import unknown_name
from lamina.data import formats
from lamina.data.datasets.fetching import at_hand, tree_of
from lamina.data.datasets.named import Named
from lamina.data.datasets.of_classes import OF_CLASSES
from lamina.data.datasets.of_objects import OF_OBJECTS
from lamina.data.splits import Splits

__all__ = ["described", "load", "names"]

_TABLE: dict[str, Named] = {**OF_CLASSES, **OF_OBJECTS}


def load(name: str, *, task: str | None = None) -> Splits[Any]:
    """The splits of a named data set, fetched where they are not in the cache; `task` where it is for several.

    Address, size and licence are told before bytes come. Raises UnknownNameError with the nearest names, DownloadError, and
    DataError that says what a person has to fetch, and where to put it, where its owners ask for that.
    """
    if name not in _TABLE:
        raise unknown_name("data set", name, _TABLE)
    named = _TABLE[name]
    if task is not None and task not in named.tasks:
        raise unknown_name(f"task of the data set {name}", task, named.tasks)
    if named.load is not None:
        return named.load()
    tree, read, chosen = tree_of(name, named), named.read, task or named.tasks[0]
    splits = formats.open_tree(tree, read, task=chosen) if isinstance(read, str) else read(tree, chosen)
    for part in splits.parts().values():
        if len(part.classes) <= len(named.classes):
            part.classes = named.classes
    return replace(splits, name=name, licence=f"{named.licence}; {named.cite}")


def names() -> list[str]:
    """The names that `load` knows."""
    return sorted(_TABLE)


def described() -> list[dict[str, Any]]:
    """What is known of each: name, tasks, pictures, bytes to fetch, licence, citation, and whether it is at hand or fetched by hand."""
    return [
        {
            "name": name,
            "tasks": list(named.tasks),
            "pictures": named.pictures,
            "bytes": named.size,
            "licence": named.licence,
            "cite": named.cite,
            "by_hand": bool(named.by_hand),
            "at_hand": at_hand(name, named),
        }
        for name, named in sorted(_TABLE.items())
    ]
