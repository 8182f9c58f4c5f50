"""The files of a folder or of an archive, listed once: what the readers of formats look at."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lamina.core.errors import DataError, listed
from lamina.data import archive

_DIGITS = re.compile(r"(\d+)")
_NEAREST = 3  # names in a message
_PASSED_OVER = (".", "__MACOSX")  # hidden, and what macOS leaves in archives


class Tree:
    """The files below a folder, or in a zip or tar, by their names relative to it, with "/" between, in natural order.

    Hidden ones are passed over. Folders that are links are entered, each place once. Raises DataError for a damaged archive.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(Path(root).expanduser())
        found = _in_archive(self.root) if os.path.isfile(self.root) else _in_folder(self.root)
        listed = list(found)
        self._set(
            in_natural_order(name for name in listed if not name.endswith("/")),
            [name for name in listed if name.endswith("/")],
        )

    def _set(self, names: list[str], empty: list[str]) -> None:
        self.names, self._empty = names, empty
        self._known = set(names)
        self._folders: dict[str, set[str]] = {}  # right below each folder; made at the first question, as the others
        self._files: dict[str, list[str]] = {}  # right in each folder
        self._tops: dict[str, list[str]] = {}  # all names below each of the first folders

    @property
    def name(self) -> str:
        """The last part of its path, without the ending of an archive."""
        last = os.path.basename(self.root)
        ending = next(
            (each for each in sorted(archive.SUFFIXES, key=len, reverse=True) if last.lower().endswith(each)), ""
        )
        return last[: len(last) - len(ending)] if os.path.isfile(self.root) else last

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self.names)

    def path(self, name: str) -> str:
        """The whole path of a file, which may lead into an archive."""
        return os.path.join(self.root, *name.split("/")) if name else self.root

    def folders(self, below: str = "") -> list[str]:
        """The names of the folders right below one, in natural order; of an archive only those with files."""
        if not self._folders:
            self._folders = {"": set()}
            for place in {name.rpartition("/")[0] for name in itertools.chain(self.names, self._empty)} - {""}:
                parts = place.split("/")
                for depth in range(len(parts)):
                    self._folders.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
        return sorted(self._folders.get(below.strip("/"), ()), key=natural)

    def files(self, below: str = "", *, suffixes: Iterable[str] = ()) -> list[str]:
        """The names of the files right in a folder, in natural order; of `suffixes` (lower case, with the dot) if any are named."""
        if not self._files:
            for name in self.names:
                self._files.setdefault(name.rpartition("/")[0], []).append(name)
        endings = tuple(suffixes)
        inner = self._files.get(below.strip("/"), [])
        return [name for name in inner if name.lower().endswith(endings)] if endings else list(inner)

    def matching(self, pattern: str) -> list[str]:
        """The names that a pattern like "*/annotations/*.json" fits, where * stands for parts of a path too; case counts not."""
        fits = re.compile(fnmatch.translate(pattern.lower())).match
        return [name for name in self.names if fits(name.lower())]

    def below(self, folder: str) -> Tree:
        """The files below one of its folders, by their names relative to that."""
        first, _, rest = folder.strip("/").partition("/")
        if not self._tops:  # once: a reader asks for each of a thousand classes
            for name in itertools.chain(self.names, self._empty):
                top, _, inner = name.partition("/")
                if inner or name.endswith("/"):
                    self._tops.setdefault(top, []).append(inner)
        inner_names = self._tops.get(first, [])
        made = object.__new__(Tree)
        made.root = self.path(first)
        made._set(
            [name for name in inner_names if name and not name.endswith("/")],
            [name for name in inner_names if name.endswith("/")],
        )
        return made.below(rest) if rest else made

    def without(self, folders: Iterable[str]) -> Tree:
        """The same files but those below some of the folders at the top."""
        left_out = tuple(f"{folder}/" for folder in folders)
        made = object.__new__(Tree)
        made.root = self.root
        made._set(*([name for name in names if not name.startswith(left_out)] for names in (self.names, self._empty)))
        return made

    def read(self, name: str) -> bytes:
        """What is in a file. Raises DataError that names it where that cannot be read."""
        try:
            return archive.read_bytes(self.path(name))
        except OSError as error:
            raise DataError(
                f"{self.path(name)} cannot be read ({error.strerror or error}).",
                "A file that belongs to the data was expected there.",
                "Copy or download it again.",
            ) from error

    def text(self, name: str) -> str:
        """The text of a file (UTF-8, with or without a mark in front). Raises DataError with the line that is no UTF-8."""
        content = self.read(name)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise DataError(
                f"{self.path(name)}, line {line}: the bytes {content[error.start : error.start + 4]!r} are no UTF-8.",
                "A text in UTF-8 was expected.",
                "Save it as UTF-8, or pass only the pictures.",
            ) from error

    def lines(self, name: str) -> Iterator[tuple[int, str]]:
        """(number from 1, text) of each line that is not empty, without blanks around it."""
        for number, line in enumerate(self.text(name).splitlines(), 1):
            if line.strip():
                yield number, line.strip()

    def digest(self, count: int = 8) -> str:
        """The first few names at the top, for a message."""
        top = [f"{folder}/" for folder in self.folders()] + self.files()
        if not top:
            return "nothing"
        return listed([printable(name) for name in top], most=count)


