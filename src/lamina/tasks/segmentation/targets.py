"""From what is known of a picture to the class of each of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from lamina.core.errors import DataError
from lamina.structures.annotation import IGNORED, Annotation


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


def as_maps(y: object) -> list[UInt8[Tensor, "H W"]]:
    """Maps from an integer array (N H W) or a list of arrays (H W). Raises DataError for colours and for numbers that are no labels."""
    maps = [torch.as_tensor(each) for each in y]  # type: ignore[attr-defined]
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
    return [each.to(torch.uint8) for each in maps]
