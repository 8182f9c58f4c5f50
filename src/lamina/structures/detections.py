"""The typed result of a detector: what stands where in one picture."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float32, Int64
from PIL import Image

from lamina.core.errors import DataError, LaminaError, ShapeError, unknown_name
from lamina.structures import boxes, draw, drawing
from lamina.structures.annotation import Annotation
from lamina.structures.draw import Picture

NOTHING = "nothing"  # what str() says of a picture in which nothing is found


@dataclass(frozen=True)
class Detection:
    """One found object: the name and number of its class, its score, its box in pixels."""

    label: str
    index: int
    score: float
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Detections:
    """What stands where in one picture, the most certain first; equal scores keep their order.

    Of N objects: `boxes_xyxy`, pixels of the picture as it is seen (turned as its EXIF note says) from its left and top edge;
    `labels`, places in `classes`; `scores`, higher is more certain, 0 to 1 for most detectors. `image` and `path` say which picture
    it was, if known. Raises ShapeError where objects differ in number, DataError for numbers that are not finite and
    for labels that are no place in `classes`.
    """

    classes: tuple[str, ...]
    boxes_xyxy: Float32[np.ndarray, "N 4"]
    labels: Int64[np.ndarray, " N"]
    scores: Float32[np.ndarray, " N"]
    image: Picture | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        corners, labels, scores = (np.asarray(each) for each in (self.boxes_xyxy, self.labels, self.scores))
        if corners.size == 0 and len(labels) == 0:
            corners = corners.reshape(0, 4)
        if corners.shape != (len(scores), 4) or labels.shape != scores.shape or scores.ndim != 1:
            raise ShapeError(
                f"boxes_xyxy has shape {corners.shape}, labels {labels.shape}, scores {scores.shape}.",
                "Boxes (N, 4), and a label and a score for each, were expected.",
                "Pass what was found in one picture; of nothing the shapes are (0, 4), (0,), (0,).",
            )
        known = tuple(self.classes)
        _check_numbers(corners, labels, scores, known)
        order = np.argsort(-scores, kind="stable")
        object.__setattr__(self, "classes", known)
        object.__setattr__(self, "boxes_xyxy", corners[order].astype(np.float32))
        object.__setattr__(self, "labels", labels[order].astype(np.int64))
        object.__setattr__(self, "scores", scores[order].astype(np.float32))

    def __len__(self) -> int:
        """How many objects were found."""
        return len(self.scores)

    @overload
    def __getitem__(self, place: int) -> Detection: ...

    @overload
    def __getitem__(self, place: slice | Sequence[int] | Sequence[bool] | np.ndarray[Any, Any]) -> Detections: ...

    def __getitem__(self, place: Any) -> Detection | Detections:
        """One of them, of which 0 is the most certain; those of a slice, of positions or of a mask (N) as Detections."""
        rows = np.arange(len(self))[place]
        if rows.ndim:
            return self._at(rows)
        left, top, right, bottom = (_number(side) for side in self.boxes_xyxy[rows])
        index = int(self.labels[rows])
        return Detection(self.classes[index], index, _number(self.scores[rows]), (left, top, right, bottom))

    def __iter__(self) -> Iterator[Detection]:
        return (self[place] for place in range(len(self)))

    @property
    def counts(self) -> dict[str, int]:
        """How many of each class were found, the most frequent first; classes without any are left out."""
        named = Counter(self.labels.tolist())
        return {self.classes[index]: count for index, count in sorted(named.items(), key=lambda told: -told[1])}

    def filtered(self, *, score: float | None = None, labels: str | Sequence[str] | None = None) -> Detections:
        """Those of at least this score, of these classes by name. Raises UnknownNameError for a class that is none."""
        kept = np.ones(len(self), dtype=np.bool_) if score is None else self.scores >= np.float32(score)
        if labels is not None:
            names = [labels] if isinstance(labels, str) else list(labels)
            for name in names:
                if name not in self.classes:
                    raise unknown_name("class", name, self.classes)
            kept &= np.isin(self.labels, [self.classes.index(name) for name in names])
        return self._at(np.flatnonzero(kept))

    def _at(self, rows: np.ndarray[Any, Any]) -> Detections:
        return replace(self, boxes_xyxy=self.boxes_xyxy[rows], labels=self.labels[rows], scores=self.scores[rows])

    def draw(self, *, side_px: int = 640) -> Image.Image:
        """The picture with a named and scored box around each, its longer side about `side_px`, as a Pillow picture.

        All are drawn: `detections.filtered(score=0.5).draw()` leaves out what is uncertain. Raises ShapeError without a picture.
        """
        annotation = Annotation(labels=torch.from_numpy(self.labels), boxes_xyxy=torch.from_numpy(self.boxes_xyxy))
        names = [f"{each.label} {brief_score(each.score)}" for each in self]
        return drawing.annotated(
            self._picture(), annotation, classes=self.classes, names=names, caption=self._told(), side_px=side_px
        )

    def overlay(self) -> Image.Image:
        """The picture in its own size with a named and scored box around each. Raises ShapeError without a picture."""
        annotation = Annotation(labels=torch.from_numpy(self.labels), boxes_xyxy=torch.from_numpy(self.boxes_xyxy))
        names = [f"{each.label} {brief_score(each.score)}" for each in self]
        return drawing.boxed(self._picture(), annotation, classes=self.classes, names=names)

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: path (if known) and `detections`, each with label, index, score and box_xyxy in pixels."""
        where = {} if self.path is None else {"path": str(self.path)}
        return {**where, "detections": [{**asdict(each), "box_xyxy": list(each.box_xyxy)} for each in self]}

    def to_coco(self, image_id: int | str, *, category_ids: Sequence[int] | Mapping[str, int]) -> list[dict[str, Any]]:
        """Entries of COCO's results file: image_id, category_id, bbox (left, top, width, height) and score.

        `category_ids`: the number of each class in the annotation file, in the order of `classes` or by name; COCO's begin with 1
        and have gaps. Raises LaminaError where a class has none.
        """
        numbers = self._category_ids(category_ids)
        corners = boxes.convert(self.boxes_xyxy, "xyxy", "xywh")
        return [
            {
                "image_id": image_id,
                "category_id": numbers[label],
                "bbox": [_number(side) for side in box],
                "score": _number(score),
            }
            for label, box, score in zip(self.labels.tolist(), corners, self.scores, strict=True)
        ]

    def to_yolo(self, *, size: tuple[int, int] | None = None) -> str:
        """Lines of a YOLO file: class, centre, width and height as shares of the picture, score. "" where nothing was found.

        `size` is the picture's (H, W); None asks the picture itself, and raises ShapeError where there is none.
        """
        if not len(self):
            return ""
        if size is None:
            shown = draw.picture(self._picture())
            size = shown.height, shown.width
        shares = boxes.convert(self.boxes_xyxy.astype(np.float64), "xyxy", "yolo", size=size)
        return "".join(
            f"{label} {' '.join(f'{side:.6f}' for side in box)} {score:.6f}\n"
            for label, box, score in zip(self.labels, shares, self.scores, strict=True)
        )

    def _category_ids(self, told: Sequence[int] | Mapping[str, int]) -> list[int]:
        missing = (
            [name for name in self.classes if name not in told]
            if isinstance(told, Mapping)
            else list(self.classes[len(told) :])
        )
        if missing or (len(told) != len(self.classes) and not isinstance(told, Mapping)):
            raise LaminaError(
                f"{len(told)} category_ids came for {len(self.classes)} classes"
                + (f"; without one: {', '.join(missing[:5])}." if missing else "."),
                "One number for each class was expected.",
                "Pass the ids of the annotation file's categories, in the order of `classes` or as {name: id}.",
            )
        return [int(told[name]) for name in self.classes] if isinstance(told, Mapping) else [int(each) for each in told]

    def _picture(self) -> Picture:
        shown = self.path if self.image is None else self.image
        if shown is None:
            raise ShapeError(
                "These detections have no picture.",
                "To draw themselves, and for shares of its size, they must know their image or the path of one.",
                "Make them with `image=` or `path=`.",
            )
        return shown

    def _told(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.counts.items()) or NOTHING

    def __str__(self) -> str:
        return ("" if self.path is None else f"{self.path}: ") + self._told()

    def __repr__(self) -> str:
        where = "" if self.path is None else f", path={str(self.path)!r}"
        return f"Detections({self._told()}{where})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="text-align:left">{html.escape(name)}</td><td>{count}</td>'
            f"<td>{brief_score(float(self.scores[self.labels == self.classes.index(name)].max()))}</td></tr>"
            for name, count in self.counts.items()
        )
        head = "<tr><th></th><th>found</th><th>best score</th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else f"<p>{NOTHING}</p>"
        known = self.image is not None or self.path is not None
        img = f'<img alt="" src="{draw.data_url(self.draw(), side_px=660)}">' if known else ""
        return f'<div style="display:flex;gap:1em;align-items:center;flex-wrap:wrap">{img}{table}</div>'


def _check_numbers(
    corners: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], classes: Sequence[str]
) -> None:
    if not (np.isfinite(corners).all() and np.isfinite(scores).all()):
        wrong = np.flatnonzero(~(np.isfinite(corners).all(axis=1) & np.isfinite(scores)))
        raise DataError(
            f"Of {len(scores)} detections {len(wrong)} have a box or score that is no finite number: "
            f"the first is {corners[wrong[0]].tolist()} with score {scores[wrong[0]]}.",
            "Finite numbers were expected.",
            "Look at the network's outputs: training may have diverged.",
        )
    if len(labels) and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(classes)):
        raise DataError(
            f"The labels are {labels.dtype} from {labels.min()} to {labels.max()} beside {len(classes)} classes.",
            f"Whole numbers from 0 to {len(classes) - 1} were expected.",
            "Pass the classes that the detector was trained on; background is none of them.",
        )


def brief_score(score: float) -> str:
    """A score with two decimals; never rounded up to 1."""
    return "0.99" if 0.99 < score < 1 else f"{score:.2f}"


def _number(value: Any) -> float:
    """A float32 in as few digits as tell it from all others: 0.9, and not 0.8999999761581421."""
    return float(str(value))
