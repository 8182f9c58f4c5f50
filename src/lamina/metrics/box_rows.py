"""The boxes of many pictures as columns, and which of them may belong together: what every number about detections starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lamina.core.errors import DataError, ShapeError
from lamina.structures import boxes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_PAIRS = 1 << 20  # that are compared at once: some 100 MB


class Truth(Protocol):
    """What is known of one picture, such as an Annotation: arrays or tensors, or None where nothing is annotated."""

    @property
    def boxes_xyxy(self) -> Any:
        """(N 4)."""

    @property
    def labels(self) -> Any:
        """(N)."""

    @property
    def crowd(self) -> Any:
        """(N), or None."""

    @property
    def area_px(self) -> Any:
        """(N), or None."""


class Found(Protocol):
    """What was found in one picture, such as Detections: arrays or tensors."""

    @property
    def boxes_xyxy(self) -> Any:
        """(N 4)."""

    @property
    def labels(self) -> Any:
        """(N)."""

    @property
    def scores(self) -> Any:
        """(N)."""


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """The annotated objects of all pictures, N in all. `images` are the pictures' numbers, any but negative ones.

    `crowd`: finding it is neither right nor wrong; None is nowhere. `area_px` decides which are small, medium and large; None, or NaN for
    one of them, is the area of the box. Raises ShapeError where columns differ in length, DataError for negative images
    and labels.
    """

    images: Ints
    labels: Ints
    boxes_xyxy: Floats
    crowd: Bools | None = None
    area_px: Floats | None = None

    def __post_init__(self) -> None:
        corners = _columns(self, self.images, self.labels, self.boxes_xyxy, self.crowd, self.area_px)
        crowd = np.zeros(len(corners), np.bool_) if self.crowd is None else np.asarray(self.crowd).astype(np.bool_)
        with np.errstate(invalid="ignore"):  # boxes that are not finite are left out later, and counted
            own = boxes.area_px(corners)
        area = own if self.area_px is None else np.asarray(self.area_px, np.float64)
        object.__setattr__(self, "crowd", crowd)
        object.__setattr__(self, "area_px", np.where(np.isnan(area), own, area))

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, pictures: Sequence[Truth]) -> TrueBoxes:
        """The objects of a list of annotations, one for each picture. Boxes without labels are of class 0."""
        counts = [0 if each.boxes_xyxy is None else len(each.boxes_xyxy) for each in pictures]
        held = [each for each, count in zip(pictures, counts, strict=True) if count]
        labels = [np.zeros(len(each.boxes_xyxy)) if each.labels is None else _array(each.labels) for each in held]
        crowd = [np.zeros(len(each.boxes_xyxy)) if each.crowd is None else _array(each.crowd) for each in held]
        area = [
            np.full(len(each.boxes_xyxy), np.nan) if each.area_px is None else _array(each.area_px) for each in held
        ]
        corners = [_array(each.boxes_xyxy) for each in held]
        images = np.repeat(np.arange(len(counts)), counts)
        return cls(images, _joined(labels), _joined(corners, (0, 4)), _joined(crowd), _joined(area))


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """The detections in all pictures, N in all, in any order: `images` are the pictures' numbers, as those of the truth.

    Raises ShapeError where columns differ in length; DataError, which names the picture, for a box or score that is no finite number,
    and for negative images and labels.
    """

    images: Ints
    labels: Ints
    boxes_xyxy: Floats
    scores: npt.NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        corners = _columns(self, self.images, self.labels, self.boxes_xyxy, self.scores)
        scores = np.asarray(self.scores)
        object.__setattr__(self, "scores", scores if scores.dtype.kind == "f" else scores.astype(np.float64))
        right = np.isfinite(self.scores) & np.isfinite(corners).all(axis=1)
        if not right.all():
            first = int(np.argmin(right))
            raise DataError(
                f"Picture {int(self.images[first])} has the detection {corners[first].tolist()} with score "
                f"{float(self.scores[first])}; {int((~right).sum()):,} detections are like it.",
                "Boxes and scores of finite numbers were expected.",
                "Look at the network's outputs: training may have diverged.",
            )

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, pictures: Sequence[Found]) -> FoundBoxes:
        """The detections of a list of results, one for each picture."""
        held = [each for each in pictures if len(each.scores)]
        images = np.repeat(np.arange(len(pictures)), [len(each.scores) for each in pictures])
        columns = [[_array(getattr(each, name)) for each in held] for name in ("labels", "boxes_xyxy", "scores")]
        return cls(images, _joined(columns[0]), _joined(columns[1], (0, 4)), _joined(columns[2]))


def rows_of(
    truths: TrueBoxes | Sequence[Truth], detections: FoundBoxes | Sequence[Found]
) -> tuple[TrueBoxes, FoundBoxes]:
    """Both as columns. Raises DataError where they are lists for different numbers of pictures."""
    lists = not isinstance(truths, TrueBoxes) and not isinstance(detections, FoundBoxes)
    if lists and len(truths) != len(detections):
        raise DataError(
            f"There are annotations of {len(truths):,} pictures and detections in {len(detections):,}.",
            "One of each for every picture was expected, in the same order.",
            "Pass a result for pictures in which nothing was found too.",
        )
    return (
        truths if isinstance(truths, TrueBoxes) else TrueBoxes.of(truths),
        detections if isinstance(detections, FoundBoxes) else FoundBoxes.of(detections),
    )


def usable(truths: TrueBoxes) -> tuple[TrueBoxes, Ints]:
    """The truth without boxes that cover nothing, which nobody can find; and the rows that are left."""
    rows = np.flatnonzero(~boxes.is_degenerate(truths.boxes_xyxy))
    if len(rows) == len(truths):
        return truths, rows
    assert truths.crowd is not None
    assert truths.area_px is not None
    corners, crowd, area_px = truths.boxes_xyxy[rows], truths.crowd[rows], truths.area_px[rows]
    return TrueBoxes(truths.images[rows], truths.labels[rows], corners, crowd, area_px), rows


def class_names(classes: Sequence[str], *labels: Ints) -> tuple[str, ...]:
    """The names, and numbers for labels beyond them: classes that stand in a validation set alone count too."""
    count = max([len(classes), *(int(each.max()) + 1 for each in labels if len(each))])
    return (*classes, *(f"class {number}" for number in range(len(classes), count)))


def stable_order(keys: Ints) -> Ints:
    """What sorts whole numbers from 0 on; equal ones keep their order. numpy sorts those of 16 bits ten times faster."""
    small = len(keys) == 0 or keys.max() < 1 << 16
    return np.argsort(keys.astype(np.uint16) if small else keys, kind="stable")


def pairs(
    found: tuple[Ints, Floats], truths: tuple[Ints, Floats, Bools | None], least: float
) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Rows of detections and truths of one group whose overlap is at least `least` (and above 0), with the overlap, piece by piece.

    Each is told as the number of its group and its box; the truth is sorted by group. Where the truth is a crowd (the third,
    None is nowhere), the overlap is that with a crowd. The rows of detections ascend, and of one detection those of the truth.
    """
    groups, corners = found
    true_groups, true_corners, crowd = truths
    first = np.searchsorted(true_groups, groups, side="left")
    counts = np.searchsorted(true_groups, groups, side="right") - first
    rows = np.flatnonzero(counts)
    ends = np.cumsum(counts[rows])
    start = 0
    while start < len(rows):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        chosen = rows[start:stop]
        many = counts[chosen]
        one = np.repeat(chosen, many)
        other = np.arange(len(one)) - np.repeat(ends[start:stop] - many - before, many) + np.repeat(first[chosen], many)
        shared = boxes.overlap(corners[one], true_corners[other], None if crowd is None else crowd[other])
        near = np.flatnonzero((shared >= least) & (shared > 0))
        yield one[near], other[near], shared[near]
        start = stop


