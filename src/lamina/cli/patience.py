"""What a command is at, on stderr, for who waits longer than a few seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from lamina.core import progress

_QUIET_S = 3.0  # a command that takes less says nothing
_BETWEEN_S = 2.0  # two lines of the same kind: "3 of 12"


class _Told:
    """Prints steps once the command has taken long: the one that it is at then, and those that follow."""

    def __init__(self, step: str) -> None:
        self._began = time.monotonic()
        self._step, self._last, self._lock = step, ("", -_BETWEEN_S), threading.Lock()
        self._timer = threading.Timer(_QUIET_S, self._say)
        self._timer.daemon = True
        self._timer.start()

    def __call__(self, step: str) -> None:
        with self._lock:
            self._step = step
        if time.monotonic() - self._began >= _QUIET_S:
            self._say()

    def end(self) -> None:
        """Prints no more."""
        self._timer.cancel()
        with self._lock:
            self._step = ""

    def _say(self) -> None:
        with self._lock:
            spent, head = time.monotonic() - self._began, self._step.partition(":")[0]
            said, when = self._last
            if not self._step or (head == said and spent - when < _BETWEEN_S):
                return
            self._last = head, spent
            print(f"{spent:4.0f} s  {self._step}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def told(first: str = "opening the model") -> Iterator[None]:
    """Has what happens inside tell its steps, of which it is at `first` when it begins."""
    listener = _Told(first)
    try:
        with progress.listening(listener):
            yield
    finally:
        listener.end()
