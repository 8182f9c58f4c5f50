"""Data sets by name: found in the package, or fetched on request, and checked."""

from __future__ import annotations

from collections.abc import Callable

from lamina.core.errors import unknown_name
from lamina.data.dataset import ImageDataset
from lamina.data.datasets import cifar10, mnist
from lamina.data.splits import Splits

__all__ = ["load", "names"]

_TABLE: dict[str, Callable[[], Splits[ImageDataset]]] = {"cifar10": cifar10.load, "mnist": mnist.load}


def load(name: str) -> Splits[ImageDataset]:
    """The splits of a named data set. Raises UnknownNameError with the nearest names."""
    if name not in _TABLE:
        raise unknown_name("data set", name, _TABLE)
    return _TABLE[name]()


def names() -> list[str]:
    """The names that `load` knows."""
    return sorted(_TABLE)
