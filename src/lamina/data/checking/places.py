"""Where files lie: links out of the folder, names that are no UTF-8, what an archive must not hold; and whether shards are whole."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from lamina.core.errors import DataError
from lamina.data import archive, shard_index
from lamina.data.checking.report import Findings
from lamina.data.tree import printable

MANY_FILES = 200_000  # from here on a file system spends longer on finding files than on reading them
_MOST_KNOWN = 100_000  # folders that are remembered


class Places:
    """What is strange about where a file of a data set lies."""

    def __init__(self, root: str) -> None:
        root = os.path.realpath(root)
        self._root = os.path.dirname(root) if os.path.isfile(root) else root  # of a table its folder
        self._folders: dict[str, str] = {}

    def strange(self, path: str) -> list[tuple[str, str]]:
        """(kind, what) of each doubt."""
        found = []
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            what = f"its name is no UTF-8: {printable(os.path.basename(path))}; other systems cannot open it"
            found.append(("name is no UTF-8", what))
        if archive.inside(path) is None:
            target = self._target(path)
            if target != os.path.abspath(path) and not self._holds(target):
                found.append(("link out of the folder", f"it is a link to {printable(target)}"))
        return found

    def _holds(self, target: str) -> bool:
        return target.startswith(self._root.rstrip(os.sep) + os.sep)

    def _target(self, path: str) -> str:
        """Where a file really is. Asking for each of a million would take longer than reading them: most are no links."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            if len(self._folders) >= _MOST_KNOWN:
                self._folders.clear()
            self._folders[folder] = os.path.realpath(folder)
        whole = os.path.join(self._folders[folder], name)
        try:
            is_link = stat.S_ISLNK(os.lstat(whole).st_mode)
        except OSError:
            return whole  # which is told as missing
        return os.path.realpath(whole) if is_link else whole


def check_archive(path: str, findings: Findings) -> None:
    """Names that lead out of an archive, and links in it: they are never followed, so what they stand for is missing."""
    for name in archive.opened(path).left_out:
        unsafe = name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":"
        what = "leads out of the archive" if unsafe else "is a link, or no plain file"
        findings.add("error", "unsafe entry", path, f"the entry {printable(name)} {what}; it is not read")


def check_count(pictures: int, root: str, findings: Findings) -> None:
    """So many single files that another form of storage is worth it."""
    if pictures >= MANY_FILES and not os.path.isfile(root):
        findings.add(
            "doubt",
            "many files",
            root,
            f"{pictures:,} single files; shards are read faster: lamina data shard {printable(root)}",
        )


def check_shards(root: str, findings: Findings) -> None:
    """Whether the shards in a folder, or in the folders in it, still have the hashes that their index notes."""
    for folder in [Path(root), *sorted(Path(root).glob("*/"))] if os.path.isdir(root) else ():
        try:
            table = shard_index.read_table(folder)
        except DataError:
            continue  # which is told already: nothing could be opened
        for shard in [] if table is None else table["shards"]:
            path = folder / Path(shard["name"]).name
            try:
                with path.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError:
                continue
            if digest != shard["sha256"]:
                what = (
                    f"its SHA-256 is not the one that {shard_index.TABLE} notes: it was changed, or did not come whole"
                )
                findings.add("error", "shard changed", str(path), what)
