"""Annotations and pictures that a reader leaves out: a few are told in one warning, many are an error; who listens hears of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from lamina.core.errors import DataError
from lamina.core.warnings import warn

# What is left out, as `lamina check` calls it; the last two are no errors.
BROKEN, MISSING, BARE, KEPT = "broken annotation", "missing", "not annotated", "strange annotation"
Listener = Callable[[str, str], None]  # takes one of these, and what is told of it: "place: what is wrong"

_NAMED = 3
_FEW = 3
_SHARE = 0.1
_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)


class LeftOutWarning(UserWarning):
    """Tells what was left out; who listened knows it."""


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within, `listener` hears of everything that readers leave out."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_listener(kind: str, told: str) -> None:
    """Tells one thing that is left out to who listens."""
    if (listener := _listener.get()) is not None:
        listener(kind, told)


class LeftOut:
    """Counts what is left out of a source, and keeps the first few by name. `what` is a plural: "rows of labels.csv"."""

    def __init__(self, what: str, remedy: str, *, kind: str = BROKEN) -> None:
        self.what, self.remedy, self.kind = what, remedy, kind
        self.count, self._first = 0, list[str]()

    def add(self, told: str) -> None:
        """One more: where it is, and what is wrong with it."""
        self.count += 1
        tell_listener(self.kind, f"{self.what}, {told}" if told.startswith("line ") else told)
        if len(self._first) < _NAMED:
            self._first.append(told)

    def tell(self, total: int, *, bearable: bool = False) -> None:
        """Warns once if there were any. Raises DataError where all of `total` are lost, or more than a tenth (and more than 3).

        `bearable`: any number is, but all.
        """
        if not self.count:
            return
        more = f"; and {self.count - _NAMED:,} more" if self.count > _NAMED else ""
        said = f"{self.count:,} of {total:,} {self.what} cannot be used: {'; '.join(self._first)}{more}."
        many = self.count > max(_FEW, _SHARE * total) and not bearable
        if many or self.count >= total:
            raise DataError(said, "Nearly all were expected to be whole.", self.remedy)
        warn(f"{said} They are left out. {self.remedy}", LeftOutWarning)
