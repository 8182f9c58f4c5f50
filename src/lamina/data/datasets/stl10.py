"""STL-10: 13,000 labelled colour pictures of 96 x 96 in ten classes, and 100,000 without labels (Coates, Ng & Lee 2011).

`train_X.bin` holds red, green and blue of each picture, column by column; `train_y.bin` a byte 1..10 for each.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.dataset import ImageDataset
from lamina.data.splits import Splits
from lamina.data.tree import Tree

_FOLDER, _SIDE = "stl10_binary", 96


def read(tree: Tree, task: str) -> Splits[ImageDataset]:
    """5,000 pictures to train and 8,000 to test, uint8 N 3 96 96. Those without labels stay in the archive."""
    del task
    classes = tuple(line for _, line in tree.lines(f"{_FOLDER}/class_names.txt"))
    return Splits(_part(tree, "train", classes), _part(tree, "test", classes))


def _part(tree: Tree, part: str, classes: tuple[str, ...]) -> ImageDataset:
    content, labels = (tree.read(f"{_FOLDER}/{part}_{kind}.bin") for kind in "Xy")
    if not labels or len(content) != len(labels) * 3 * _SIDE * _SIDE:
        raise DataError(
            f"{tree.path(f'{_FOLDER}/{part}_X.bin')} has {len(content):,} bytes, and {len(labels):,} labels lie beside it.",
            f"{3 * _SIDE * _SIDE:,} bytes for each label were expected.",
            "Delete the data set's folder, so that it is fetched again.",
        )
    pixels = torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.uint8)).view(-1, 3, _SIDE, _SIDE)
    images: UInt8[Tensor, "N 3 96 96"] = pixels.mT.contiguous()
    return ImageDataset(images, torch.from_numpy(np.frombuffer(labels, np.uint8).astype(np.int64) - 1), classes)
