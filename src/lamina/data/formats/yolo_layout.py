"""Where the pictures of a YOLO data set are, and what its classes are called: data.yaml, or Darknet's lists.

    path, train, val, test    a folder of pictures, several, or a .txt that lists pictures, below the folder `path`
    names, nc                 a list of names, or numbers to names; how many they are
    kpt_shape, kpt_names      [points, numbers of each (2 or 3)], and the names of the points

Folders are looked for below `path`, then below the file's own folder, then by the last of the folders that are named: files
from others name folders of their machines, and Roboflow's have a ".." too many. An absolute `path` is followed where it is
there (never from inside an archive). A test part that is nowhere is warned of; other parts are an error.
"""

from __future__ import annotations

import os
import posixpath
import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.class_names import refuse_twins
from lamina.data.formats.gathered import split_of
from lamina.data.formats.image_folder import SPLITS
from lamina.data.formats.named_pictures import NamedPictures, stem
from lamina.data.left_out import MISSING, LeftOut
from lamina.data.tree import Tree

_PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass
class Layout:
    """What there is: names of classes, the pictures of each part, and how many points with how many numbers an object has."""

    classes: tuple[str, ...]
    parts: dict[str, list[str]] = field(default_factory=dict)
    points: tuple[int, int] = (0, 0)
    point_names: tuple[str, ...] = ()


def yaml_file(tree: Tree) -> str | None:
    """The YAML at the top that names classes and a part; of several the one called data.yaml."""
    found = [name for name in tree.files(suffixes=(".yaml", ".yml")) if _describes(tree.read(name))]
    return next((name for name in found if stem(name).startswith("data")), found[0] if found else None)


def _describes(content: bytes) -> bool:
    keys = {line.partition(b":")[0].strip() for line in content.splitlines() if b":" in line}
    return bool(keys & {b"names", b"nc"}) and bool(keys & {b"train", b"val", b"test"})


def names_file(tree: Tree) -> str | None:
    """Darknet's obj.names, Roboflow's _darknet.labels, or classes.txt, nearest to the top."""
    called = ("classes.txt", "_darknet.labels")
    found = [*tree.matching("*.names"), *(name for name in tree.names if name.rpartition("/")[2] in called)]
    return min(found, key=lambda name: (name.count("/"), name.endswith(".txt")), default=None)


def from_yaml(tree: Tree, name: str) -> tuple[Tree, Layout]:
    """(the tree that the pictures are in, what the file tells). Raises DataError naming the line of what is no YAML."""
    where, told = tree.path(name), _parsed(tree, name)
    layout = Layout(_class_names(told, where))
    layout.points, layout.point_names = _points(told, where)
    path = told.get("path", "") if isinstance(told.get("path", ""), str) else ""
    tree = _moved(tree, path, where)
    pictures = NamedPictures(tree)
    for key, part in _PARTS.items():
        entries = told.get(key) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            found = _pictures(tree, entry, path, pictures) if isinstance(entry, str) else []
            if not found and part == "test":
                warn(f"{where} names {key}: {reprlib.repr(entry)}, and no picture is there. The test part is left out.")
            elif not found:
                raise DataError(
                    f"{where} names {key}: {reprlib.repr(entry)}, and no picture is there.",
                    f"A folder of pictures, or a .txt that lists them, was expected below {tree.root}; it holds {tree.digest()}.",
                    "Correct the entry, or its path.",
                )
            layout.parts.setdefault(part, []).extend(found)
    layout.parts = {part: list(dict.fromkeys(names)) for part, names in layout.parts.items()}
    return tree, layout


def _parsed(tree: Tree, name: str) -> dict[str, Any]:
    """What a YAML holds, each value as the text that is written: a class called `no` is not False."""
    try:
        told = yaml.load(tree.text(name), Loader=yaml.BaseLoader)  # makes texts, lists and dicts, and no other objects
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark is not None else ""
        raise DataError(
            f"{tree.path(name)}{at}: this is no YAML ({getattr(error, 'problem', None) or type(error).__name__}).",
            "Lines like 'train: images/train' and 'names: [cat, dog]' were expected.",
            "Mend that line: indentation, quotes or brackets.",
        ) from error
    if not isinstance(told, dict):
        raise DataError(
            f"{tree.path(name)} holds {reprlib.repr(told)}.",
            "Lines like 'train: images/train' and 'names: [cat, dog]' were expected.",
            "Write them, or name the format.",
        )
    return told


