"""CVAT for images 1.1: one annotations.xml with an <image> for each picture (docs.cvat.ai/docs/manual/advanced/xml_format).

    <image name="a.jpg" width height [subset="Train"]>  with <box xtl ytl xbr ybr [rotation]>, <polygon points="x,y;x,y">,
                                                        <mask rle left top width height>

Boxes are edges in pixels. Polygons and masks give their box and a mask; then the other objects have their box for a mask; of a
turned box (rotation, in degrees, clockwise) the corners are the outline, and the box is the one around them. `occluded` (0, 1)
is an extra. Lines, points, ellipses, cuboids and skeletons are left out with a warning. An image without shapes shows
nothing. Parts are the subsets; without them folders called train, valid, test, else all is `train`. Classes stand in the
order of <meta>, sorted where it names none. Tracks through a video (CVAT for video) are refused: their pictures are frames of a film.
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.class_names import refuse_twins
from lamina.data.columns import Size
from lamina.data.formats import markup
from lamina.data.formats.gathered import Objects, split_of, splits_of
from lamina.data.formats.image_folder import SPLITS
from lamina.data.formats.markup import Element
from lamina.data.formats.named_pictures import NamedPictures
from lamina.data.left_out import BARE, MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.masks import draw_polygons

TASKS = ("detection",)
LOOKS_FOR = "an XML file of <annotations> with an <image> for each picture, as CVAT exports"
_UNREAD = ("polyline", "points", "cuboid", "ellipse", "skeleton")
_HEAD = re.compile(rb"<annotations>.*<(version|meta|image|track)\b", re.DOTALL)
_LOOKED_AT = 4000  # bytes
_LARGEST = 1 << 26  # pixels of one mask


def matches(tree: Tree) -> str:
    """The XML file of CVAT."""
    found = _files(tree)
    return f"{found[0]} holds the <annotations> of CVAT" if found else ""


def _files(tree: Tree) -> list[str]:
    likely = [name for name in tree.names if name.lower().endswith(".xml") and name.count("/") < 3]
    if len(likely) > 20:  # one file a picture is VOC's way
        return [name for name in likely if name.rpartition("/")[2] == "annotations.xml"]
    return [name for name in likely if _HEAD.search(tree.read(name)[:_LOOKED_AT])]


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The subsets. Raises DataError naming file and line of XML that is broken, hostile, lacks a number, or is of a video."""
    files = _files(tree)
    if not files:
        raise DataError(
            f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the folder of annotations.xml."
        )
    pictures, objects = NamedPictures(tree), Objects("occluded")
    missing = LeftOut(
        "annotated pictures", "Put the pictures beside the annotations, under the names that these tell.", kind=MISSING
    )
    strange = LeftOut("shapes", "Only boxes, polygons and masks are read.", kind=BARE)
    classes: dict[str, None] = {}
    paths: list[str] = []
    lines: list[int] = []
    which: list[int] = []
    rows: dict[str, int] = {}
    parts: dict[str, list[int]] = {}
    total = 0
    for number, file in enumerate(files):
        where = tree.path(file)
        root = markup.parsed(tree.read(file), where)
        if (track := root.find("track")) is not None and isinstance(track, Element):
            raise DataError(
                f"{where}, line {track.line}: these are tracks through a video.",
                "An <image> for each picture was expected.",
                "Export the task as 'CVAT for images', with the pictures.",
            )
        classes |= dict.fromkeys((name.text or "").strip() for name in root.iterfind("meta//labels/label/name"))
        for image in _elements(root, "image"):
            total += 1
            name = image.get("name", "")
            picture = pictures.find(name, near=file)
            if picture is None:
                missing.add(f"{where}, line {image.line}: {name} is not there")
                continue
            row = rows.setdefault(picture, len(paths))
            if row == len(paths):
                paths.append(tree.path(picture))
                lines.append(image.line)
                which.append(number)
                subset = image.get("subset", "")
                part = SPLITS.get(subset.lower(), subset) if subset and subset != "default" else split_of(picture)
                parts.setdefault(part, []).append(row)
            for shape in _elements(image):
                _read_shape(shape, where, objects, row, strange)
    missing.tell(total, bearable=True)
    strange.tell(len(objects) + strange.count, bearable=True)
    if not paths:
        raise DataError(f"{tree.path(files[0])} names no picture.", f"Expected {LOOKS_FOR}.", "Export the task again.")
    names = [*classes, *sorted(set(objects.names) - set(classes))]
    refuse_twins(names, tree.path(files[0]))
    whole = AnnotatedDataset(
        Paths(paths),
        objects.columns(len(paths), names, draw=_drawn),
        names,
        task=task,
        root=tree.root,
        origins=Origins([tree.path(file) for file in files], np.array(lines), which=np.array(which)),
    )
    return splits_of(parts, whole, name=tree.name)


