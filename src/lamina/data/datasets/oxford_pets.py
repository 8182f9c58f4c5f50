"""Oxford-IIIT Pets: 7,349 photos of cats and dogs of 37 breeds, with their outlines (Parkhi et al. 2012).

`annotations/{trainval,test}.txt` have `Breed_12 CLASS SPECIES NUMBER` on each line; `images/Breed_12.jpg` is the picture and
`annotations/trimaps/Breed_12.png` says of each pixel 1 pet, 2 background, 3 neither surely.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.data.annotated import AnnotatedDataset
from lamina.data.columns import Beside
from lamina.data.dataset import FolderDataset
from lamina.data.datasets.listed import fields, listed
from lamina.data.paths import Paths
from lamina.data.splits import Splits
from lamina.data.tree import Tree
from lamina.structures.annotation import IGNORED

PARTS = ("background", "pet")
_OF_TRIMAP = np.full(256, IGNORED, dtype=np.uint8)
_OF_TRIMAP[1:3] = (1, 0)


def read(tree: Tree, task: str) -> Splits[FolderDataset] | Splits[AnnotatedDataset]:
    """3,680 pictures to train and 3,669 to test: their breeds, or for segmentation what is pet, with its rim ignored."""
    lists = {part: f"annotations/{part}.txt" for part in ("trainval", "test")}
    lines = {part: [(number, row) for number, row in fields(tree, file, count=2)] for part, file in lists.items()}
    breeds: dict[int, str] = {}
    for which, rows in lines.items():
        for number, (name, label, *_) in rows:
            if not label.isdecimal():
                raise DataError(
                    f"{tree.path(lists[which])}, line {number}: the class is {label!r}.",
                    "A number from 1 on was expected.",
                    "Delete the file, so that it is fetched again.",
                )
            breeds[int(label)] = name.rpartition("_")[0].replace("_", " ")
    classes = tuple(breeds.get(label, str(label)) for label in range(1, max(breeds) + 1))

    def part(name: str) -> FolderDataset:
        rows = ((f"images/{each}.jpg", int(label) - 1, number) for number, (each, label, *_) in lines[name])
        return listed(tree, rows, classes, file=lists[name])

    train, test = part("trainval"), part("test")
    if task == "classification":
        return Splits(train, test)
    return Splits(_outlined(train, tree), _outlined(test, tree))


def _outlined(dataset: FolderDataset, tree: Tree) -> AnnotatedDataset:
    names = (f"annotations/trimaps/{path.stem}.png" for path in dataset.paths)
    maps = Paths([tree.path(name) if name in tree else "" for name in names])
    columns = {"class_map": Beside(maps, trimap)}
    return AnnotatedDataset(
        dataset.paths, columns, PARTS, task="segmentation", root=dataset.root, origins=dataset.origins
    )


def trimap(path: str, size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """The classes of the pixels: 1 pet, 0 background, IGNORED at the rim."""
    del size
    with Image.open(io.BytesIO(archive.read_bytes(path))) as picture:
        return torch.from_numpy(_OF_TRIMAP[np.asarray(picture.convert("L"))])
