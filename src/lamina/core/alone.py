"""One process at a time: a lock on a file that ends with its process, on every system."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def alone(path: str | os.PathLike[str], *, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Holds the lock file `path` for the block; yields False at once where the disk knows no locks.

    Other processes and threads wait, and `waiting` is called once where this one has to. After a block that ends well the
    lock file is deleted: whoever still waits for it has to look first whether its work is done.
    """
    with Path(path).open("ab") as stream:
        yield _lock(stream, waiting)
    with contextlib.suppress(OSError):
        Path(path).unlink()


def _lock(stream: IO[bytes], waiting: Callable[[], None]) -> bool:
    try:
        if not _tried(stream):
            waiting()
            while not _tried(stream):
                time.sleep(0.1)
    except OSError:
        return False
    return True


def _tried(stream: IO[bytes]) -> bool:
    """Whether the lock of the open file was free. Raises OSError where there are no locks."""
    try:
        posix: Any = importlib.import_module("fcntl")
    except ImportError:
        windows: Any = importlib.import_module("msvcrt")
        stream.seek(0)
        take: Callable[..., Any] = windows.locking
        arguments: tuple[Any, ...] = (stream.fileno(), windows.LK_NBLCK, 1)
    else:
        take, arguments = posix.flock, (stream, posix.LOCK_EX | posix.LOCK_NB)
    try:
        take(*arguments)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK):
            return False
        raise
    return True
