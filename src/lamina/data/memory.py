"""How much of this machine's memory is left."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_UNKNOWN = 8 << 30  # where the system does not say: what a small machine has


def free_bytes() -> int:
    """What can be taken without swapping, within the limit of the container."""
    return min(_of_the_machine(), _of_the_container())


def _of_the_machine() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return _UNKNOWN


def _of_the_container() -> int:
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text(encoding="ascii"))  # "max" where there is none
        return max(0, limit - int((group / "memory.current").read_text(encoding="ascii")))
    return 1 << 62