def _elements(parent: Element, tag: str = "") -> Iterator[Element]:
    return (child for child in parent if isinstance(child, Element) and (not tag or child.tag == tag))


def _read_shape(element: Element, where: str, objects: Objects, picture: int, strange: LeftOut) -> None:
    told: Mapping[str, str] = element.attrib
    label = told.get("label", "")
    if element.tag not in ("box", "polygon", "mask"):
        if element.tag in _UNREAD:
            strange.add(f"{where}, line {element.line}: a {element.tag} of {label}")
        return
    if not label:
        raise markup.wrong(where, element.line, f"a <{element.tag}> has no label")
    shape: Any = None
    if element.tag == "box":
        box = [_number(element, side, where) for side in ("xtl", "ytl", "xbr", "ybr")]
        if told.get("rotation") and (angle := _number(element, "rotation", where)):
            shape = [_turned(box, angle)]
            box = _around(shape[0])
    elif element.tag == "polygon":
        pairs = [pair.split(",") for pair in told.get("points", "").split(";")]
        if any(len(pair) != 2 for pair in pairs):
            raise markup.wrong(where, element.line, "the points of a polygon are no pairs x,y;x,y;x,y")
        shape = [
            [markup.number(value, where, element.line, "a point of a polygon") for pair in pairs for value in pair]
        ]
        box = _around(shape[0])
    else:
        left, top, wide, high = (int(_number(element, side, where)) for side in ("left", "top", "width", "height"))
        box = [left, top, left + wide, top + high]
        shape = {"left": left, "top": top, "width": wide, "height": high, "runs": _runs(element, where, wide, high)}
    attributes = (int(told.get("occluded") == "1"),)
    objects.add(picture, objects.label(label), box, attributes=attributes, shape=shape)


def _number(element: Element, name: str, where: str) -> float:
    return markup.number(element.get(name), where, element.line, f"{name} of a <{element.tag}>")


def _runs(element: Element, where: str, width: int, height: int) -> list[int]:
    """How many pixels are outside, inside, outside ... in turn, along the rows of the mask's box."""
    parts = [part.strip() for part in element.get("rle", "").split(",")]
    runs = [int(part) for part in parts if part.isdecimal() and len(part) < 10]
    if len(runs) != len(parts) or width < 1 or height < 1 or width * height > _LARGEST or sum(runs) > width * height:
        raise markup.wrong(where, element.line, f"the runs of a mask do not fill its {width} x {height} pixels")
    return runs


def _turned(box: Sequence[float], angle: float) -> list[float]:
    """The corners of a box turned clockwise about its middle, by degrees."""
    x0, y0, x1, y1 = box
    middle = complex((x0 + x1) / 2, (y0 + y1) / 2)
    turn = cmath.rect(1.0, math.radians(angle))
    corners = [middle + (complex(x, y) - middle) * turn for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    return [side for corner in corners for side in (corner.real, corner.imag)]


def _around(outline: Sequence[float]) -> list[float]:
    return [min(outline[0::2]), min(outline[1::2]), max(outline[0::2]), max(outline[1::2])]


def _drawn(shape: Any, size: Size) -> npt.NDArray[np.bool_]:
    """The mask of outlines, or of runs in a box of the picture, which may reach beyond it."""
    if not isinstance(shape, Mapping):
        return draw_polygons(shape, size)
    left, top, width, height = (shape[side] for side in ("left", "top", "width", "height"))
    runs = np.array([*shape["runs"], 0])
    inside = np.zeros(width * height, dtype=np.bool_)
    inside[: runs.sum()] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask = np.zeros(size, dtype=np.bool_)
    seen = inside.reshape(height, width)[max(-top, 0) : max(size[0] - top, 0), max(-left, 0) : max(size[1] - left, 0)]
    mask[max(top, 0) : max(top, 0) + seen.shape[0], max(left, 0) : max(left, 0) + seen.shape[1]] = seen
    return mask
