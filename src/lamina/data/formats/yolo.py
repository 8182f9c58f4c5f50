"""YOLO: data.yaml, or Darknet's obj.names or classes.txt; pictures, and for each a NAME.txt with a line for each object.

    (no names)   folders images/ and labels/ alone, as coco128.zip: the classes are called by their numbers, with a warning
    data.yaml    names and where pictures are: see `yolo_layout`
    obj.names    (*.names, or classes.txt) a name a line; obj.data, or train.txt, valid.txt, test.txt beside it, list pictures
    NAME.txt     in labels/ where the picture is in images/, else beside it, else wherever the only one of its name is;
                 a picture without one shows nothing, and one without a picture is warned of

A line is a class and shares of the picture's width and height: `class cx cy w h`; an outline, `class x1 y1 x2 y2 x3 y3 ...` (the box
is the one around it, and objects have masks); with kpt_shape [P, 2 or 3], `class cx cy w h` and P points `x y` or
`x y visibility`. Lines that are none of these, classes beyond the names, and numbers beyond 0..1 (by more than a hundredth:
that is rounding) are left out with one warning; more than a tenth of them is an error, as the file is then read amiss.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Column, Ragged, Size
from lamina.data.formats.gathered import Objects, splits_of
from lamina.data.formats.image_folder import SPLITS, is_picture
from lamina.data.formats.named_pictures import stem
from lamina.data.formats.yolo_layout import Layout, from_names, from_yaml, names_file, without_names, yaml_file
from lamina.data.left_out import MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.masks import draw_polygons

TASKS = ("detection", "keypoints")
LOOKS_FOR = "data.yaml with names and train, or obj.names or classes.txt, and a NAME.txt for each picture"
_ROUNDING = 0.01
_VISIBLE = 2.0
_MOST_CLASSES = 100_000


def matches(tree: Tree) -> str:
    """The data.yaml or the file of names."""
    if (found := yaml_file(tree)) is not None:
        return f"{found} names classes and where pictures are"
    names = names_file(tree)
    if (names or _has_both(tree)) and _has_labels(tree):
        named = f"{names} names classes" if names else "images/ and labels/ lie beside each other"
        return f"{named}, and texts of the pictures' names hold numbers"
    return ""


def _has_both(tree: Tree) -> bool:
    """Whether there are the folders images and labels, at the top or in those of parts."""
    places = ("", *(folder for folder in tree.folders() if folder.lower() in SPLITS))
    return any({"images", "labels"} <= set(tree.folders(place)) for place in places)


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The parts of the data set. Raises DataError naming file and line of what is broken, and parts that cannot be found."""
    found = yaml_file(tree)
    if found is not None:
        tree, layout = from_yaml(tree, found)
    elif (names := names_file(tree)) is not None:
        layout = from_names(tree, names)
    elif _has_both(tree) and _has_labels(tree):
        layout = without_names(tree, _numbered(tree))
    else:
        raise DataError(
            f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the folder that data.yaml is in."
        )
    if task == "keypoints" and not layout.points[0]:
        raise DataError(
            f"{tree.root} has no keypoints.",
            "kpt_shape: [points, 2 or 3] was expected in data.yaml.",
            "Add it, or open the data for detection.",
        )
    pictures = list(dict.fromkeys(name for names in layout.parts.values() for name in names))
    if not pictures:
        raise DataError(
            f"{tree.root} has no picture in any part.",
            f"Expected {LOOKS_FOR}.",
            "Check the folders that data.yaml names.",
        )
    row = {name: place for place, name in enumerate(pictures)}
    columns, sources = _columns(tree, layout, pictures)
    whole = AnnotatedDataset(
        Paths([tree.path(name) for name in pictures]),
        columns,
        layout.classes,
        task=task,
        root=tree.root,
        origins=Origins(Paths(sources)),
        point_names=layout.point_names,
    )
    return splits_of(
        {part: [row[name] for name in names] for part, names in layout.parts.items()}, whole, name=tree.name
    )


def _numbered(tree: Tree) -> int:
    """How many classes the labels tell, where nothing names them."""
    texts, most = _LabelFiles(tree), -1
    for name in tree.names:
        text = texts.of(name) if is_picture(name) else None
        for _, line in tree.lines(text) if text else ():
            if (numbers := _numbers(line)) is not None and 0 <= numbers[0] < _MOST_CLASSES:
                most = max(most, int(numbers[0]))
    warn(
        f"Nothing in {tree.root} names the classes: they are called 0 to {max(most, 0)}. "
        "Write classes.txt there, a name on each line, or put data.yaml there."
    )
    return max(most + 1, 1)


def _has_labels(tree: Tree) -> bool:
    """Whether a text that is called like a picture holds a line of at least five numbers."""
    stems = {stem(name) for name in tree.names if is_picture(name)}
    texts = (name for name in tree.names if name.lower().endswith(".txt") and stem(name) in stems)
    return _begin_with_numbers(tree, texts)


def _begin_with_numbers(tree: Tree, texts: Iterable[str]) -> bool:
    """Whether the first line that there is in texts is a label."""
    return _numbers(next((line for name in texts for _, line in tree.lines(name)), "")) is not None


