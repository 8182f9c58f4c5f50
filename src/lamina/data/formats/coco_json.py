"""COCO's JSON, read an entry at a time into arrays: pictures, categories, annotations (cocodataset.org/#format-data).

A file of 450 MB makes no Python object that stays but the names of its pictures. What is wrong with an entry is counted, and the entry
left out; what is wrong with the file is an error that names the line.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.left_out import BROKEN, LeftOutWarning, tell_listener
from lamina.data.tree import Tree, printable

SECTIONS = ("images", "annotations", "categories")
_BLANK = re.compile(r"[ \t\n\r]*")
_SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
FIRST = 3  # names that a warning tells
_ENDLESS = 1e18  # px: no picture is larger, and what says so says nothing
Record = dict[str, Any]
Add = Callable[[Record, str, int, int], str]  # takes (entry, text, where it begins, where it ends), says what is wrong


class Faults:
    """What was read around: how often, and the first few names, told in one warning."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def add(self, file: str, what: str, names: list[Any], *, count: int | None = None, kind: str = BROKEN) -> None:
        """Counts what is wrong with some entries of a file, of which `names` are the first or all; `kind` is of left_out's."""
        before, listed = self._found.get((file, what), (0, []))
        if more := len(names) if count is None else count:
            tell_listener(
                kind, f"{file}: {more:,} {what} ({', '.join(printable(str(name)) for name in names[:FIRST])})"
            )
            listed = [*listed, *(printable(str(name)) for name in names[:FIRST])][:FIRST]
            self._found[file, what] = before + more, listed

    def warn(self, root: str) -> None:
        """Tells them, once."""
        if self._found:
            told = "\n".join(
                f"  {file}: {count:,} {what} ({', '.join(names)}{', ...' if count > len(names) else ''})"
                for (file, what), (count, names) in self._found.items()
            )
            said = (
                f"Not everything in {root} could be used; the rest is read:\n{told}\nCorrect or complete these files."
            )
            warn(said, LeftOutWarning)


class Pictures:
    """The pictures that a file lists: their ids, names and the LVIS lists of categories, in the file's order."""

    def __init__(self) -> None:
        self.rows: dict[Hashable, int] = {}
        self.names: list[tuple[str, ...]] = []
        self.sizes = array("d")  # height and width of each in turn, 0 where nobody says
        self.negatives: list[list[Hashable]] = []
        self.incomplete: list[list[Hashable]] = []
        self.federated = False

    def add(self, record: Record, text: str, begin: int, end: int) -> str:
        """One entry of `images`."""
        names = tuple(_names_of(record))
        if not names:
            return "entries of images without file_name"
        key = record.get("id")
        if key is None or not isinstance(key, Hashable):
            return "entries of images without id"
        if key in self.rows:
            return "entries of images whose id another has"
        self.rows[key] = len(self.names)
        self.names.append(names)
        self.sizes.extend(_px(record.get(side)) for side in ("height", "width"))
        self.federated = self.federated or "neg_category_ids" in record
        if self.federated:
            for kept, name in ((self.negatives, "neg"), (self.incomplete, "not_exhaustive")):
                kept.extend([] for _ in range(len(self.names) - 1 - len(kept)))
                kept.append(record.get(f"{name}_category_ids") or [])
        return ""

    def __len__(self) -> int:
        return len(self.names)


