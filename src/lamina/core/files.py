"""Files that are either the old one or the new one, never half of either."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, previous: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path`; when the block ends well, it is synced and renamed over `path`.

    A full disk, an exception or a kill in the block leaves the file that was there before. With `previous` that file is
    renamed to it, once the new one is safe on the disk; a kill between the two renamings leaves `previous` alone, which
    is the newest whole file then. Missing folders are made.
    """
    target = Path(path)
    temporary = _temporary(target)
    mode = temporary.stat().st_mode & 0o777  # which a writer that renames files of its own would lose
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else mode)
        if target.exists() and previous is not None:
            os.replace(target, previous)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def creating(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `replacing`, of a file that is not there yet: of several processes that make it at once the first one's stays."""
    target = Path(path)
    temporary = _temporary(target)
    try:
        yield temporary
        try:
            os.link(temporary, target)  # unlike a renaming it never replaces
        except FileExistsError:
            pass
        except OSError:  # a disk without links
            if not target.exists():
                os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    """A new empty file beside the target, whose folder is made where it is missing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    # Not by tempfile: its mode 0600 would lock others out, and the umask can only be read by changing it for all threads.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Deletes the temporary files that processes killed while `replacing` a path have left beside it."""
    target = Path(path)
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A renaming is safe once the folder is, too."""
    if os.name != "posix":
        return  # Windows opens no folders, and writes renamings through by itself
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)