def all_pairs(
    found: tuple[Ints, Floats], truths: tuple[Ints, Floats, Bools | None], least: float
) -> tuple[Ints, Ints, Floats]:
    """The pieces of `pairs` in one."""
    pieces = list(pairs(found, truths, least))
    if not pieces:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    one, other, shared = zip(*pieces, strict=True)
    return np.concatenate(one), np.concatenate(other), np.concatenate(shared)


def _columns(table: Any, images: Any, labels: Any, boxes_xyxy: Any, *others: Any) -> Floats:
    """Sets the first three columns, checked, and gives the boxes."""
    images, labels = np.asarray(images), np.asarray(labels)
    corners: Floats = np.asarray(boxes_xyxy, np.float64)
    lengths = [len(each) for each in (images, labels, corners, *others) if each is not None]
    if corners.shape != (len(images), 4) or len(set(lengths)) > 1:
        raise ShapeError(
            f"Columns of {', '.join(map(str, lengths))} objects came, boxes_xyxy of shape {corners.shape}.",
            "All of one length N, and boxes (N, 4), were expected.",
            "Pass the number of its picture, a label and four numbers for each object.",
        )
    for name, column, limit in (("images", images, 1 << 40), ("labels", labels, 1 << 16)):
        whole = column.astype(np.int64)
        wrong = (whole < 0) | (whole >= limit) | (whole != column)
        if wrong.any():
            raise DataError(
                f"{type(table).__name__}: {name} hold {column[np.argmax(wrong)]}.",
                f"Whole numbers from 0 to {limit - 1:,} were expected.",
                "Number pictures and classes from 0 on; background is no class.",
            )
        object.__setattr__(table, name, whole)
    object.__setattr__(table, "boxes_xyxy", corners)
    return corners


def _array(values: Any) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _joined(parts: Sequence[npt.NDArray[Any]], empty: tuple[int, ...] = (0,)) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(empty)
