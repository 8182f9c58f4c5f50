"""From a data set's name to its files: fetched and checked, or brought by a person."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import shutil
import zlib
from pathlib import Path
from typing import IO, Any

from lamina.core.alone import alone
from lamina.core.download import download, home, is_genuine
from lamina.core.errors import DataError, LaminaError
from lamina.core.files import replacing
from lamina.data import archive
from lamina.data.datasets.joined import Joined, Loose, of_folder
from lamina.data.datasets.named import Named, Remote
from lamina.data.tree import Tree

_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_BLOCK = 1 << 20


def folder_of(name: str, named: Named) -> Path:
    """Where the files of a data set are kept."""
    return home() / "datasets" / (named.folder or name)


def at_hand(name: str, named: Named) -> bool:
    """Whether all files are there, so that nothing is fetched; their hashes are not looked at."""
    folder = folder_of(name, named)
    if named.by_hand and (_brought_whole(folder) is not None or (not named.files and _filled(folder))):
        return True
    if not named.files:
        return not named.by_hand
    return all((folder / file.file).exists() or _tar(folder, file).exists() for file in named.files)


def tree_of(name: str, named: Named) -> Tree:
    """The files of a data set as one tree, fetched where they are not at hand.

    A compressed tar is unpacked to a plain one, which is read where it lies: no file is made by a name that it holds.
    Raises DownloadError, LaminaError for a full disk, and DataError that says what a person has to fetch.
    """
    folder = folder_of(name, named)
    if named.by_hand:
        return _brought(name, named, folder)
    paths, licence = [], f"{named.licence}; {named.cite}"
    for file in named.files:
        tar = _tar(folder, file)
        if tar.name == file.file:
            paths.append(_fetched(file, folder, licence))
        else:
            if not tar.exists():
                _make_tar(file, folder, licence, tar)
            paths.append(tar)
        licence = ""  # told once
    trees = [Tree(path) if archive.is_archive(path) else Loose(path.parent, [path.name]) for path in paths]
    return trees[0] if len(trees) == 1 else Joined(folder, trees)


def _make_tar(file: Remote, folder: Path, licence: str, tar: Path) -> None:
    """Fetches a compressed tar and unpacks it to a plain one; of several processes one does, and the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / f".{tar.name}.lock"):
        if tar.exists():
            return
        path = _fetched(file, folder, licence)
        if file.inner:
            _unpack(io.BytesIO(archive.read_bytes(path / file.inner)), file.inner, tar)
            return
        with path.open("rb") as stream:
            _unpack(stream, file.file, tar)
        if path.parent == folder:
            path.unlink()  # or it would take the room twice
            _stamp(path).unlink(missing_ok=True)


def _fetched(file: Remote, folder: Path, licence: str) -> Path:
    """The path of a file with the right hash. One of gigabytes is hashed once, not at each start."""
    target = folder / file.file
    if _was_checked(target, file.digest):
        return target
    below = folder.relative_to(home()).as_posix()
    urls = (file.url, *file.mirrors)
    path = download(urls, name=file.file, digest=file.digest, folder=below, licence=licence)
    if path == target:
        _note(path, file.digest)
    return path


def _tar(folder: Path, file: Remote) -> Path:
    """Where the plain tar of a compressed one is kept; of any other file, the file."""
    name = Path(file.inner).name or file.file
    ending = next((each for each in _PACKED if name.lower().endswith(each)), "")
    return folder / (name[: -len(ending)] + ".tar" if ending else file.file)


def _unpack(packed: IO[bytes], name: str, tar: Path) -> None:
    openers: dict[str, Any] = {"gz": gzip.open, "tgz": gzip.open, "bz2": bz2.open, "tbz2": bz2.open}
    opener = openers.get(name.rpartition(".")[2], lzma.open)
    try:
        with replacing(tar) as path, opener(packed, "rb") as stream, path.open("wb") as plain:
            shutil.copyfileobj(stream, plain, _BLOCK)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(
            f"{name} cannot be unpacked ({error}).", "A whole compressed tar was expected.", "Fetch it again."
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise LaminaError(
            f"{tar} could not be written ({'the disk is full: ' if full else ''}{error.strerror or error}).",
            "A folder that may be written, with room on its disk, was expected.",
            "Make room, or name another folder by the environment variable LAMINA_HOME.",
        ) from error


def _brought(name: str, named: Named, folder: Path) -> Tree:
    """What a person has put into the cache: a folder or one archive with the data set's name."""
    whole = _brought_whole(folder)
    if whole is not None:
        return Tree(whole)
    if not named.files:
        if _filled(folder):
            return of_folder(folder)
        raise _to_fetch(name, named, f"{folder} is not there")
    if not _filled(folder) or not any((folder / file.file).exists() for file in named.files):
        if _filled(folder):  # unpacked, perhaps: the reader says what is missing
            return of_folder(folder)
        raise _to_fetch(name, named, f"{folder} is not there")
    missing = [file.file for file in named.files if not (folder / file.file).exists()]
    if missing:
        raise _to_fetch(name, named, f"{folder} lacks {', '.join(missing)}")
    for file in named.files:
        path = folder / file.file
        if not file.digest or _was_checked(path, file.digest):
            continue
        if not is_genuine(path, file.digest):
            raise DataError(
                f"{path} has another hash than the published file.",
                f"A file with {file.digest.replace(':', ' ')} was expected.",
                "It did not come whole, or is another version: fetch it again.",
            )
        _note(path, file.digest)
    return of_folder(folder)


def _to_fetch(name: str, named: Named, came: str) -> DataError:
    folder = folder_of(name, named)
    listed = f" ({', '.join(file.file for file in named.files)})" if named.files else ""
    return DataError(
        f"{name} is not at hand: {came}.",
        f"Its owners ask a person to fetch it ({named.licence}).",
        f"{named.by_hand}{listed} Put it into the folder {folder}, packed or unpacked, or link it there; "
        "the environment variable LAMINA_HOME names another cache.",
    )


def _brought_whole(folder: Path) -> Path | None:
    """The archive that has the data set's name."""
    beside = (folder.with_name(folder.name + ending) for ending in archive.SUFFIXES)
    return next((path for path in beside if path.is_file()), None)


def _filled(folder: Path) -> bool:
    return folder.is_dir() and any(not name.startswith(".") for name in os.listdir(folder))


def _stamp(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked")


def _state(path: Path, digest: str) -> str:
    status = path.stat()
    return f"{digest} {status.st_mtime_ns} {status.st_size}"


def _was_checked(path: Path, digest: str) -> bool:
    """Whether this very file, by its time and size, was found to have the hash."""
    with contextlib.suppress(OSError):
        return _stamp(path).read_text(encoding="utf-8") == _state(path, digest)
    return False


def _note(path: Path, digest: str) -> None:
    with contextlib.suppress(OSError):  # a cache that may only be read: it is hashed each time
        _stamp(path).write_text(_state(path, digest), encoding="utf-8")