def natural(name: str) -> tuple[str, str]:
    """A sort key, as a person sorts: runs of digits by value, the rest without regard to case; the name itself settles ties."""
    return _by_value(name), name


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Paths with "/" between, sorted by `natural`; the keys of folders, which many files share, are made once."""
    folders: dict[str, str] = {}

    def key(name: str) -> str:
        folder, slash, last = name.rpartition("/")
        if folder not in folders:
            folders[folder] = _by_value(folder)
        return folders[folder] + slash + _by_value(last)

    return sorted(sorted(names), key=key)  # texts are compared much faster than (text, name)


def _by_value(name: str) -> str:
    """The text with each number written so that numbers sort by value, and before all else: a mark, how many digits, the digits."""
    parts = _DIGITS.split(name.lower())
    for at in range(1, len(parts), 2):
        digits = parts[at] if parts[at].isascii() else "".join(str(int(each)) for each in parts[at])
        plain = digits.lstrip("0")
        parts[at] = f"\0{chr(len(plain))}{plain}"
    return "".join(parts)


def nearest(path: str | os.PathLike[str]) -> str:
    """A sentence on what is spelled most like a path that is not there, in the deepest of its folders that is; maybe empty.

    Hidden names are passed over. It says nothing of the working directory, unless a name there is alike.
    """
    missing = Path(path).expanduser()
    while not missing.parent.exists():
        missing = missing.parent
    folder = missing.parent
    try:
        held = in_natural_order(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except OSError:  # a file, or a folder that must not be looked into
        return ""
    near = difflib.get_close_matches(missing.name.lower(), {name.lower() for name in held}, n=_NEAREST, cutoff=0.5)
    alike = [name for each in near for name in held if name.lower() == each]
    if alike:
        return f"The nearest in {folder}{os.sep}: {', '.join(map(printable, alike))}."
    told = listed([printable(name) for name in held], most=_NEAREST) or "nothing"
    return "" if folder == Path() else f"{folder}{os.sep} holds {told}."


def printable(name: str) -> str:
    """A file's name as text that any terminal takes: bytes that are no UTF-8 are written as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _in_archive(path: str) -> list[str]:
    names = (name.replace("\\", "/") for name in archive.opened(path).names)
    return [name for name in names if not any(part.startswith(_PASSED_OVER) for part in name.split("/"))]


def _in_folder(root: str) -> Iterator[str]:
    entered = {os.path.realpath(root)}
    for where, folders, names in os.walk(root, followlinks=True):
        kept = []
        for name in folders:
            real = os.path.realpath(os.path.join(where, name)) if os.path.islink(os.path.join(where, name)) else ""
            if name.startswith(_PASSED_OVER) or real in entered:
                continue
            if real:
                entered.add(real)
            kept.append(name)
        folders[:] = kept
        start = "" if where == root else os.path.relpath(where, root).replace(os.sep, "/") + "/"
        yield from (f"{start}{name}/" for name in kept)
        yield from (start + name for name in names if not name.startswith("."))
