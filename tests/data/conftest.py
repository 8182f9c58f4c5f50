"""What the tests of data share."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def within() -> Callable[[float], contextlib.AbstractContextManager[None]]:
    """`with within(seconds)` fails where something hangs."""

    @contextlib.contextmanager
    def limited(seconds: float) -> Iterator[None]:
        def give_up(*_: object) -> None:
            raise TimeoutError(f"It took more than {seconds} s.")

        before = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return limited
