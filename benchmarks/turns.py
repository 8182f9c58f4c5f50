"""Times a peer, ours in the peer's settings, and ours in our own, which take turns, and tells them in a row."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

HEADINGS = f"{'peer, ms':>10}{'theirs':>9}{'ours':>9}{'x theirs':>10}{'x ours':>8}"


def in_turn(
    runs: Sequence[Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    warm: bool = False,
) -> list[float]:
    """Median seconds of each, after one call that is not counted; every second round runs in the other order.

    `warm`: one more before each that is, for the threads of the one before still wait for work, actively.
    """
    times: list[list[float]] = [[] for _ in runs]
    for each in runs:
        each()
    for number in range(rounds):
        for index in range(len(runs)) if number % 2 else reversed(range(len(runs))):
            if warm:
                runs[index]()
            begun = clock()
            runs[index]()
            times[index].append(clock() - begun)
    return [statistics.median(each) for each in times]


def row(seconds: Sequence[float]) -> str:
    """The three in milliseconds, and how many times as fast as the peer ours are."""
    peer, theirs, ours = seconds
    return f"{1e3 * peer:>10.0f}{1e3 * theirs:>9.0f}{1e3 * ours:>9.0f}{peer / theirs:>10.2f}{peer / ours:>8.2f}"
