"""Pictures in memory, or anything that gives them by number, and what is known of each: what `fit(x, y)` was given."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lamina.core.errors import DataError
from lamina.data.cuttable import Cuttable
from lamina.data.cutting import positions
from lamina.data.pictures import read
from lamina.data.preprocess import pixels
from lamina.structures.annotation import Annotation


class AnnotatedArrays(Cuttable, Dataset[tuple[Tensor, Annotation]]):
    """Samples (uint8 picture C H W, Annotation), as those of an AnnotatedDataset, of pictures and annotations that lie in memory.

    `pictures` are uint8 arrays (N C H W), or a list of arrays, paths and Pillow pictures. Raises DataError where there are not as
    many annotations.
    """

    point_names: tuple[str, ...] = ()

    def __init__(
        self, pictures: Sequence[Any], annotations: Sequence[Annotation], classes: Sequence[str], *, task: str
    ) -> None:
        if len(pictures) != len(annotations) or not len(pictures):
            raise DataError(
                f"x has {len(pictures):,} pictures and y has {len(annotations):,} annotations.",
                "One annotation for each picture, and at least one picture, were expected.",
                "Pass an empty annotation for a picture without objects.",
            )
        self.pictures, self.annotations = pictures, tuple(annotations)
        self.classes, self.task, self.name = tuple(classes), task, "arrays"

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "C H W"], Annotation]:
        return self.picture(index), self.annotations[index]

    def picture(self, index: int) -> UInt8[Tensor, "C H W"]:
        """The picture of one sample. Raises DataError where it cannot be read."""
        given = self.pictures[index]
        if isinstance(given, Tensor) and given.dtype == torch.uint8 and given.dim() == 3 and len(given) in (1, 3):
            return given
        return pixels(read(given))

    def content(self, index: int) -> bytes:
        """What tells a picture from others: its pixels; nothing where it cannot be read."""
        try:
            return self.picture(index).numpy().tobytes()
        except DataError:
            return b""  # which is named when it is read for use

    @property
    def columns(self) -> tuple[str, ...]:
        """What is known of the pictures, as the fields of Annotation are called."""
        first = self.annotations[0]
        return tuple(each.name for each in fields(first) if getattr(first, each.name) is not None)

    def annotation(self, index: int) -> Annotation:
        """What is known of one picture."""
        return self.annotations[index]

    def counts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """How many objects of each class are annotated (K); zeros where there are no labels."""
        labels = [each.labels.long() for each in self.annotations if each.labels is not None]
        counted: np.ndarray[Any, Any] = torch.bincount(
            torch.cat([torch.zeros(0, dtype=torch.int64), *labels]), minlength=len(self.classes)
        ).numpy()
        return counted

    def origin(self, index: int) -> str:
        """What errors call a sample."""
        return f"y[{index}]"

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """The samples at these positions, in this order, or where a mask (N) is true."""
        chosen = positions(indices, len(self)).tolist()
        made = copy.copy(self)
        held = self.pictures
        made.pictures = held[chosen] if isinstance(held, Tensor) else [held[index] for index in chosen]
        made.annotations = tuple(self.annotations[index] for index in chosen)
        made.cut = {}
        return made

    def _contents(self) -> Iterable[bytes]:
        return (self.content(index) for index in range(len(self)))

    def _strata(self) -> None:
        return None  # a picture holds objects of several classes, or none
