"""Pictures with boxes as they are given: what is wrong with them is said before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import DataError, LaminaError, listed
from lamina.core.warnings import warn
from lamina.data.annotated import AnnotatedDataset
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.metrics.box_rows import FoundBoxes, TrueBoxes
from lamina.metrics.coco import CocoScores, coco_scores
from lamina.models import pictures
from lamina.models.annotated import annotation
from lamina.models.annotated_data import Annotated
from lamina.structures import boxes
from lamina.structures.annotation import Annotation
from lamina.tasks.detection.targets import covering

_LARGE_PX = 1 << 20  # the side of a picture whose size is not known without reading it
_NAMED = 5


def examined(dataset: Annotated) -> int:
    """The most objects of a picture. Warns once of boxes that cover nothing of their picture, and names where they are."""
    most, left_out, named = 0, 0, []
    for name, corners, size in _boxes(dataset):
        inside = corners if size is None else boxes.clip(corners, size)
        wrong = int(
            (
                boxes.is_degenerate(corners)
                | boxes.is_degenerate(inside)
                | (boxes.clip(inside, (_LARGE_PX, _LARGE_PX))[:, 2:] <= 0).any(-1)
            ).sum()
        )
        if wrong:
            left_out += wrong
            named.append(name)
        most = max(most, len(corners) - wrong)
    if left_out:
        boxes_are = (
            "1 box covers nothing of its picture"
            if left_out == 1
            else f"{left_out:,} boxes cover nothing of their picture"
        )
        where = "1 picture" if len(named) == 1 else f"{len(named):,} pictures"
        warn(
            f"{boxes_are} (no size, swapped corners, outside, not finite), in {where}: {', '.join(named[:_NAMED])}"
            f"{' ...' * (len(named) > _NAMED)}. {'It is' if left_out == 1 else 'They are'} left out."
        )
    return most


def require_boxes(dataset: Annotated, most: int) -> None:
    """Raises DataError for training pictures of which none has a box."""
    if not most:
        raise DataError(
            f"None of the {len(dataset):,} pictures has a box that covers something.",
            "Boxes (left, top, right, bottom) in pixels were expected, at least one in all.",
            "Check the annotations: `lamina check` names what is wrong with them.",
        )


def tell_unlearnt(train: Annotated, validation: Annotated) -> None:
    """Warns of classes that are in validation pictures and in no training picture."""
    if tuple(validation.classes) != tuple(train.classes):
        return  # which is refused with better words
    counts = validation.counts()
    missing = np.flatnonzero((counts > 0) & (train.counts() == 0))
    if len(missing):
        told = [f"{train.classes[number]} ({counts[number]:,})" for number in missing.tolist()]
        several = len(told) > 1
        warn(
            f"No training picture shows {listed(told)}, and validation pictures do. {'They' if several else 'It'} cannot be learnt, "
            f"and {'count' if several else 'counts'} as never found. Put pictures of {'them' if several else 'it'} into training too."
        )


def scored(
    dataset: Annotated, sizes: Sequence[tuple[int, int]], found: FoundBoxes, classes: Sequence[str]
) -> CocoScores:
    """COCO's numbers of what was found in the pictures, which have these (height, width), beside what is annotated in them."""
    truths = [covering(_known(dataset, index, size), size) for index, size in enumerate(sizes)]
    return coco_scores(TrueBoxes.of(truths), found, classes=classes)


def _known(dataset: Annotated, index: int, size: tuple[int, int]) -> Annotation:
    return dataset.annotation(index, size) if isinstance(dataset, AnnotatedDataset) else dataset.annotations[index]


def _boxes(dataset: Annotated) -> Iterator[tuple[str, Tensor, tuple[int, int] | None]]:
    """Of each picture its name, its boxes, and its size where that costs no reading."""
    if isinstance(dataset, AnnotatedDataset):
        column = dataset.columns.get("boxes_xyxy")
        for index in range(len(dataset) if column is not None else 0):
            assert column is not None
            yield dataset.paths.name(index), column.at(index, (_LARGE_PX, _LARGE_PX)).reshape(-1, 4), None
        return
    for index, known in enumerate(dataset.annotations):
        corners = torch.zeros(0, 4) if known.boxes_xyxy is None else known.boxes_xyxy
        picture = dataset.pictures[index]
        yield f"picture {index}", corners, None if isinstance(picture, str) else _size(picture)


def _size(picture: Any) -> tuple[int, int] | None:
    if isinstance(picture, Tensor) and picture.dim() == 3 and len(picture) in (1, 3):
        return int(picture.shape[1]), int(picture.shape[2])
    return None


def as_data(x: Any, y: Any, classes: Sequence[str] | None) -> AnnotatedArrays:
    """The data set of pictures x and what is known of each, y: Annotations, or dicts with boxes and labels as torchvision's.

    Without names, classes are "0", "1" ... up to the largest label. Raises DataError for what is neither.
    """
    told = list(y)
    wrong = next((each for each in told if not hasattr(each, "boxes_xyxy") and not hasattr(each, "keys")), None)
    if wrong is not None:
        raise DataError(
            f"y holds a {type(wrong).__name__}.",
            "What is known of each picture was expected: an Annotation, or a dict with boxes (N 4) and labels (N).",
            "Pass y=[lamina.structures.Annotation(boxes_xyxy=..., labels=...), ...].",
        )
    known = [_annotation(each, number) for number, each in enumerate(told)]
    for number, each in enumerate(known):
        if each.boxes_xyxy is not None and (each.boxes_xyxy.dim() != 2 or each.boxes_xyxy.shape[1] != 4):
            raise DataError(
                f"The boxes of picture {number} have shape {tuple(each.boxes_xyxy.shape)}.",
                "Four numbers each, (N, 4), were expected: left, top, right, bottom, in pixels.",
                "Convert them: lamina.structures.boxes.convert.",
            )
    labels = [each.labels for each in known if each.labels is not None and len(each.labels)]
    least = min((int(each.min()) for each in labels), default=0)
    largest = max((int(each.max()) for each in labels), default=0)
    if least < 0:
        raise DataError(
            f"y holds the label {least}.",
            "Labels are numbers of classes, from 0 on; background has none.",
            "Number the classes from 0, and leave out what is of none.",
        )
    names = tuple(classes) if classes is not None else tuple(map(str, range(largest + 1)))
    if largest >= len(names):
        raise DataError(
            f"y holds the label {largest}.",
            f"Labels are 0 to {len(names) - 1}: the classes are {listed(names)}.",
            "Name all classes: Detector(classes=[...]).",
        )
    given: Any = pictures.as_images(x) if pictures.is_arrays(x) and not isinstance(x, list) else list(x)
    return AnnotatedArrays(given, known, names, task="detection")


def _annotation(told: Any, number: int) -> Annotation:
    try:
        made = annotation(told)
        if made is not told:
            _require_both(made)
    except LaminaError as error:
        error.add_note(f"It is of picture {number}.")
        raise
    return made


def _require_both(made: Annotation) -> None:
    """Raises DataError for boxes without labels, or labels without boxes, beside keys that may be meant: else all would be class 0."""
    parts = {"boxes": made.boxes_xyxy, "labels": made.labels}
    there = [name for name, value in parts.items() if value is not None and len(value)]
    if len(there) == 1 and made.extras:
        (missing,) = {*parts} - {*there}
        raise DataError(
            f"A dict of y has {there[0]}, no {missing}, and beside it {listed(list(map(str, made.extras)))}.",
            "Boxes (N 4) and labels (N) were expected, under these names.",
            "Rename the key.",
        )
