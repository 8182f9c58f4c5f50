"""Cityscapes (Cordts et al. 2016, arXiv:1604.01685): leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_*.png.

"segmentation" gives the 19 classes of the benchmark, and 255 elsewhere; "detection" the objects of the 8 classes that are counted,
with their masks; groups that could not be told apart are `crowd`. Read are the maps labelIds, else instanceIds, else
labelTrainIds; for "detection" instanceIds: a value below 1,000 is a class, any other a class times 1,000 and a number. gtCoarse is
read where there is no gtFine. Pictures without a map are left out.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Beside, Column, Size
from lamina.data.formats.image_folder import SPLITS
from lamina.data.left_out import BARE, LeftOut
from lamina.data.maps import ClassMap, stored
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED

TASKS = ("segmentation", "detection")
LOOKS_FOR = "folders leftImg8bit/ and gtFine/ (or gtCoarse/)"
CLASSES = {  # the benchmark's classes in its order, and the ids of the annotations
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
THINGS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
_IDS = 34  # 0 .. 33; the licence plate is -1, which is stored as 255 or 65535
_PICTURE = "_leftImg8bit.png"
_CLASS_OF = np.full(_IDS, IGNORED, dtype=np.uint8)
_CLASS_OF[list(CLASSES.values())] = np.arange(len(CLASSES))
_THING_OF = {CLASSES[name]: number for number, name in enumerate(THINGS)}
_READS = {"segmentation": ("labelIds", "instanceIds", "labelTrainIds"), "detection": ("instanceIds",)}


def matches(tree: Tree) -> str:
    """The folder leftImg8bit beside one of maps."""
    folders = tree.folders()
    maps = next((name for name in ("gtFine", "gtCoarse") if name in folders), "")
    return f"the folders leftImg8bit and {maps} lie beside each other" if maps and "leftImg8bit" in folders else ""


def tasks_there(tree: Tree) -> dict[str, str]:
    """Segmentation, and detection where there are maps of instances: by which each is known."""
    how = matches(tree)
    return {task: how for task in TASKS if any(f"_{of}.png" in name for name in tree.names for of in _READS[task])}


def open_tree(tree: Tree, task: str) -> Splits[AnnotatedDataset]:
    """The splits that are there. Raises DataError where no picture has a map."""
    known = set(tree.names)
    found: dict[str, list[tuple[str, str]]] = {}
    left_out = LeftOut(
        f"pictures of {tree.root}", f"Put their maps ({' or '.join(_READS[task])}) into gtFine.", kind=BARE
    )
    pictures = [name for name in tree.names if name.startswith("leftImg8bit/") and name.endswith(_PICTURE)]
    for name in pictures:
        split = SPLITS.get(name.split("/")[1], name.split("/")[1])
        start = name.removeprefix("leftImg8bit/").removesuffix(_PICTURE)
        wanted = (f"{kind}/{start}_{kind}_{of}.png" for kind in ("gtFine", "gtCoarse") for of in _READS[task])
        beside = next((each for each in wanted if each in known), None)
        if beside is None:
            left_out.add(f"{name} has no map")
        else:
            found.setdefault(split, []).append((name, beside))
    if not found:
        raise DataError(
            f"{tree.root} holds {len(pictures):,} pictures *{_PICTURE}, and none has a map for {task}.",
            f"Expected {LOOKS_FOR}, with files *_gtFine_{_READS[task][0]}.png.",
            "Unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip into one folder.",
        )
    left_out.tell(len(pictures), bearable=True)
    names = tuple(CLASSES) if task == "segmentation" else THINGS
    parts = {}
    for split, pairs in found.items():
        paths, maps = (Paths([tree.path(each) for each in side]) for side in zip(*pairs, strict=True))
        columns: dict[str, Column] = {"class_map": Beside(maps, class_map)}
        if task == "detection":
            columns = {name: Beside(maps, functools.partial(_objects, name)) for name in _OF_OBJECTS}
        parts[split] = AnnotatedDataset(paths, columns, names, task=task, root=tree.root)
    others = {name: part for name, part in parts.items() if name not in ("train", "validation", "test")}
    return Splits(parts.get("train"), parts.get("test"), parts.get("validation"), name=tree.name, others=others)


_TRAIN_IDS = ClassMap([*range(len(CLASSES)), IGNORED], [*range(len(CLASSES)), IGNORED])


def class_map(path: str, size: Size) -> UInt8[Tensor, "H W"]:
    """The class of each pixel from a file of labelIds, instanceIds or labelTrainIds."""
    if path.endswith("_labelTrainIds.png"):
        return _TRAIN_IDS(path, size)
    return torch.from_numpy(np.append(_CLASS_OF, np.uint8(IGNORED))[_ids(stored(path, size)[0], path)])


def _ids(values: npt.NDArray[np.int32], path: str) -> npt.NDArray[np.int32]:
    """The annotation's ids, with 34 for the licence plate. Raises DataError for one that there is not."""
    ids = np.where(values >= 1000, values // 1000, values)
    ids[(values == 255) | (values == 65535) | (values < 0)] = _IDS
    if ids.max() > _IDS:
        raise DataError(
            f"The mask {path} holds the value {int(values[ids > _IDS][0])}.",
            "Ids 0..33, or these times 1,000 and a number, were expected.",
            "Fetch it again, or check what made it.",
        )
    return ids


_OF_OBJECTS = ("labels", "boxes_xyxy", "masks", "crowd")


def _objects(field: str, path: str, size: Size) -> Tensor:
    return torch.from_numpy(_annotated(path, size)[field].copy())


@functools.lru_cache(maxsize=4)  # the columns of one sample ask one after the other
def _annotated(path: str, size: Size) -> dict[str, npt.NDArray[np.generic]]:
    """labels (N), boxes (N 4), masks (N H W) and crowd (N) of the objects in a file of instanceIds."""
    values, _ = stored(path, size)
    ids = _ids(values, path)
    objects = [
        value for value in np.unique(values).tolist() if (value // 1000 if value >= 1000 else value) in _THING_OF
    ]
    masks = np.array([values == value for value in objects], dtype=bool).reshape(-1, *size)
    boxes = np.zeros((len(objects), 4), dtype=np.float32)
    labels = np.zeros(len(objects), dtype=np.int64)
    for row, mask in enumerate(masks):
        x, y = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
        boxes[row] = x[0], y[0], x[-1] + 1, y[-1] + 1
        labels[row] = _THING_OF[int(ids[mask][0])]
    return {"labels": labels, "boxes_xyxy": boxes, "masks": masks, "crowd": np.array(objects, dtype=np.int64) < 1000}
