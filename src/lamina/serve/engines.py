"""The engine that a server runs its model with: the fastest at hand, or the one that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable

from lamina.core.errors import unknown_name
from lamina.export.deployable import Deployable
from lamina.export.engines import Engine
from lamina.export.fastest import expected_s, fastest, guessed_s
from lamina.export.made_engines import ENGINES, Maker

AUTO = "auto"


def check_name(name: str) -> None:
    """Raises UnknownNameError for an engine that there is not."""
    if name not in (AUTO, *ENGINES):
        raise unknown_name("engine", name, (AUTO, *ENGINES))


def make(deployable: Deployable, name: str, *, threads: int, batch: int, told: Callable[[str], None]) -> Engine:
    """The engine of that name on so many threads; of "auto" the fastest for batches of that size, of which `told` gets a line.

    Raises MissingExtraError where it is not installed.
    """
    if name == AUTO:
        return fastest(deployable, batch, threads=threads, told=told)
    return Maker(deployable, None, threads=threads, batches=(1, batch)).make(name, "float32")


def prospect(deployable: Deployable, name: str, *, threads: int, batch: int) -> tuple[str, float]:
    """What `make` does for long, and the seconds that it is expected to take; 0 for an engine that is named, and only built."""
    if name != AUTO:
        return f"the engine {name} is built", 0.0
    known = expected_s(deployable, batch, threads=threads)
    if known is None:
        return "engines are measured, once on this machine", guessed_s(deployable.net)
    return "the fastest engine is built", known


def described(engine: Engine, threads: int) -> str:
    """An engine in words."""
    precision = "" if engine.precision == "float32" else f" in {engine.precision}"
    return f"{engine.name}{precision}, {threads} thread{'s' * (threads != 1)}"


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
