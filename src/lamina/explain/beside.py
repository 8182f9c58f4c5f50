"""What a detector or a segmenter answered to the pictures of a data set, beside what is annotated: counted, and not kept as pixels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from lamina.core import progress
from lamina.core.errors import DataError
from lamina.metrics import CocoScores, DetectionErrors, SegmentationScores, coco_scores, detection_errors
from lamina.metrics.segmentation import confusion
from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.detections import Detections

USUAL_SCORE = 0.5  # from which on a detection is shown, as `predict` has it
_AT_ONCE = 16  # pictures that are in memory


@dataclass(frozen=True, eq=False)
class FoundBeside:
    """What was found in N pictures (all scores, most certain first) and what is true of them, boxes in each picture's own pixels.

    `rows` are the pictures' places in the data, `names` their files or "". `unreadable` says what is wrong with those left out.
    """

    classes: tuple[str, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    truths: tuple[Annotation, ...]
    found: tuple[Detections, ...]
    unreadable: tuple[str, ...] = ()

    @functools.cached_property
    def scores(self) -> CocoScores:
        """COCO's numbers, of all classes and of each."""
        return coco_scores(self.truths, self.found, classes=self.classes)

    @functools.cached_property
    def errors(self) -> DetectionErrors:
        """What each detection of at least USUAL_SCORE is, and which objects are missed."""
        return detection_errors(self.truths, self.found, score=USUAL_SCORE, classes=self.classes)

    def to_dict(self) -> dict[str, Any]:
        """The twelve numbers, those of each class, and what went wrong how often."""
        return {"pictures": len(self.rows), **self.scores.to_dict(), "errors": self.errors.to_dict()}

    def __str__(self) -> str:
        numbers = self.scores.numbers
        twelve = "\n".join(f"{name:12s} {'-' if value != value else f'{value:.4f}'}" for name, value in numbers.items())
        return f"{twelve}\n\n{self.scores}\n\n{self.errors}"


@dataclass(frozen=True, eq=False)
class MappedBeside:
    """How the maps of N pictures agree with the true ones, pixel by pixel in each picture's own size.

    `mean_iou` (N) is that of each picture alone, over the classes that occur in its truth, and `wrong` (N) its share of wrong pixels;
    NaN where no pixel is labelled. `rows`, `names` and `unreadable` as of FoundBeside.
    """

    classes: tuple[str, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    confusion: Int64[np.ndarray, "K K"]
    mean_iou: Float[np.ndarray, " N"]
    wrong: Float[np.ndarray, " N"]
    unreadable: tuple[str, ...] = ()

    @functools.cached_property
    def scores(self) -> SegmentationScores:
        """What the confusion matrix of all pixels says."""
        return SegmentationScores(self.confusion, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """The means, IoU and accuracy of each class, the absent classes."""
        return {"pictures": len(self.rows), **self.scores.to_dict()}

    def __str__(self) -> str:
        return str(self.scores)


def beside_truth(model: Any, data: Any) -> FoundBeside | MappedBeside:
    """The model's answers to a data set of its task (data.AnnotatedDataset), beside what is annotated.

    Pictures that cannot be read are left out, and named. Raises DataError where none is left, or for another kind of data.
    """
    made = _maps(model, data) if model.task == "segmentation" else _boxes(model, data)
    if not made.rows:
        raise DataError(
            f"Not one of {len(data):,} pictures of {data.name} can be used. {made.unreadable[0]}",
            "Pictures with annotations were expected.",
            "See what is wrong: lamina check DATA.",
        )
    return made


def _boxes(model: Any, data: Any) -> FoundBeside:
    rows: list[int] = []
    truths: list[Annotation] = []
    found: list[Detections] = []
    unreadable: list[str] = []
    for places, pictures, known in _read(data, unreadable):
        answers = model.predict(pictures, threshold=0.0, engine="torch")
        rows += places
        truths += known
        found += [replace(each, image=None) for each in answers]
    names = tuple(name_of(data, row) for row in rows)
    return FoundBeside(tuple(model.classes), tuple(rows), names, tuple(truths), tuple(found), tuple(unreadable))


def _maps(model: Any, data: Any) -> MappedBeside:
    count = len(model.classes)
    total = np.zeros((count, count), np.int64)
    rows: list[int] = []
    shares: list[tuple[float, float]] = []
    unreadable: list[str] = []
    for places, pictures, known in _read(data, unreadable):
        for row, answer, annotation in zip(places, model.predict(pictures, engine="torch"), known, strict=True):
            matrix = _compared(answer.class_map, annotation, count, name_of(data, row) or f"Picture {row}")
            total += matrix
            scores = SegmentationScores(matrix)
            rows.append(row)
            shares.append((scores.mean_iou, 1 - scores.pixel_accuracy))
    per_picture = np.asarray(shares, np.float64).reshape(-1, 2)
    names = tuple(name_of(data, row) for row in rows)
    told = tuple(model.classes), tuple(rows), names
    return MappedBeside(*told, total, per_picture[:, 0], per_picture[:, 1], tuple(unreadable))


def _compared(found: UInt8[np.ndarray, "H W"], truth: Annotation, classes: int, name: str) -> Int64[np.ndarray, "K K"]:
    if truth.class_map is None:
        raise DataError(
            f"{name} has no map of classes.", "For segmentation each picture needs one.", "Leave such pictures out."
        )
    counts, strays = confusion(torch.from_numpy(found), truth.class_map, classes, ignore_class=IGNORED)
    if int(strays):
        raise DataError(
            f"The map of classes of {name} holds {int(strays):,} pixels that are none of {classes} classes.",
            f"Classes are 0 to {classes - 1}, and {IGNORED} is no class.",
            "Measure it on data with the classes that it was trained on.",
        )
    return counts.numpy()


def _read(data: Any, unreadable: list[str]) -> Iterator[tuple[list[int], list[Tensor], list[Annotation]]]:
    """Places, pictures and annotations of a data set, some at a time; what is wrong with others is added to `unreadable`."""
    places: list[int] = []
    pictures: list[Tensor] = []
    known: list[Annotation] = []
    for row in progress.counted("looking at pictures", range(len(data)), len(data)):
        try:
            picture, annotation = data[row]
        except DataError as error:
            unreadable.append(error.came)
            continue
        places.append(row)
        pictures.append(picture)
        known.append(annotation)
        if len(places) == _AT_ONCE:
            yield places, pictures, known
            places, pictures, known = [], [], []
    if places:
        yield places, pictures, known


def name_of(data: Any, row: int) -> str:
    """The file of a picture, "" where it is an array."""
    paths = getattr(data, "paths", None)
    return "" if paths is None else str(paths.name(row))
