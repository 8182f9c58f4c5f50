"""The largest batch that fits in memory, found by trying: every size that is told has really been run."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lamina.core.errors import LaminaError
from lamina.training.step import Step
from lamina.training.untouched import untouched

# How allocators say that memory is at its end, where they do not raise a class of their own.
_COMPLAINTS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
    "bad_alloc",
)
_SHARE = 0.9  # of the host's free memory that a try-out may take


@dataclass(frozen=True)
class BatchSizes:
    """The largest batch that was run, and every size tried with whether it fitted.

    `limited` says that memory was the limit; where it is False every size up to the largest that was asked for fitted.
    """

    largest: int
    tried: tuple[tuple[int, bool], ...]
    limited: bool

    def __str__(self) -> str:
        tried = ", ".join(f"{size} {'fits' if fits else 'does not fit'}" for size, fits in self.tried)
        why = "memory ends there" if self.limited else "larger ones were not asked for"
        return f"The largest batch that was run: {self.largest} ({why}).\nTried: {tried}."

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"largest": self.largest, "tried": [list(pair) for pair in self.tried], "limited": self.limited}


def find_batch_size(trial: Callable[[int], object], *, start: int = 1, limit: int = 65536) -> BatchSizes:
    """Runs `trial(size)` with sizes that double from `start` until memory is at its end or `limit` is reached; then halves the gap.

    `trial` raises what torch raises where memory is at its end (see `is_out_of_memory`); any other exception passes through.
    Raises LaminaError where not even one sample fits.
    """
    if not 1 <= start <= limit:
        raise LaminaError(
            f"find_batch_size was given start={start} and limit={limit}.",
            "1 <= start <= limit was expected.",
            "Leave them out.",
        )
    tried: list[tuple[int, bool]] = []

    def fits(size: int) -> bool:
        tried.append((size, _fits(trial, size)))
        return tried[-1][1]

    largest, above, size = 0, limit + 1, start
    while above - largest > 1:
        if fits(size):
            largest = size
        else:
            above = size
        size = (largest + above) // 2 if above <= limit else min(largest * 2, limit)
    if not largest:
        raise LaminaError(
            "Memory is at its end with a batch of one sample.",
            "At least one must fit.",
            "Make the pictures or the network smaller, or use precision='bfloat16'.",
        )
    return BatchSizes(largest, tuple(tried), limited=above <= limit)


def train_trial(step: Step, make: Callable[[int], Any], *, updates: int = 2) -> Callable[[int], None]:
    """A trial that trains a step on the batch of a size, as `make` makes it, and leaves the step as it was.

    Two updates: the optimizer's state, made in the first, takes part of the memory of the second.
    """

    def trial(size: int) -> None:
        on_host = all(p.device.type == "cpu" for net in step.networks.values() for p in net.parameters())
        softly = (
            _host_memory_ends_softly() if on_host else contextlib.nullcontext()
        )  # drivers map far more than there is
        with untouched(step), softly:
            for net in step.networks.values():
                net.train()
            for update in step.updates.values():
                update.plan(updates)
            for _ in range(updates):
                for value in step.train(make(size)).values.values():
                    float(value)  # waits for the device, where memory may end later than here

    return trial


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is at its end: torch.OutOfMemoryError, MemoryError, or an allocator's RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _COMPLAINTS)


def _fits(trial: Callable[[int], object], size: int) -> bool:
    try:
        trial(size)
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # behind the except: the exception holds the frames that hold the tensors
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return False


@contextlib.contextmanager
def _host_memory_ends_softly() -> Iterator[None]:
    """On Linux, lets allocations fail at the end of the free memory; the system would kill the process in their place."""
    free = _free_memory()
    if free is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    bound = used + int(free * _SHARE)
    bounds = [value for value in (bound, soft, hard) if value != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _free_memory() -> int | None:
    """Bytes that this process may still take: of the machine, and of its control group; None where nobody says."""
    if sys.platform != "linux":
        return None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        whole = int((group / "memory.max").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(stat.get("inactive_file", 0))
        found.append(max(whole - used, 0))
    return min(found, default=None)
