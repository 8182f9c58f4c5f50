"""COCO's JSON (Lin 2014, arXiv:1405.0312; cocodataset.org/#format-data), as COCO, Roboflow, mmdetection, CVAT and others lay it out.

    annotations/KIND_PART.json, pictures in PART/, images/PART/, images/, JPEGImages/ ...
    PART/_annotations.coco.json, pictures beside it
    any.json, alone or with few others, that has the lists images and annotations

KIND is instances, person_keypoints, captions, panoptic, stuff, labels (several classes a picture, as Datumaro writes it), or
image_info (pictures without annotations). Categories become 0 .. K-1 in the order in which the first part lists them; boxes x, y,
width, height become corners. Masks are kept as text and drawn when they are asked for. `extras` hold each picture's
"image_id", and its "height" and "width" where they are told. An annotation of a picture or a category that is not listed, and a
picture that is not there, are left out, and counted in one warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.class_names import refuse_twins
from lamina.data.columns import Column, Fixed, Ragged, Shapes, Size, ends_of
from lamina.data.dataset import FolderDataset
from lamina.data.formats import coco_panoptic
from lamina.data.formats.coco_files import KINDS, NO_ANNOTATIONS, CocoFile, PictureFinder, find, parts_for
from lamina.data.formats.coco_json import Categories, Faults, Pictures, read
from lamina.data.formats.coco_objects import Captions, Objects
from lamina.data.left_out import KEPT, MISSING
from lamina.data.origins import Origins
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED
from lamina.structures.masks import draw_shape

TASKS = tuple(KINDS)
LOOKS_FOR = "annotations/instances_train.json or the like, PART/_annotations.coco.json, or a JSON file with images and annotations"
_HAS = {"captioning": ("images", "annotations"), NO_ANNOTATIONS: ("images",)}
_MAPPED = 255  # classes that a map of 8 bits can tell apart, beside IGNORED

Gathered = Objects | Captions | coco_panoptic.Segments
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """What a file of annotations says: of which file, pictures and categories; None where it has no annotations."""

    file: CocoFile
    pictures: Pictures
    categories: Categories
    gathered: Gathered | None


def matches(tree: Tree) -> str:
    """The file that is named as COCO's are, or that has their lists."""
    return next(iter(tasks_there(tree).values()), "")


def tasks_there(tree: Tree) -> dict[str, str]:
    """The tasks that there are annotations for, each with the first of its files; what has another name is for the usual one."""
    files, there = find(tree), dict[str, str]()
    for task in TASKS:
        named = any(file.kind and file.kind in KINDS[task] for file in files)
        if named or (not there and any(file.kind in KINDS[task] for file in files)):
            there[task] = _known_by(files, task)
    return there or ({TASKS[0]: _known_by(files, TASKS[0])} if files else {})


def _known_by(files: Sequence[CocoFile], task: str) -> str:
    file = next(iter(parts_for(files, task).values()))
    return f"{file.name} is named as COCO's files are" if file.kind else f"{file.name} has the lists of COCO"


def open_tree(tree: Tree, task: str) -> Splits[Any]:
    """The parts that have annotations for the task, and those of image_info_*, which have none.

    Raises DataError where there are none, where a file breaks (with the line) or is no COCO, and where no picture is there.
    """
    files = find(tree)
    faults = Faults()
    parts = {name: read_part(tree, file, task, faults) for name, file in parts_for(files, task).items()}
    if not parts:
        there = [other for other in TASKS if parts_for(files, other)]
        only = f", only for {', '.join(there)}" if there else ""
        raise DataError(
            f"{tree.root} has no COCO file for {task}{only}.",
            f"Expected {LOOKS_FOR}; for {task} a name that begins with {' or '.join(filter(None, KINDS[task]))}.",
            f"Pass task={there[0]!r}." if there else "Check the folder.",
        )
    return assemble(tree, parts, task, faults)


def read_part(tree: Tree, file: CocoFile, task: str, faults: Faults) -> Part:
    """What one file says, before it is known which of its pictures are there. Raises DataError."""
    gathered: Gathered
    if task == "captioning":
        gathered = Captions()
    elif task == "panoptic":
        gathered = coco_panoptic.Segments()
    else:
        boxes = task in ("detection", "keypoints")
        gathered = Objects(boxes=boxes, shapes=task != "classification", points=task == "keypoints")
    bare = file.kind == NO_ANNOTATIONS
    needs = _HAS.get(NO_ANNOTATIONS if bare else task, ("images", "annotations", "categories"))
    pictures, categories = read(tree, file.name, faults, gathered.add, needs=needs)
    if bare:
        return Part(file, pictures, categories, None)
    gathered.finish(file.name, pictures, categories, faults)
    return Part(file, pictures, categories, gathered)


