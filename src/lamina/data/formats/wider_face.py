"""WIDER FACE (Yang et al. 2016, arXiv:1511.06523; shuoyang1213.me/WIDERFACE): faces in pictures of 61 events.

    wider_face_split/wider_face_{train,val}_bbx_gt.txt    for each picture its name, the number of faces, and a line for each:
                                                          x y w h blur expression illumination invalid occlusion pose
    wider_face_split/wider_face_test_filelist.txt         names of pictures without annotation: others["test_unlabelled"]
    WIDER_{train,val,test}/images/EVENT/NAME.jpg

A picture without faces has the number 0, and still a line of zeros, which is no face. `invalid` faces (too small or hidden to be
told) become crowd; the others are attributes: blur 0..2, expression 0..1, illumination 0..1, occlusion 0..2,
pose 0..1, each 0 where it is usual. The one class is "face". Boxes without area, of which the train list has some, are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.formats.gathered import Objects, splits_of, unlabelled
from lamina.data.formats.image_folder import is_picture
from lamina.data.formats.named_pictures import NamedPictures
from lamina.data.left_out import MISSING, LeftOut
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("detection",)
LOOKS_FOR = "wider_face_split/wider_face_train_bbx_gt.txt and WIDER_train/images/"
CLASSES = ("face",)
_LIST = re.compile(r"wider_face_(train|val|test)_(?:bbx_gt|filelist)\.txt", re.IGNORECASE)
_PARTS = {"train": "train", "val": "validation", "test": "test"}
_HUGE = 1e9  # no picture has so many pixels a side
_ATTRIBUTES = ("blur", "expression", "illumination", "occlusion", "pose")


def matches(tree: Tree) -> str:
    """The list of WIDER FACE."""
    return next((f"{name} is a list of WIDER FACE" for name in _lists(tree).values()), "")


def _lists(tree: Tree) -> dict[str, str]:
    """The file of each part; the test's list has no boxes, and is "unlabelled"."""
    found: dict[str, str] = {}
    for name in tree.matching("*wider_face_*_*.txt"):
        fits = _LIST.fullmatch(name.rpartition("/")[2])
        if fits is not None:
            boxed = "bbx_gt" in name.lower()
            found.setdefault(_PARTS[fits[1].lower()] if boxed else "unlabelled", name)
    return found


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The parts that there are. Raises DataError naming file and line of what is no name, number or face."""
    lists, pictures, objects = _lists(tree), NamedPictures(tree), Objects(*_ATTRIBUTES)
    missing = LeftOut("pictures", "Copy them to WIDER_train/images/, and so on.", kind=MISSING)
    paths: list[str] = []
    lines: list[int] = []
    files: list[int] = []
    parts: dict[str, list[int]] = {}
    bare: list[str] = []
    total = 0
    for number, (part, file) in enumerate(lists.items()):
        folder = f"WIDER_{file.rpartition('/')[2].split('_')[2].lower()}/images"
        for line, name, faces in _entries(tree, file):
            total += 1
            picture = pictures.find(f"{folder}/{name}")
            if picture is None:
                missing.add(f"{tree.path(file)}, line {line}: {name} is not there")
                continue
            if part == "unlabelled":
                bare.append(picture)
                continue
            for x, y, wide, high, blur, expression, illumination, invalid, occlusion, pose in faces:
                attributes = [int(told) for told in (blur, expression, illumination, occlusion, pose)]
                objects.add(len(paths), 0, (x, y, x + wide, y + high), crowd=invalid == 1, attributes=attributes)
            parts.setdefault(part, []).append(len(paths))
            paths.append(tree.path(picture))
            lines.append(line)
            files.append(number)
    missing.tell(total, bearable=True)
    if not paths:
        raise DataError(f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Check the folder.")
    columns = objects.columns(len(paths), CLASSES)
    origins = Origins([tree.path(name) for name in lists.values()], np.array(lines), which=np.array(files))
    whole = AnnotatedDataset(Paths(paths), columns, CLASSES, task=task, root=tree.root, origins=origins)
    return splits_of(parts, whole, name=tree.name, others=unlabelled(tree, {"test": bare}, CLASSES, task=task))


def _entries(tree: Tree, file: str) -> Iterator[tuple[int, str, list[list[float]]]]:
    """(line of the name, name, ten numbers of each face) of each picture; a file list has names alone."""
    where, lines = tree.path(file), list(tree.lines(file))
    if "filelist" in file.lower():
        yield from ((line, name, []) for line, name in lines)
        return
    lines += [(lines[-1][0] if lines else 1, "")] * 2
    place = 0
    while place < len(lines) - 2:
        (line, name), (at, count) = lines[place : place + 2]
        if not is_picture(name):
            raise _wrong(where, line, f"{name!r} is no name of a picture; perhaps the number above it is too small")
        if not count.isdecimal():
            raise _wrong(where, at, f"{count!r} is not the number of faces in {name}")
        place += 2
        faces = [_face(where, *each) for each in lines[place : place + int(count)]]
        place += int(count)
        if not faces and lines[place][1] and not is_picture(lines[place][1]):
            _face(where, *lines[place])  # a line of zeros, which is none
            place += 1
        yield line, name, faces


def _face(where: str, line: int, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) not in (4, 10) or not all(abs(each) < _HUGE for each in numbers):
        raise _wrong(where, line, f"{text!r} is no face: x y w h, or these and six attributes")
    return numbers if len(numbers) == 10 else [*numbers, *[0.0] * 6]


def _wrong(where: str, line: int, how: str) -> DataError:
    return DataError(
        f"{where}, line {line}: {how}.",
        "The name of a picture, the number of its faces, and a line for each were expected.",
        "Mend that line, or fetch the file again.",
    )