def _columns(tree: Tree, layout: Layout, pictures: Sequence[str]) -> tuple[dict[str, Column], list[str]]:
    """(labels, boxes and what else the lines tell of each picture, the file that each was read from)."""
    texts = _LabelFiles(tree)
    objects, points = Objects(), array("f")
    wrong = LeftOut("lines of labels", "A line is 'class cx cy w h' in shares of the picture's sides: correct these.")
    lost = LeftOut("files of labels", "Put their pictures beside them, or take these files out.", kind=MISSING)
    sources, total, read = [], 0, 0
    for row, picture in enumerate(pictures):
        text = texts.of(picture)
        read += text is not None
        sources.append(tree.path(text or picture))
        for line, content in tree.lines(text) if text else ():
            total += 1
            try:
                _add(objects, points, layout, row, content)
            except _WrongLineError as error:
                wrong.add(f"{tree.path(str(text))}, line {line}: {error}")
    wrong.tell(total)
    for name in texts.strays():
        lost.add(f"{tree.path(name)}: no picture is called {stem(name)}")
    lost.tell(lost.count + read, bearable=True)
    columns = objects.columns(len(pictures), layout.classes, per_picture=True, draw=_drawn)
    if layout.points[0]:
        values = np.asarray(points, dtype=np.float32).reshape(-1, layout.points[0], 3)
        boxes = columns["boxes_xyxy"]
        assert isinstance(boxes, Ragged)
        columns["keypoints"] = Ragged(values, boxes.ends, finish=_in_pixels)  # both in the order of the pictures
    return columns, sources


class _WrongLineError(Exception):
    """A line that is not as it should be."""


def _add(objects: Objects, points: array[float], layout: Layout, picture: int, line: str) -> None:
    numbers = _numbers(line)
    if numbers is None:
        raise _WrongLineError(f"{line[:60]!r} is not a class and at least four numbers")
    label, values = int(numbers[0]), numbers[1:]
    if label != numbers[0] or not 0 <= label < len(layout.classes):
        raise _WrongLineError(f"the class is {numbers[0]:g}, and there are {len(layout.classes)}, from 0 on")
    count, width = layout.points
    shape, spots = None, values[4:]
    if count and len(values) == 4 + count * width:
        _check_range([each for place, each in enumerate(spots) if place % width < 2])
        values = values[:4]
    elif len(values) != 4 and (count or len(values) < 6 or len(values) % 2):
        expected = f"{4 + count * width}" if count else "4, or 6 and more in pairs,"
        raise _WrongLineError(f"{len(values)} numbers follow the class, and {expected} were expected")
    _check_range(values)
    if len(values) == 4:
        x, y, wide, high = values
        box = [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]
    else:
        box = [min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])]
        shape = [values]
    for place in range(count):
        x, y, *seen = spots[place * width : (place + 1) * width] or (0.0, 0.0, 0.0)
        points.extend((x, y, seen[0] if seen else _VISIBLE * bool(x or y)))
    objects.add(picture, label, box, shape=shape)


def _check_range(values: Sequence[float]) -> None:
    beyond = next((value for value in values if not -_ROUNDING <= value <= 1 + _ROUNDING), None)
    if beyond is not None:
        raise _WrongLineError(f"{beyond:g} is no share, which lies in 0..1")


def _numbers(line: str) -> list[float] | None:
    """The numbers of a line; None where something else is on it, or fewer than five."""
    try:
        numbers = [float(part) for part in line.split()]
    except ValueError:
        return None
    return numbers if len(numbers) >= 5 and all(map(math.isfinite, numbers)) else None


def _drawn(shape: Sequence[Sequence[float]], size: Size) -> npt.NDArray[np.bool_]:
    """The mask of outlines in shares of the picture."""
    height, width = size
    return draw_polygons(
        [[value * (height if place % 2 else width) for place, value in enumerate(each)] for each in shape], size
    )


def _in_pixels(points: Tensor, size: Size) -> Tensor:
    height, width = size
    return points * torch.tensor([width, height, 1.0])


class _LabelFiles:
    """Where the label file of each picture is."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._by_stem: dict[str, list[str]] = {}
        for name in tree.names:
            if name.lower().endswith(".txt"):
                self._by_stem.setdefault(stem(name), []).append(name)

    def of(self, picture: str) -> str | None:
        """labels/ for the last images/ in its path, else beside it, else the only one of its name."""
        bare = os.path.splitext(picture)[0]
        before, found, after = f"/{bare}".rpartition("/images/")
        swapped = f"{before}/labels/{after}.txt".removeprefix("/") if found else ""
        for name in (swapped, f"{bare}.txt"):
            if name and name in self._tree:
                return name
        named = self._by_stem.get(stem(picture), ())
        return named[0] if len(named) == 1 else None

    def strays(self) -> list[str]:
        """Those in labels/, or beside pictures, of whose names there is no picture."""
        pictures = [name for name in self._tree.names if is_picture(name)]
        called, folders = set(map(stem, pictures)), {name.rpartition("/")[0] for name in pictures}
        apart = (name for each, names in self._by_stem.items() if each not in called for name in names)
        near = (name for name in apart if name.rpartition("/")[0] in folders or "labels" in name.split("/")[:-1])
        return [name for name in near if self._is_of_labels(name)]

    def _is_of_labels(self, name: str) -> bool:
        try:
            return _begin_with_numbers(self._tree, [name])
        except DataError:  # no text: somebody's notes
            return False