def assemble(
    tree: Tree, parts: Mapping[str, Part], task: str, faults: Faults, *, any_part: bool = False
) -> Splits[Any]:
    """The data sets of parts, of the pictures that are there. Raises DataError where none is."""
    classes, places = _merged(parts, faults)
    refuse_twins(classes, tree.root)
    finder, sets = PictureFinder(tree), {}
    for name, part in parts.items():
        found = finder.rows(part.file, part.pictures.names, any_part=any_part)
        missing = [names[0] for names, place in zip(part.pictures.names, found, strict=True) if not place]
        faults.add(part.file.name, f"of {len(found):,} pictures that are not there", missing, kind=MISSING)
        kept = np.array([row for row, place in enumerate(found) if place], dtype=np.int64)
        if len(kept):
            sets[name] = _dataset(tree, part, task, found=found, kept=kept, classes=classes, places=places[name])
    if not sets:
        told = next(iter(parts.values()))
        first = f" ({told.pictures.names[0][0]} ...)" if len(told.pictures) else ""
        raise DataError(
            f"{tree.root} has none of the {len(told.pictures):,} pictures that {told.file.name} lists{first}.",
            "The pictures were expected in the same folder or archive.",
            "Put them beside the annotations, in a folder images, or one called as the part.",
        )
    faults.warn(tree.root)
    _tell_single([made for made in sets.values() if isinstance(made, FolderDataset)])
    others = {name: made for name, made in sets.items() if name not in ("train", "validation", "test")}
    return Splits(sets.get("train"), sets.get("test"), sets.get("validation"), name=tree.name, others=others)


def _merged(parts: Mapping[str, Part], faults: Faults) -> tuple[tuple[str, ...], dict[str, Rows]]:
    """The classes of all parts, and for each part where its categories are among them."""
    classes: dict[str, int] = {}
    places = {}
    for name, part in parts.items():
        new = [each for each in part.categories.names if each not in classes]
        if classes and new:
            faults.add(part.file.name, "categories that the parts before it do not list", new, kind=KEPT)
        for each in new:
            classes[each] = len(classes)
        places[name] = np.array([classes[each] for each in part.categories.names], dtype=np.int64)
    return tuple(classes), places


def _dataset(
    tree: Tree,
    part: Part,
    task: str,
    *,
    found: Sequence[str],
    kept: Rows,
    classes: Sequence[str],
    places: Rows,
) -> AnnotatedDataset | FolderDataset:
    paths = [tree.path(found[row]) for row in kept]
    where, keys = np.full(len(found) + 1, -1, np.int64), list(part.pictures.rows)
    where[kept] = np.arange(len(kept))  # the last stands for pictures that are not listed
    numbered = all(type(key) is int and abs(key) < 1 << 62 for key in keys)
    ids = np.array([keys[row] for row in kept] if numbered else kept + 1, dtype=np.int64)
    origins = Origins([tree.path(part.file.name)], ids, word="image id" if numbered else "image")
    gathered, columns = part.gathered, dict[str, Column]()
    if isinstance(gathered, Captions):
        columns = {"captions": gathered.column(where, len(kept))}
    elif isinstance(gathered, coco_panoptic.Segments):
        columns = gathered.columns(tree, part.file.name, kept, places)
    elif gathered is not None:
        used = np.flatnonzero((where[gathered.owners] >= 0) & (gathered.labels >= 0))
        used = used[np.argsort(where[gathered.owners[used]], kind="stable")]
        ends = ends_of(np.bincount(where[gathered.owners[used]], minlength=len(kept)))
        labels = Ragged(places[gathered.labels[used]], ends)
        if task == "classification":
            return _classified(paths, labels, classes, root=tree.root, origins=origins)
        columns = _objects(gathered, used, ends, labels, task=task, classes=len(classes))
    if numbered:
        columns["image_id"] = Fixed(ids)
    sizes = np.asarray(part.pictures.sizes).reshape(-1, 2)[kept]
    if sizes.any():  # `check` compares them with the pictures
        columns["height"], columns["width"] = (Fixed(side) for side in sizes.T.astype(np.int64))
    if part.pictures.federated:
        for name, lists in (("negative", part.pictures.negatives), ("incomplete", part.pictures.incomplete)):
            columns[f"{name}_labels"] = _federated(lists, part.categories, kept, places)
    things = [bool(each.get("isthing", 1)) for each in _records(part, places, len(classes))]
    points = max((_point_names(each) for each in part.categories.records), key=len, default=())
    lines = max((_skeleton(each) for each in part.categories.records), key=len, default=())
    frequencies = [str(each.get("frequency", "")) for each in _records(part, places, len(classes))]
    return AnnotatedDataset(
        paths,
        columns,
        classes,
        task=task,
        root=tree.root,
        origins=origins,
        things=things if task == "panoptic" else None,
        point_names=points if task == "keypoints" else (),
        skeleton=lines if task == "keypoints" else (),
        frequencies=frequencies if any(frequencies) else (),
    )


