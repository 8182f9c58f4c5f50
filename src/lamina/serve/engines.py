"""The engine that a server runs its model with: the fastest at hand, or the one that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable

from lamina.core.errors import LaminaError
from lamina.export import fastest
from lamina.export.deployable import Deployable
from lamina.export.engines import Engine
from lamina.export.made_engines import Maker
from lamina.export.samples import Samples

AUTO = "auto"


def check(name: str, precision: str, *, has_pictures: bool) -> None:
    """Raises UnknownNameError for an engine or precision that there is not, or not together, and LaminaError for int8 without pictures."""
    fastest.check(name, precision)
    if precision == "int8" and not has_pictures:
        raise LaminaError(
            "precision='int8' came without pictures.",
            "The ranges of 8-bit numbers are taken from real ones, some 256 of them.",
            "Bring them: data=PICTURES.",
        )


def make(
    deployable: Deployable,
    name: str,
    *,
    precision: str = "float32",
    samples: Samples | None = None,
    threads: int,
    batch: int,
    told: Callable[[str], None],
) -> Engine:
    """The engine of that name on so many threads; of "auto" the fastest for batches of that size, of which `told` gets a line.

    In a lower precision "auto" takes only what keeps 99 % of the classes, and else float32; one that is named answers all the same, and
    `told` gets a warning. They are compared on `samples`, without any on made ones. Raises MissingExtraError where it is not installed.
    """
    if name == AUTO:
        return fastest.fastest(deployable, batch, precision=precision, samples=samples, threads=threads, told=told)
    maker = Maker(deployable, samples, threads=threads, batches=(1, batch))
    engine = maker.make(name, precision)
    if precision != "float32":
        timing = fastest.judged(engine, precision, maker.reference)
        alike = f"{timing.name} answers{timing.beside_torch}."
        told(
            f"Warning: {timing.name}: {timing.reason}. For answers as they were trained: float32."
            if timing.reason
            else alike
        )
    return engine


def prospect(
    deployable: Deployable, name: str, *, precision: str = "float32", threads: int, batch: int
) -> tuple[str, float]:
    """What `make` does for long, and the seconds that it is expected to take; 0 for an engine that is named, and only built."""
    if name != AUTO:
        return f"the engine {name} is built", 0.0
    known = fastest.expected_s(deployable, batch, precision=precision, threads=threads)
    if known is None:
        return "engines are measured, once on this machine", fastest.guessed_s(deployable.net, precision=precision)
    return "the fastest engine is built", known


def described(engine: Engine, threads: int) -> str:
    """An engine in words."""
    precision = "" if engine.precision == "float32" else f" in {engine.precision}"
    return f"{engine.name}{precision}, {threads} thread{'s' * (threads != 1)}"


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
