"""What long work is at, told to whoever listens: the command line does. Where nobody listens a step costs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

Listener = Callable[[str], None]
T = TypeVar("T")

_listener: ContextVar[Listener | None] = ContextVar("lamina_progress", default=None)


def step(text: str) -> None:
    """Tells what begins now, in a few words: "writing ONNX"."""
    listener = _listener.get()
    if listener is not None:
        listener(text)


def counted(text: str, things: Iterable[T], total: int) -> Iterator[T]:
    """The things, and of each which of how many it is: "looking at pictures: 3 of 12"."""
    for number, thing in enumerate(things, 1):
        step(f"{text}: {number:,} of {total:,}")
        yield thing


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Has steps told to `listener` meanwhile, in this thread."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)
