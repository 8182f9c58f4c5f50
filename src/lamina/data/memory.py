"""How much of this machine's memory is left, and who shares it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")
_UNKNOWN = 8 << 30  # where the system does not say: what a small machine has


def free_bytes() -> int:
    """What can be taken without swapping, within the limit of the container."""
    return min(_of_the_machine(), _of_the_container())


def processes_here(otherwise: int = 1) -> int:
    """How many processes train together on this machine, as torchrun tells them; `otherwise` where nobody does."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", otherwise))


def _of_the_machine() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return _UNKNOWN


def _of_the_container() -> int:
    with contextlib.suppress(OSError, ValueError):
        limit = int((_GROUP / "memory.max").read_text(encoding="ascii"))  # "max" where there is none
        used = int((_GROUP / "memory.current").read_text(encoding="ascii"))
        told = dict(line.split() for line in (_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0, limit - used + int(told.get("inactive_file", 0)))  # copies of files, given up when asked for
    return 1 << 62
