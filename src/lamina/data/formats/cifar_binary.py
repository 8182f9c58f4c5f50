"""CIFAR-10 and CIFAR-100 in their binary form (Krizhevsky 2009), with the names of the classes in a text beside them.

A record is the class (of CIFAR-100 the coarse one, then the fine one, which is the label), then 1,024 bytes each of red,
green and blue, row by row. The form for Python holds pickles, which may run code when they are opened: it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.dataset import ImageDataset
from lamina.data.splits import Splits
from lamina.data.tree import Tree

TASKS = ("classification",)
LOOKS_FOR = "files data_batch_1.bin .. and test_batch.bin (CIFAR-10), or train.bin and test.bin (CIFAR-100)"
_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_TEN = re.compile(r"(data_batch_\d+|test_batch)\.bin")
_HUNDRED = ("train.bin", "test.bin")
_FINE, _NAMES = "fine_label_names.txt", "batches.meta.txt"
_PICKLES = re.compile(r"data_batch_\d+|test_batch|batches\.meta|train|test|meta|file\.txt~")


def matches(tree: Tree) -> str:
    """A file that is named like a batch of the binary form, or those of the form for Python."""
    files = tree.files()
    ten = next((name for name in files if _TEN.fullmatch(name)), "")
    if ten or (_FINE in files and any(name in files for name in _HUNDRED)):
        return f"{ten or _FINE} is named like a file of CIFAR's binary form"
    return f"{', '.join(_pickles(tree)[:2])} are named like the form of CIFAR for Python" if _pickles(tree) else ""


def open_tree(tree: Tree, task: str) -> Splits[ImageDataset]:
    """The pictures, in memory: uint8 N 3 32 32. Raises DataError for the form for Python, and for batches of another size."""
    files = tree.files()
    ten = [name for name in files if _TEN.fullmatch(name)]
    if not ten and not any(name in files for name in _HUNDRED):
        if _pickles(tree):
            raise DataError(
                f"{tree.root} holds the form of CIFAR for Python, which is pickled.",
                "The binary form was expected: pickles may run code when they are opened, and are never opened here.",
                "Fetch cifar-10-binary.tar.gz or cifar-100-binary.tar.gz from the same page, and pass that.",
            )
        raise DataError(
            f"{tree.root} holds {tree.digest()}.", f"Expected {LOOKS_FOR}.", "Pass the folder of the files."
        )
    train = [name for name in ten if name.startswith("data")] if ten else ["train.bin"] if "train.bin" in files else []
    test = [name for name in ten if name.startswith("test")] if ten else ["test.bin"] if "test.bin" in files else []
    per_record = 1 if ten else 2
    read = {
        part: records(((tree.path(name), tree.read(name)) for name in names), labels=per_record)
        for part, names in (("train", train), ("test", test))
        if names
    }
    listed = _NAMES if ten else _FINE
    most = 1 + max(int(labels[:, -1].max()) for _, labels in read.values())
    classes = tuple(line for _, line in tree.lines(listed)) if listed in tree else tuple(map(str, range(most)))
    if len(classes) < most:
        raise DataError(
            f"{tree.path(listed)} names {len(classes)} classes.",
            f"The labels go up to {most - 1}.",
            "Name every class, one a line.",
        )
    sets = {part: ImageDataset(images, own[:, -1], classes, name=tree.name) for part, (images, own) in read.items()}
    return Splits(sets.get("train"), sets.get("test"), name=tree.name)


def records(
    batches: Iterable[tuple[str, bytes | memoryview]], *, labels: int = 1
) -> tuple[UInt8[Tensor, "N 3 32 32"], Int64[Tensor, "N L"]]:
    """(pictures, the L labels of each) in batches (name for messages, content); CIFAR-100 has 2 labels, coarse and fine.

    Raises DataError for a batch that is empty or is cut off.
    """
    length = labels + _PIXELS
    held = list(batches)
    for name, batch in held:
        if len(batch) % length or not len(batch):
            raise DataError(
                f"{name} has {len(batch):,} bytes.",
                f"Records of {length:,} bytes were expected.",
                "It is empty, cut off or of another data set: fetch it again.",
            )
    count = sum(len(batch) // length for _, batch in held)
    images = torch.empty((count, 3, _SIDE, _SIDE), dtype=torch.uint8)
    told = torch.empty((count, labels), dtype=torch.int64)
    start = 0
    for _, batch in held:
        rows = np.frombuffer(batch, dtype=np.uint8).reshape(-1, length)
        told[start : start + len(rows)] = torch.from_numpy(rows[:, :labels].astype(np.int64))
        images.view(-1, _PIXELS).numpy()[start : start + len(rows)] = rows[:, labels:]
        start += len(rows)
    return images, told


def _pickles(tree: Tree) -> list[str]:
    """The files of the form for Python, if there is the one that says so."""
    named = [name for name in tree.files() if _PICKLES.fullmatch(name)]
    return named if "batches.meta" in named or ("meta" in named and len(named) > 1) else []