def _objects(
    gathered: Objects, used: Rows, ends: Rows, labels: Ragged, *, task: str, classes: int
) -> dict[str, Column]:
    """The columns of the objects `used`, which are sorted by their pictures."""
    texts = gathered.texts(used, ends) if gathered.drawn else None
    if task == "segmentation":
        if classes > _MAPPED:
            raise DataError(
                f"There are {classes:,} classes.",
                f"A map of classes has at most {_MAPPED}, as {IGNORED} marks what is ignored.",
                "Open it for detection, where each object has its own mask.",
            )
        return {} if texts is None else {"class_map": ClassMaps(Shapes(texts, draw_shape), labels)}
    columns: dict[str, Column] = {
        "labels": labels,
        "boxes_xyxy": Ragged(gathered.boxes[used], ends),
        "crowd": Ragged(gathered.crowd[used], ends),
        "area_px": Ragged(gathered.area[used], ends),
    }
    if texts is not None:
        columns["masks"] = Shapes(texts, draw_shape)
    if task == "keypoints":
        columns["keypoints"] = Ragged(gathered.keypoints(used), ends)
    return columns


class ClassMaps:
    """For each sample the class of each pixel, drawn from the masks of its objects in their order; IGNORED where there is none."""

    def __init__(self, shapes: Shapes, labels: Ragged) -> None:
        self._shapes, self._labels = shapes, labels

    def __len__(self) -> int:
        return len(self._labels)

    def at(self, index: int, size: Size) -> torch.Tensor:
        """The map of one sample (H W, uint8)."""
        made = torch.full(size, IGNORED, dtype=torch.uint8)
        for mask, label in zip(self._shapes.at(index, size), self._labels.at(index, size).tolist(), strict=True):
            made[mask] = label
        return made

    def take(self, rows: Rows) -> ClassMaps:
        """The column of these samples."""
        return ClassMaps(self._shapes.take(rows), self._labels.take(rows))


def _classified(
    paths: Sequence[str], labels: Ragged, classes: Sequence[str], *, root: str, origins: Origins
) -> FolderDataset:
    """0 or 1 for each picture and class."""
    several = np.zeros((len(paths), len(classes)), dtype=np.int64)
    several[np.repeat(np.arange(len(paths)), np.diff(labels.ends)), labels.values] = 1
    return FolderDataset(paths, torch.from_numpy(several), classes, root=root, origins=origins)


def _tell_single(sets: Sequence[FolderDataset]) -> None:
    """Where every picture of all parts has exactly one label, that is its label."""
    if all(bool((made.labels.sum(1) == 1).all()) for made in sets):
        for made in sets:
            made.labels = made.labels.argmax(1)


def _federated(lists: Sequence[Sequence[Any]], categories: Categories, kept: Rows, places: Rows) -> Ragged:
    known = [[categories.rows[key] for key in lists[row] if key in categories.rows] for row in kept]
    flat = np.array([row for several in known for row in several], dtype=np.int64)
    return Ragged(places[flat], ends_of([len(several) for several in known]))


def _records(part: Part, places: Rows, count: int) -> list[Mapping[str, Any]]:
    """What the part's file says of each class; nothing of those that only other parts list."""
    told: list[Mapping[str, Any]] = [{}] * count
    for place, record in zip(places.tolist(), part.categories.records, strict=True):
        told[place] = record
    return told


def _point_names(category: Mapping[str, Any]) -> tuple[str, ...]:
    names = category.get("keypoints")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _skeleton(category: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """The pairs of points that are joined, from 0 on; the file counts from 1, and what fits no point is passed over."""
    told, points = category.get("skeleton"), range(1, len(_point_names(category)) + 1)
    pairs = told if isinstance(told, list) else []
    return tuple(
        (pair[0] - 1, pair[1] - 1)
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(type(each) is int and each in points for each in pair)
    )
