"""AI-Hub (aihub.or.kr): one JSON for each picture, with the picture, its categories and its annotations.

AI-Hub has no one format: each of its data sets documents its own. Read is what those for finding objects mostly share, which is COCO
cut into one file a picture. Assumed, with names in any case and "images" as well as "image", a list of one or the thing itself:

    image, images, imageInfo     file_name, filename, imageName, name ...; width, height or resolution; only the name is needed
    categories, category         id and name of each; without them annotations name their class (class, label, category_name, name)
    annotations, annotation      category_id or the name of a class; bbox [x, y, w, h] in pixels, also as {x, y, width, height}; or
                                 box [x1, y1, x2, y2]; or polygon, segmentation, points: [x, y, ...], [[x, y], ...] or [[x, y, ...]];
                                 iscrowd

Where there is no bbox the box is the one around the polygon; where any object has a polygon, objects have masks. The picture is
found by the name in the JSON, else by that of the JSON file. Parts are what folders say (1.Training, 2.Validation, Test, or
TS_, TL_, VS_, VL_ in front of a name), else all is `train`. Classes stand in the order of their ids where all files agree on
these, else sorted by name: in many sets the list in a file has its own classes only. A file without annotations shows nothing.
Annotations with no class or place are left out with one warning; more than a tenth of them is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.class_names import refuse_twins
from lamina.data.formats.gathered import Objects, split_of, splits_of
from lamina.data.formats.image_folder import is_picture
from lamina.data.formats.named_pictures import NamedPictures, stem
from lamina.data.left_out import BARE, MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.masks import draw_polygons

TASKS = ("detection",)
LOOKS_FOR = "a JSON file for each picture, with image, categories and annotations, as in many sets of AI-Hub"
_IMAGE = ("image", "images", "imageinfo", "image_info")
_ANNOTATIONS = ("annotations", "annotation")
_CATEGORIES = ("categories", "category")
_FILE = ("file_name", "filename", "imagename", "image_name", "name", "id")
_CLASS = ("class", "label", "category_name", "class_name", "name", "category")
_OUTLINE = ("segmentation", "polygon", "points")
_HUGE = 1e15  # beyond it 32 bits hold no box
_MOST = 1 << 20  # bytes: a JSON of one picture that is larger is one of many


def matches(tree: Tree) -> str:
    """A JSON that is called like a picture and tells of it."""
    pictures = {stem(name) for name in tree.names if is_picture(name)}
    for name in [name for name in _files(tree) if stem(name) in pictures][:3]:
        content = tree.read(name)
        try:
            told = _lowered(json.loads(content)) if len(content) < _MOST else {}
        except (ValueError, RecursionError):
            told = {}
        if _the_image(told) is not None and _has(told, _ANNOTATIONS):
            return f"{name} tells of one picture and its annotations"
    return ""


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The parts. Raises DataError naming file and line of JSON that breaks off, and the file that tells of no picture."""
    files, pictures, objects = _files(tree), NamedPictures(tree), Objects()
    missing = LeftOut("annotations", "Put their pictures beside them, or into folders of the same names.", kind=MISSING)
    wrong = LeftOut("objects", "See what this reader expects: help(lamina.data.formats.ai_hub).")
    foreign = LeftOut("JSON files", "A JSON for each picture, with image and annotations, was expected.", kind=BARE)
    ids = _Ids()
    paths: list[str] = []
    sources: list[str] = []
    parts: dict[str, list[int]] = {}
    for name in files:
        told = _read(tree, name)
        image = _the_image(told)
        if image is None or not _has(told, _ANNOTATIONS):
            foreign.add(f"{name}: it has {', '.join(list(told)[:6]) or 'no keys'}")
            continue
        picture = _picture(pictures, image, name)
        if picture is None:
            missing.add(f"{name}: {_first(image, _FILE) or 'its picture'} is not there")
            continue
        row = len(paths)
        paths.append(tree.path(picture))
        sources.append(tree.path(name))
        parts.setdefault(_part(picture) or _part(name) or "train", []).append(row)
        names = ids.take(_listed(_first(told, _CATEGORIES)))
        for number, each in enumerate(_listed(_first(told, _ANNOTATIONS))):
            try:
                _add(objects, row, _lowered(each), names)
            except _WrongObjectError as error:
                wrong.add(f"{tree.path(name)}, annotation {number}: {error}")
    foreign.tell(len(files))
    missing.tell(len(files), bearable=True)
    wrong.tell(len(objects) + wrong.count)
    classes = ids.order(objects.names)
    refuse_twins(classes, tree.root)
    columns = objects.columns(len(paths), classes, draw=draw_polygons)
    whole = AnnotatedDataset(Paths(paths), columns, classes, task=task, root=tree.root, origins=Origins(Paths(sources)))
    return splits_of(parts, whole, name=tree.name)


def _files(tree: Tree) -> list[str]:
    return [name for name in tree.names if name.lower().endswith(".json")]


def _read(tree: Tree, name: str) -> dict[str, Any]:
    try:
        return _lowered(json.loads(tree.text(name)))
    except json.JSONDecodeError as error:
        how = f"line {error.lineno}: the JSON breaks off or is none ({error.msg})"
    except RecursionError:
        how = "the JSON is nested too deeply"
    raise DataError(
        f"{tree.path(name)}, {how}.", "A complete JSON file was expected.", "Mend that line, or copy the file again."
    )


