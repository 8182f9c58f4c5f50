"""From what is known of a picture to the class of each of its pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data.maps import stored
from lamina.data.prepared import Prepared
from lamina.models.annotated_data import Annotated
from lamina.structures.annotation import IGNORED, Annotation

_WIDE = (torch.uint16, torch.uint32, torch.uint64)  # of which torch knows no minimum
_LOOKED_AT = 1000  # maps of validation, for classes that it lacks
_COLOURED = ("RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")


@dataclass(frozen=True)
class ClassMaps:
    """The map of classes of a picture (H W) as its target. Raises DataError where there is none, and for values that are no class."""

    classes: int

    def __call__(self, annotation: Annotation) -> UInt8[Tensor, "H W"]:
        """The target of one picture."""
        found = annotation.class_map
        if found is None:
            raise DataError(
                "A picture came without a map of classes.",
                "For segmentation each picture needs one: the class of every pixel.",
                "Leave such pictures out.",
            )
        wrong = found[(found >= self.classes) & (found != IGNORED)]
        if len(wrong):
            raise DataError(
                f"A map of classes holds the value {int(wrong[0])}.",
                f"Classes are 0 to {self.classes - 1}, and {IGNORED} is no class.",
                "Name all classes: Segmenter(classes=[...]), or set other values to 255.",
            )
        return found


def require_classes(samples: Prepared) -> None:
    """Raises DataError for training pictures without one pixel that has a class. Reads no more of them than it has to."""
    read = 0
    for number in range(len(samples.dataset)):
        try:
            found = samples.dataset[number][1].class_map
        except DataError:  # which training tells of
            continue
        read += 1
        if found is None or bool((found != IGNORED).any()):
            return
    if read:
        raise _ignored(f"{read:,} training maps")


def absent(dataset: Annotated) -> list[str]:
    """The classes of which no pixel is; none where more maps would have to be read than are worth it.

    Reads no more of them than it has to: mostly the first few show all classes.
    """
    missing = set(range(len(dataset.classes)))
    if len(dataset) > _LOOKED_AT:
        return []
    for number in range(len(dataset)):
        try:
            found = dataset[number][1].class_map
        except DataError:  # which validation tells of
            continue
        missing -= set() if found is None else set(torch.unique(found).tolist())
        if not missing:
            break
    return [dataset.classes[number] for number in sorted(missing)]


def as_maps(y: object) -> list[UInt8[Tensor, "H W"]]:
    """Maps from an integer array (N H W), or a list of arrays (H W), Pillow pictures or paths; palettes give their indices.

    Raises DataError for colours, for numbers that are no labels, for one path, and where no pixel of all has a class.
    """
    if isinstance(y, str | os.PathLike):
        raise DataError(
            f"y is the path {os.fspath(y)}.",
            "A map for each picture, in the order of x, was expected: an array (N H W), or a list of arrays, Pillow pictures or paths.",
            "Pass sorted(Path(y).iterdir()), or open the folder that holds both pictures and maps: fit(folder).",
        )
    maps = [_values(each, number) for number, each in enumerate(y)]  # type: ignore[var-annotated, arg-type]
    for number, each in enumerate(maps):
        if each.dim() != 2 or each.is_floating_point():
            told = f"{str(each.dtype).removeprefix('torch.')} of shape {tuple(each.shape)}"
            raise DataError(
                f"y[{number}] is {told}.",
                "The class of each pixel, whole numbers (H W), was expected.",
                "Look colours up first: (colours[:, None, None] == picture).all(-1).argmax(0), or take argmax of one-hot maps.",
            )
        if each.numel() and (int(each.min()) < 0 or int(each.max()) > IGNORED):
            raise DataError(
                f"y[{number}] holds values from {int(each.min())} to {int(each.max())}.",
                f"Classes are 0 to {IGNORED - 1}, and {IGNORED} is no class.",
                "Number the classes from 0.",
            )
    if maps and all(bool((each == IGNORED).all()) for each in maps):
        raise _ignored(f"{len(maps):,} maps")
    return [each.to(torch.uint8) for each in maps]


def _ignored(maps: str) -> DataError:
    return DataError(
        f"No pixel of the {maps} has a class: all hold {IGNORED}.",
        "That value is ignored, and nothing would be learnt.",
        "Where it stands for the object, as in black and white masks, divide by 255: y // 255.",
    )


def _values(given: Any, number: int) -> Tensor:
    """What is stored in a map. Raises DataError for a picture of colours."""
    if isinstance(given, str | os.PathLike):
        values, colours = stored(os.fspath(given))
        if colours:
            raise _coloured(f"The mask {os.fspath(given)}")
        return torch.from_numpy(values)
    if isinstance(given, Image.Image) and given.mode in _COLOURED:
        raise _coloured(f"y[{number}]")
    found: Tensor = torch.as_tensor(np.array(given) if isinstance(given, Image.Image) else given)
    return found.long() if found.dtype in _WIDE else found


def _coloured(what: str) -> DataError:
    return DataError(
        f"{what} holds colours.",
        "The class of each pixel was expected: a grey or a palette picture.",
        "Open the folder instead, lamina.data.open(path), beside a classes.txt with lines 'name red green blue'.",
    )
