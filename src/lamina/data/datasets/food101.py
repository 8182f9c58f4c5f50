"""Food-101: 101,000 photos of dishes in 101 classes (Bossard, Guillaumin & Van Gool 2014).

`meta/{train,test}.txt` list `CLASS/ID`, and `images/CLASS/ID.jpg` are the pictures.
"""

from __future__ import annotations

from lamina.data.dataset import FolderDataset
from lamina.data.datasets.listed import listed
from lamina.data.splits import Splits
from lamina.data.tree import Tree


def read(tree: Tree, task: str) -> Splits[FolderDataset]:
    """The 75,750 training and 25,250 test pictures."""
    del task
    tree = tree.below("food-101")
    classes = tuple(tree.folders("images"))
    numbers = {name: number for number, name in enumerate(classes)}

    def part(file: str) -> FolderDataset:
        rows = (
            (f"images/{line}.jpg", numbers.get(line.split("/")[0], -1), number) for number, line in tree.lines(file)
        )
        return listed(tree, rows, classes, file=file)

    return Splits(part("meta/train.txt"), part("meta/test.txt"))