class Categories:
    """The categories that a file lists, in its order; of those of one name the first stands for all."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.rows: dict[Hashable, int] = {}
        self.records: list[Record] = []

    def add(self, record: Record, text: str, begin: int, end: int) -> str:
        """One entry of `categories`."""
        key, name = record.get("id"), record.get("name")
        if key is None or not isinstance(key, Hashable) or not isinstance(name, str | int):
            return "categories without id or name"
        if key in self.rows:
            return "categories whose id another has"
        self.rows[key] = self.names.index(str(name)) if str(name) in self.names else len(self.names)
        if self.rows[key] < len(self.names):
            return "categories whose name another has, which are taken for one"
        self.names.append(str(name))
        self.records.append(record)
        return ""


def read(tree: Tree, name: str, faults: Faults, add: Add, *, needs: tuple[str, ...]) -> tuple[Pictures, Categories]:
    """What a file lists; each entry of its `annotations` is passed to `add`. `needs` are the lists that it must have.

    Raises DataError with the line where the JSON breaks, and one that says what is missing where it is no COCO.
    """
    pictures, categories = Pictures(), Categories()
    takes: dict[str, Add] = {"images": pictures.add, "annotations": add, "categories": categories.add}
    text, seen, count = tree.text(name), set(), 0
    for section, record, begin, end in entries(text, tree.path(name)):
        seen.add(section)
        if record is None:
            continue
        count += 1
        wrong = (
            takes[section](record, text, begin, end)
            if type(record) is dict
            else f"entries of {section} that are no objects"
        )
        if wrong:
            faults.add(name, wrong, [_title(record, text, begin)])
    if missing := [section for section in needs if section not in seen]:
        raise DataError(
            f"{tree.path(name)} has no list {' and no list '.join(map(repr, missing))}.",
            f"A COCO file of this kind has {', '.join(map(repr, needs))}.",
            "Pass the file of annotations, not one of results; or name the format that it is of.",
        )
    return pictures, categories


def entries(text: str, path: str) -> Iterator[tuple[str, Any, int, int]]:
    """(section, entry, where it begins, where it ends) for each entry of the lists of SECTIONS; one None begins each list."""
    scan, at = _SCAN, 0
    try:
        at = _after_blanks(text, 0)
        if text[at : at + 1] != "{":
            raise _no_coco(path, text[at : at + 20])
        at = _after_blanks(text, at + 1)
        while text[at : at + 1] != "}":
            key, at = scan(text, at)
            if not isinstance(key, str):
                raise json.JSONDecodeError("Expecting a name in quotes", text, at)
            at = _after_blanks(text, _expect(text, at, ":"))
            if key in SECTIONS and text[at : at + 1] == "[":
                yield key, None, at, at
                at = _after_blanks(text, at + 1)
                while text[at : at + 1] != "]":
                    record, end = scan(text, at)
                    yield key, record, at, end
                    # most are written in one of two ways
                    at = (
                        end + 2
                        if text.startswith(", {", end)
                        else end + 1
                        if text.startswith(",{", end)
                        else _next(text, end, "]")
                    )
                at += 1
            else:
                at = scan(text, at)[1]
            at = _next(text, at, "}")
    except (json.JSONDecodeError, StopIteration) as failed:
        error = (
            failed
            if isinstance(failed, json.JSONDecodeError)
            else json.JSONDecodeError("Expecting value", text, failed.value)
        )
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: the JSON breaks ({error.msg}).",
            "A whole JSON file was expected.",
            "Copy or download it again, or correct this line.",
        ) from failed
    except (RecursionError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read ({error}).", "JSON as COCO writes it was expected.", "Copy or download it again."
        ) from error


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()


def _expect(text: str, at: int, sign: str) -> int:
    at = _after_blanks(text, at)
    if text[at : at + 1] != sign:
        raise json.JSONDecodeError(f"Expecting {sign!r}", text, at)
    return at + 1


def _next(text: str, at: int, close: str) -> int:
    """Where the next entry begins after a comma, or where the closing bracket is."""
    at = _after_blanks(text, at)
    if text[at : at + 1] == close:
        return at
    at = _after_blanks(text, _expect(text, at, ","))
    if text[at : at + 1] == close:
        raise json.JSONDecodeError("Expecting an entry after ','", text, at)
    return at


def _names_of(record: Record) -> Iterator[str]:
    """The names that a picture's file may have: what it says, and what COCO's address of it ends in."""
    if isinstance(name := record.get("file_name"), str) and name:
        yield name.replace("\\", "/")
    if isinstance(address := record.get("coco_url"), str) and "/" in address:
        yield "/".join(address.split("/")[-2:])


def _title(record: Any, text: str, begin: int) -> str:
    """By what a person finds an entry in the file."""
    if isinstance(record, dict):
        for key in ("id", "name", "file_name", "image_id"):
            if isinstance(record.get(key), int | str):
                return f"{key} {record[key]}"
    return f"line {text.count(chr(10), 0, begin) + 1}"


def _no_coco(path: str, start: str) -> DataError:
    return DataError(
        f"{path} begins with {start!r}.",
        "A COCO file of annotations is an object {...} with the lists 'images', 'annotations' and 'categories'.",
        "Pass the file of annotations: a list is mostly one of results.",
    )


def _px(told: Any) -> float:
    """A number of pixels; 0 where none is told."""
    return max(-1.0, min(told, _ENDLESS)) if isinstance(told, int | float) else 0.0
