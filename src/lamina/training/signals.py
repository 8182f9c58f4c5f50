"""Ctrl-C and SIGTERM, kept until training can stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def noting(note: Callable[[int], None]) -> Iterator[None]:
    """Hands Ctrl-C and SIGTERM to `note` as they come. A second Ctrl-C stops at once; a second SIGTERM changes nothing, for those who
    send one (torchrun, a cluster) often send several, and the run is being saved.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if number == signal.SIGINT and pressed:
            raise KeyboardInterrupt("Stopped at once by a second Ctrl-C, which did not wait for the run to be saved.")
        pressed = pressed or number == signal.SIGINT
        note(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
