"""SVHN: 99,289 house numbers from the street, cropped to 32 x 32, in the classes 0..9 (Netzer et al. 2011).

`{train,test}_32x32.mat` hold X (32 32 3 N) and y (N 1), where 10 stands for the digit 0. The 531,131 easier pictures of
`extra_32x32.mat` are left out.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.dataset import ImageDataset
from lamina.data.matlab import arrays
from lamina.data.splits import Splits
from lamina.data.tree import Tree

CLASSES = tuple("0123456789")


def read(tree: Tree, task: str) -> Splits[ImageDataset]:
    """73,257 pictures to train and 26,032 to test, uint8 N 3 32 32."""
    del task
    return Splits(_part(tree, "train_32x32.mat"), _part(tree, "test_32x32.mat"))


def _part(tree: Tree, file: str) -> ImageDataset:
    held = arrays(tree.read(file), tree.path(file))
    pixels, labels = held.get("X"), held.get("y")
    if pixels is None or labels is None or pixels.ndim != 4 or pixels.shape != (32, 32, 3, labels.size):
        shapes = ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in held.items())
        raise DataError(
            f"{tree.path(file)} holds {shapes or 'no array'}.",
            "X of 32x32x3xN and y of Nx1 were expected.",
            "Delete the file, so that it is fetched again.",
        )
    images: UInt8[Tensor, "N 3 32 32"] = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))
    return ImageDataset(images, torch.from_numpy(labels.ravel().astype(np.int64) % 10), CLASSES)
