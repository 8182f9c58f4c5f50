"""GTSRB: 39,270 photos of German traffic signs in 43 classes (Stallkamp et al. 2012; the corrected training pictures).

`GTSRB/Training/00007/*.ppm` are the training pictures of class 7; `GT-final_test.csv` has `FILE;...;CLASS` for those in
`GTSRB/Final_Test/Images`.
"""

from __future__ import annotations

from lamina.core.errors import DataError
from lamina.data.dataset import FolderDataset
from lamina.data.datasets.listed import fields, listed
from lamina.data.formats.image_folder import is_picture
from lamina.data.splits import Splits
from lamina.data.tree import Tree

_TABLE = "GT-final_test.csv"
CLASSES = tuple(f"{number:05d}" for number in range(43))


def read(tree: Tree, task: str) -> Splits[FolderDataset]:
    """26,640 training and 12,630 test pictures."""
    del task
    folder = "GTSRB/Training"
    paths, labels = [], []
    for name in tree.below(folder).names:
        if is_picture(name):
            paths.append(tree.path(f"{folder}/{name}"))
            labels.append(int(name.split("/")[0]))
    rows = []
    for number, parts in fields(tree, _TABLE, count=8, separator=";"):
        if number == 1:  # the names of the columns
            continue
        if not parts[7].isdecimal():
            raise DataError(
                f"{tree.path(_TABLE)}, line {number}: the class is {parts[7]!r}.",
                "A number from 0 to 42 was expected.",
                "Delete the file, so that it is fetched again.",
            )
        rows.append((f"GTSRB/Final_Test/Images/{parts[0]}", int(parts[7]), number))
    train = FolderDataset(paths, labels, CLASSES, root=tree.root)
    return Splits(train, listed(tree, rows, CLASSES, file=_TABLE))
