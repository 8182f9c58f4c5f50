"""What is wrong with boxes, labels, points and captions, looked at by column: no object is made for a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.data.annotated import AnnotatedDataset
from lamina.data.checking.report import Findings, Level
from lamina.data.checking.scan import Pictures
from lamina.data.columns import Column, Ragged

_ROWS = 10_000  # samples that are looked at in one go
_LARGEST_PX = 1e7  # float32 counts single pixels up to 16.7 million, and no picture comes near
_OUTSIDE_PX = 1.0  # rounding, and formats that count from 1, may cross the edge so far
_LISTED = 60  # letters of a caption that are shown

Numbers = npt.NDArray[np.float64]
_Tell = Callable[[int, Level, str, str], None]


def check_annotations(pictures: Pictures, number: int, findings: Findings) -> None:
    """Tells the faults of a part whose pictures were seen; of an unreadable one what can be said without its size."""
    part, name, sizes, is_new = (
        pictures.parts[number],
        pictures.names[number],
        pictures.sizes(number),
        pictures.is_new(number),
    )
    assert isinstance(part, AnnotatedDataset)

    def tell(row: int, level: Level, kind: str, what: str) -> None:
        if is_new[row]:
            findings.add(level, kind, part.paths.name(row), what, origin=part.origin(row), part=name)

    for first in range(0, len(part), _ROWS):
        rows = range(first, min(first + _ROWS, len(part)))
        some = sizes[rows.start : rows.stop].astype(np.float64)
        labels = _flat(part.columns.get("labels"), rows, some, 1, tell)
        boxes = _flat(part.columns.get("boxes_xyxy"), rows, some, 4, tell)
        if labels is not None:
            _check_labels(part, labels, rows, tell)
        if boxes is not None:
            _check_boxes(part, boxes, labels, some, rows, tell)
        points = part.columns.get("keypoints")
        if points is not None:
            _check_points(_flat(points, rows, some, 3, tell), some, rows, tell)
        captions = part.columns.get("captions")
        if captions is not None:
            _check_captions(captions, rows, tell)
        _check_sizes(part, some, rows, pictures.differs, pictures.rows(number)[rows.start : rows.stop], tell)


class _Flat:
    """Values (M k) of some samples, and the position of the sample that each belongs to (M)."""

    def __init__(self, values: Numbers, owners: npt.NDArray[np.int64]) -> None:
        self.values, self.owners = values, owners

    def number(self, at: int) -> int:
        """Which value of its sample it is, from 1."""
        return at - int(np.searchsorted(self.owners, self.owners[at])) + 1


def _flat(column: Column | None, rows: range, sizes: Numbers, width: int, tell: _Tell) -> _Flat | None:
    if column is None:
        return None
    if isinstance(column, Ragged) and column.finish is None:
        ends = column.ends[rows.start : rows.stop + 1]
        values = np.asarray(column.values[ends[0] : ends[-1]], dtype=np.float64)
        inner = values[0].size // width if len(values) else 1  # a person's keypoints are several
        owners = np.repeat(np.arange(len(rows)), np.diff(ends) * inner)
        values = values.reshape(-1, width)
        if column.per_picture and width >= 4:
            known = np.where(
                sizes > 0, sizes, 1.0
            )  # of an unreadable picture: shares, whose areas are still to be judged
            values = values * np.tile(known[owners][:, ::-1], width // 2)
        return _Flat(values, owners)
    parts, counts = [], np.zeros(len(rows), dtype=np.int64)
    for at, row in enumerate(rows):
        height, wide = (int(side) for side in sizes[at])
        try:
            made = np.asarray(column.at(row, (max(height, 1), max(wide, 1))), dtype=np.float64).reshape(-1, width)
        except Exception as error:
            tell(
                row, "error", "annotation unreadable", getattr(error, "came", "") or f"{type(error).__name__}: {error}"
            )
            continue
        parts.append(made)
        counts[at] = len(made)
    values = np.concatenate(parts) if parts else np.zeros((0, width))
    return _Flat(values, np.repeat(np.arange(len(rows)), counts))


def _check_labels(part: AnnotatedDataset, labels: _Flat, rows: range, tell: _Tell) -> None:
    values, most = labels.values[:, 0], len(part.classes)
    for at in np.flatnonzero((values < 0) | (values >= most)).tolist():
        row, number = rows[labels.owners[at]], labels.number(at)
        if values[at] < 0:
            tell(row, "error", "no class", f"object {number} has no class")
        else:
            what = f"object {number} has the label {values[at]:.0f}; classes are 0 .. {most - 1}"
            tell(row, "error", "unknown class", what)


def _check_boxes(
    part: AnnotatedDataset, boxes: _Flat, labels: _Flat | None, sizes: Numbers, rows: range, tell: _Tell
) -> None:
    x1, y1, x2, y2 = boxes.values.T
    height, width = sizes[boxes.owners].T
    known, slack = height > 0, _OUTSIDE_PX
    with np.errstate(invalid="ignore"):
        strange = _is_strange(boxes.values)
        flat = (x2 <= x1) | (y2 <= y1)
        outside = known & ((x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height))
        partly = known & ((x1 < -slack) | (y1 < -slack) | (x2 > width + slack) | (y2 > height + slack))
    same = (
        labels is not None and len(labels.owners) == len(boxes.owners) and bool((labels.owners == boxes.owners).all())
    )
    if labels is not None and not same:
        held, named = (np.bincount(one.owners, minlength=len(rows)) for one in (boxes, labels))
        for at in np.flatnonzero(held != named).tolist():
            tell(rows[at], "error", "no class", f"boxes and labels differ in number: {held[at]} and {named[at]}")
    for at in np.flatnonzero(strange | flat | outside | partly).tolist():
        name = ""
        if same and labels is not None and 0 <= (label := int(labels.values[at, 0])) < len(part.classes):
            name = f" ({part.classes[label]})"
        corners = ", ".join(f"{value:g}" for value in boxes.values[at])
        told = f"box {boxes.number(at)}{name}"
        picture = f"{width[at]:.0f} x {height[at]:.0f}"
        row = rows[boxes.owners[at]]
        if strange[at]:
            tell(row, "error", "box overflow", f"{told} has the corners {corners}")
        elif flat[at]:
            size = f"{x2[at] - x1[at]:g} x {y2[at] - y1[at]:g} pixels"
            tell(row, "error", "box without area", f"{told} has {size}: {corners}")
        elif outside[at]:
            tell(row, "error", "box outside", f"{told} is outside the picture of {picture} pixels: {corners}")
        else:
            tell(row, "doubt", "box partly outside", f"{told} leaves the picture of {picture} pixels: {corners}")


def _is_strange(values: Numbers) -> npt.NDArray[np.bool_]:
    """Which rows have a number that is none, or that no picture is as large as."""
    fitting: npt.NDArray[np.bool_] = np.abs(values) <= _LARGEST_PX  # which no NaN is
    return np.asarray(~fitting.all(axis=1), dtype=np.bool_)


def _check_points(points: _Flat | None, sizes: Numbers, rows: range, tell: _Tell) -> None:
    if points is None:
        return
    x, y, visible = points.values.T
    height, width = sizes[points.owners].T
    with np.errstate(invalid="ignore"):
        strange = _is_strange(points.values)
        outside = (x < -_OUTSIDE_PX) | (y < -_OUTSIDE_PX) | (x > width + _OUTSIDE_PX) | (y > height + _OUTSIDE_PX)
    for at in np.flatnonzero((strange | (outside & (height > 0))) & ~(visible == 0)).tolist():
        row, told = rows[points.owners[at]], f"point {points.number(at)} at ({x[at]:g}, {y[at]:g})"
        if strange[at]:
            tell(row, "error", "point overflow", told)
        else:
            picture = f"{width[at]:.0f} x {height[at]:.0f}"
            tell(row, "doubt", "point outside", f"{told} is outside the picture of {picture} pixels")


def _check_captions(column: Column, rows: range, tell: _Tell) -> None:
    for row in rows:
        try:
            texts: tuple[str, ...] = column.at(row, (1, 1))
        except Exception as error:
            tell(
                row, "error", "annotation unreadable", getattr(error, "came", "") or f"{type(error).__name__}: {error}"
            )
            continue
        if not texts:
            tell(row, "error", "caption empty", "it has no caption")
        for number, text in enumerate(texts, 1):
            for level, kind, what in _of_caption(text):
                tell(row, level, kind, f"caption {number} {what}")


def _of_caption(text: str) -> Iterator[tuple[Level, str, str]]:
    if not text.strip():
        yield "error", "caption empty", "is empty"
    elif any("\ud800" <= letter <= "\udfff" for letter in text):
        shown = text[:_LISTED].encode("utf-8", "surrogateescape" if _escaped(text) else "surrogatepass")
        yield "error", "caption is no UTF-8", f"has bytes that are no UTF-8: {shown!r}"
    elif "\ufffd" in text:
        yield (
            "doubt",
            "caption has lost letters",
            f"has letters that another program could not read: {text[:_LISTED]!r}",
        )


def _escaped(text: str) -> bool:
    return all("\udc80" <= letter <= "\udcff" for letter in text if "\ud800" <= letter <= "\udfff")


def _check_sizes(
    part: AnnotatedDataset,
    sizes: Numbers,
    rows: range,
    said: npt.NDArray[np.bool_],
    which: npt.NDArray[np.int32],
    tell: _Tell,
) -> None:
    """Where the annotations say how large the picture is (extras "height" and "width"): whether it is.

    Of a picture (its number is in `which`) it is told once, which `said` keeps: the files of several tasks say the same.
    """
    told: list[Any] = [getattr(part.columns.get(name), "values", None) for name in ("height", "width")]
    if any(side is None or np.ndim(side) != 1 or len(side) != len(part) for side in told):
        return
    claimed = np.stack([np.asarray(side[rows.start : rows.stop], dtype=np.float64) for side in told], axis=1)
    for at in np.flatnonzero((claimed > _LARGEST_PX).any(1) | (claimed < 0).any(1)):
        tell(rows[at], "error", "size overflow", f"its annotation says {claimed[at, 1]:g} x {claimed[at, 0]:g} pixels")
    differ = (claimed != sizes).any(1) & (sizes > 0).all(1) & (claimed > 0).all(1) & (claimed <= _LARGEST_PX).all(1)
    differ &= ~said[which]
    said[which[differ]] = True
    for at in np.flatnonzero(differ):
        (height, width), (tall, wide) = claimed[at], sizes[at]
        what = f"its annotation says {width:.0f} x {height:.0f} pixels, and it has {wide:.0f} x {tall:.0f}"
        tell(rows[at], "error", "size differs", what)
