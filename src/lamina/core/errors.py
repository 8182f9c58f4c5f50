"""Errors in three parts: what came, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class LaminaError(ValueError):
    """Bad input. Built from three sentences: what came, what was expected, what to do."""

    def __init__(self, came: str, expected: str, remedy: str) -> None:
        super().__init__(came, expected, remedy)
        self.came, self.expected, self.remedy = came, expected, remedy

    def __str__(self) -> str:
        return f"{self.came} {self.expected} {self.remedy}"


class ShapeError(LaminaError):
    """Shapes that do not fit together; names the layer or argument and both shapes."""


class UnknownNameError(LaminaError):
    """A name that is in no table; lists the nearest that are."""


class DataError(LaminaError):
    """Images, labels or files of a data set that cannot be used as they are."""


class FileFormatError(LaminaError):
    """A model file that is foreign, damaged, or asks for what no model file may ask."""


class DownloadError(LaminaError):
    """A file that no address would give, or none with the right hash; lists what came of each."""


class MissingExtraError(ImportError):
    """An optional dependency that is not installed; names the line that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional dependency. Install it with: pip install "lamina[{extra}]"')


def nearest_names(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """The `count` names of `known` that are spelled most like `name`, best first; all of them if there are at most 8."""
    names = list(known)
    lower = {candidate.lower(): candidate for candidate in names}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=count, cutoff=0.3)]
    return close or names[:8]


def listed(things: Sequence[object], *, most: int = 8) -> str:
    """The first few of some names or numbers, and how many more there are."""
    more = f" and {len(things) - most:,} more" if len(things) > most else ""
    return ", ".join(map(str, things[:most])) + more


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not in the table of its kind ("optimizer", "loss", ...)."""
    names = list(known)
    near = ", ".join(repr(candidate) for candidate in nearest_names(str(name), names))
    return UnknownNameError(
        f"There is no {kind} called {name!r}.",
        f"The nearest of the {len(names)} known names: {near}.",
        f"Use one of these, or pass the {kind} as an object.",
    )
