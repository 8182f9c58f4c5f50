"""Describable Textures: 5,640 pictures of 47 textures (Cimpoi et al. 2014), by the first of its ten splits.

`labels/{train,val,test}1.txt` list `CLASS/FILE.jpg`, and `images/CLASS/FILE.jpg` are the pictures.
"""

from __future__ import annotations

from lamina.data.dataset import FolderDataset
from lamina.data.datasets.listed import listed
from lamina.data.splits import Splits
from lamina.data.tree import Tree


def read(tree: Tree, task: str) -> Splits[FolderDataset]:
    """1,880 pictures each to train, to validate and to test."""
    del task
    tree = tree.below("dtd")
    classes = tuple(tree.folders("images"))
    numbers = {name: number for number, name in enumerate(classes)}

    def part(file: str) -> FolderDataset:
        rows = ((f"images/{line}", numbers.get(line.split("/")[0], -1), number) for number, line in tree.lines(file))
        return listed(tree, rows, classes, file=file)

    return Splits(part("labels/train1.txt"), part("labels/test1.txt"), part("labels/val1.txt"))
