"""Oxford Flowers 102: 8,189 photos of 102 kinds of flowers (Nilsback & Zisserman 2008).

`imagelabels.mat` has the class 1..102 of each picture `jpg/image_00001.jpg` ...; `setid.mat` their numbers in `trnid`, `valid`, `tstid`.
The authors publish no list of the kinds' names, so the classes are called by their numbers.
"""

from __future__ import annotations

from lamina.core.errors import DataError
from lamina.data.dataset import FolderDataset
from lamina.data.datasets.listed import listed
from lamina.data.matlab import arrays
from lamina.data.splits import Splits
from lamina.data.tree import Tree

CLASSES = tuple(str(number) for number in range(1, 103))
_LABELS, _PARTS = "imagelabels.mat", "setid.mat"


def read(tree: Tree, task: str) -> Splits[FolderDataset]:
    """1,020 pictures to train, 1,020 to validate, 6,149 to test."""
    del task
    held = {**arrays(tree.read(_LABELS), tree.path(_LABELS)), **arrays(tree.read(_PARTS), tree.path(_PARTS))}
    missing = [name for name in ("labels", "trnid", "valid", "tstid") if name not in held]
    if missing:
        raise DataError(
            f"{tree.path(_LABELS)} and {_PARTS} lack {', '.join(missing)}.",
            "The labels of all pictures and the numbers of those in each part were expected.",
            "Delete the files, so that they are fetched again.",
        )
    labels = held["labels"].ravel().astype(int)

    def part(name: str) -> FolderDataset:
        numbers = held[name].ravel().astype(int).tolist()
        known = [number for number in numbers if 1 <= number <= len(labels)]
        rows = ((f"jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1, number) for number in known)
        return listed(tree, rows, CLASSES, file=_LABELS, word="entry")

    return Splits(part("trnid"), part("tstid"), part("valid"))