def _lowered(told: Any) -> dict[str, Any]:
    """An object's entries by their names in lower case; none where it is no object."""
    return {str(key).lower(): value for key, value in told.items()} if isinstance(told, dict) else {}


def _first(told: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((told[name] for name in names if told.get(name) is not None), None)


def _has(told: Mapping[str, Any], names: Iterable[str]) -> bool:
    return any(name in told for name in names)


def _listed(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [told] if isinstance(told, dict) else []


def _the_image(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is told of the one picture; None where there is none, or several."""
    found = _first(told, _IMAGE)
    images = [_lowered(each) for each in found] if isinstance(found, list) else [_lowered(found)]
    return images[0] if len(images) == 1 and images[0] else None


def _picture(pictures: NamedPictures, image: Mapping[str, Any], name: str) -> str | None:
    told = (image.get(key) for key in _FILE)
    found = (pictures.find(each, near=name) for each in told if isinstance(each, str) and each)
    return next((each for each in found if each is not None), None) or pictures.find(name, near=name)


def _part(name: str) -> str:
    """The part that a folder tells; also by the letters in front of AI-Hub's archives: TS_, TL_ for training, VS_, VL_ for validation."""
    found = split_of(name, "")
    letters = (folder[:3].upper() for folder in name.split("/")[:-1])
    short = {"TS_": "train", "TL_": "train", "VS_": "validation", "VL_": "validation"}
    return found or next((short[each] for each in letters if each in short), "")


class _Ids:
    """The classes by their ids, as the files tell them, and whether all files agree."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._agree = True

    def take(self, categories: Sequence[Any]) -> dict[str, str]:
        """The names of one file's classes by their ids."""
        told: dict[str, str] = {}
        for each in map(_lowered, categories):
            name = _first(each, ("name", *_CLASS))
            if "id" in each and isinstance(name, str):
                told[str(each["id"])] = name
        for number, name in told.items():
            self._agree = self._agree and self._names.setdefault(number, name) == name
        return told

    def order(self, used: Iterable[str]) -> tuple[str, ...]:
        """The names of all classes: by id, or sorted where ids mean different classes in different files, or some have none."""
        names = set(self._names.values())
        if self._agree and names and names >= set(used) and len(names) == len(self._names):
            numbers = sorted(
                self._names, key=lambda each: (not each.isdecimal(), int(each) if each.isdecimal() else 0, each)
            )
            return tuple(self._names[number] for number in numbers)
        return tuple(sorted(names | set(used)))


class _WrongObjectError(Exception):
    """An annotation that cannot be used."""


def _add(objects: Objects, picture: int, told: Mapping[str, Any], names: Mapping[str, str]) -> None:
    number = _first(told, ("category_id", "class_id", "categoryid"))
    label = names.get(str(number)) or next((told[key] for key in _CLASS if isinstance(told.get(key), str)), None)
    if label is None:
        raise _WrongObjectError(f"its class {number!r} is in no category" if number is not None else "it has no class")
    outline = _outlines(_first(told, _OUTLINE))
    box = _box(told)
    if box is None and not outline:
        raise _WrongObjectError("it has neither bbox nor polygon")
    if box is None:
        across, down = ([value for each in outline for value in each[axis::2]] for axis in (0, 1))
        box = [min(across), min(down), max(across), max(down)]
    crowd = str(told.get("iscrowd", 0)) == "1"
    objects.add(picture, objects.label(label), box, crowd=crowd, shape=outline or None)


def _box(told: Mapping[str, Any]) -> list[float] | None:
    for key in ("bbox", "box", "bounding_box"):
        found = told.get(key)
        if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
            found = found[0]
        if isinstance(found, dict):
            found = [_lowered(found).get(side) for side in ("x", "y", "width", "height")]
            key = "bbox"
        if not found:
            continue
        x, y, third, fourth = _numbers(found, 4)
        return [x, y, third, fourth] if key == "box" else [x, y, x + third, y + fourth]
    return None


def _outlines(found: Any) -> list[list[float]]:
    """Outlines [x, y, x, y, ...] from any way of nesting them; runs (RLE) and lists of fewer than three corners are none."""
    if not isinstance(found, list) or not found:
        return []
    if isinstance(found[0], dict):
        found = [[_lowered(each).get(axis) for axis in ("x", "y")] for each in found]
    if not isinstance(found[0], list):
        return [_numbers(found)] if len(found) >= 6 else []
    if isinstance(found[0][0] if found[0] else None, list | dict):
        return [outline for each in found for outline in _outlines(each)]
    if all(isinstance(each, list) and len(each) == 2 for each in found):
        return [_numbers([value for each in found for value in each])] if len(found) >= 3 else []
    return [_numbers(each) for each in found if isinstance(each, list) and len(each) >= 6]


def _numbers(found: Any, count: int = 0) -> list[float]:
    try:
        numbers = [float(each) for each in found]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not all(abs(each) < _HUGE for each in numbers) or (len(numbers) != count if count else len(numbers) % 2):
        raise _WrongObjectError(f"{str(found)[:60]} are not {count or 'pairs of'} numbers")
    return numbers