def _class_names(told: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names, count = told.get("names"), told.get("nc")
    if isinstance(names, dict):
        numbers = sorted(names, key=lambda key: int(key) if str(key).isdecimal() else -1)
        if numbers != [str(number) for number in range(len(names))]:
            raise DataError(
                f"{where} numbers its classes {reprlib.repr(numbers)}.",
                "0, 1, 2 ... were expected.",
                "Number them without gaps.",
            )
        names = [names[number] for number in numbers]
    if names is None and isinstance(count, str) and count.isdecimal() and len(count) < 6:
        names = [str(number) for number in range(int(count))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{where} has the names {reprlib.repr(names)}.",
            "A list of names, or numbers to names, was expected.",
            "Name the classes.",
        )
    if isinstance(count, str) and count != str(len(names)):
        raise DataError(
            f"{where} says nc: {count}, and names {len(names)} classes.",
            "Both were expected to agree.",
            "Correct one of them.",
        )
    refuse_twins(names, where)
    return tuple(names)


def _points(told: Mapping[str, Any], where: str) -> tuple[tuple[int, int], tuple[str, ...]]:
    """((points of an object, numbers of a point), their names)."""
    shape = told.get("kpt_shape")
    if shape is None:
        return (0, 0), ()
    fits = re.fullmatch(r"(\d{1,4}) ([23])", " ".join(shape)) if isinstance(shape, list) and len(shape) == 2 else None
    if fits is None:
        raise DataError(
            f"{where} has kpt_shape: {reprlib.repr(shape)}.",
            "[points, 2] or [points, 3] was expected.",
            "Correct it.",
        )
    names = told.get("kpt_names")
    first = next(iter(names.values()), None) if isinstance(names, dict) else names
    known = tuple(map(str, first)) if isinstance(first, list) and len(first) == int(fits[1]) else ()
    return (int(fits[1]), int(fits[2])), known


def _moved(tree: Tree, path: str, where: str) -> Tree:
    """The folder of an absolute `path` that is there; else the file's own, with a warning where the path is absolute."""
    elsewhere = os.path.expanduser(path)
    absolute = elsewhere.startswith(("/", "\\")) or elsewhere[1:2] == ":"
    if not absolute or os.path.abspath(elsewhere) == tree.root:
        return tree
    if os.path.isdir(elsewhere) and not archive.is_archive(tree.root) and archive.inside(tree.root) is None:
        return Tree(elsewhere)
    warn(
        f"{where} says path: {path}, which is not there. Pictures are looked for below {tree.root}. Take that line out."
    )
    return tree


def _pictures(tree: Tree, entry: str, path: str, pictures: NamedPictures) -> list[str]:
    """The pictures of a folder, or of a list in a .txt; none where there is no such place."""
    for place in _places(entry, path):
        if place.lower().endswith(".txt"):
            if place in tree:
                return _listed(tree, place, pictures)
        elif below := [name for name in pictures.names if not place or name.startswith(f"{place}/")]:
            return below
    return []


def _places(entry: str, path: str) -> Iterator[str]:
    """Where a folder may be: below `path`, as it is written, then by fewer of its last folders; but not without its train or val."""
    entry, path = (each.replace("\\", "/") for each in (entry, path))
    for whole in (posixpath.join(path, entry), entry):
        plain = posixpath.normpath(whole)
        parts = [part for part in plain.split("/") if part not in ("", "..", ".", "~") and not part.endswith(":")]
        for start in range(max(len(parts), 1)):
            if start and parts[start - 1].lower() in SPLITS:
                break
            yield "/".join(parts[start:])


def _listed(tree: Tree, name: str, pictures: NamedPictures) -> list[str]:
    """The pictures that a text lists, one a line, relative to it, to the data set, or as they lay on another machine."""
    missing, found, total = (
        LeftOut(f"pictures of {tree.path(name)}", "Copy them there, or correct the list.", kind=MISSING),
        [],
        0,
    )
    folder = name.rpartition("/")[0]
    for line, text in tree.lines(name):
        total += 1
        beside = posixpath.normpath(posixpath.join(folder, text.replace("\\", "/")))
        picture = pictures.find(beside) if not text.startswith("/") else pictures.find(text)
        if picture is None:
            missing.add(f"line {line}: {text} is not there")
        else:
            found.append(picture)
    missing.tell(total, bearable=True)
    return found


def from_names(tree: Tree, names: str) -> Layout:
    """What obj.names or classes.txt, and the lists beside it, tell."""
    layout = Layout(tuple(text for _, text in tree.lines(names)))
    if not layout.classes:
        raise DataError(
            f"{tree.path(names)} is empty.", "A name of a class on each line was expected.", "Name the classes."
        )
    refuse_twins(layout.classes, tree.path(names))
    pictures, folder = NamedPictures(tree), names.rpartition("/")[0]
    told: dict[str, str] = {}
    for data in tree.files(folder, suffixes=(".data",)):
        pairs = (text.partition("=") for _, text in tree.lines(data))
        told |= {key.strip(): value.strip() for key, _, value in pairs}
    for key, part in _PARTS.items():
        wanted = [*_places(told[key], folder)] if key in told else [posixpath.join(folder, f"{key}.txt")]
        listed = next((name for name in wanted if name in tree), None)
        if listed is not None and part not in layout.parts:
            layout.parts[part] = _listed(tree, listed, pictures)
    return layout if layout.parts else without_names(tree, 0, classes=layout.classes)


def without_names(tree: Tree, count: int, *, classes: tuple[str, ...] = ()) -> Layout:
    """The parts that folders tell, of `classes`, or of `count` that are called by their numbers."""
    layout = Layout(classes or tuple(map(str, range(count))))
    for name in NamedPictures(tree).names:
        layout.parts.setdefault(split_of(name), []).append(name)
    return layout
