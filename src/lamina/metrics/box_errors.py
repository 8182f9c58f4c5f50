"""Where a detector errs: what is missed, doubled, misplaced, mistaken, or found where nothing is (Hoiem 2012; Bolya 2020, TIDE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64

from lamina.core.errors import LaminaError, unknown_name
from lamina.metrics.box_rows import (
    Found,
    FoundBoxes,
    Ints,
    TrueBoxes,
    Truth,
    all_pairs,
    class_names,
    rows_of,
    stable_order,
    usable,
)
from lamina.metrics.box_tables import html_table, text_table
from lamina.metrics.coco_matching import match

KINDS = ("right", "poorly placed", "wrong class", "duplicate", "wrong class and place", "background", "left out")
_RIGHT, _PLACE, _CLASS, _TWICE, _BOTH, _GROUND, _OUT = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class DetectionErrors:
    """What each detection is, one of KINDS, and which objects are missed. Print it for a table of all classes.

    `kinds` are places in KINDS of the N detections, in the order in which they came; `missed` the places of the objects that are
    missed; `labels` and `true_labels` the classes of both. A wrong class is told of the class that was named.
    """

    classes: tuple[str, ...]
    kinds: Int64[np.ndarray, " N"]
    labels: Int64[np.ndarray, " N"]
    missed: Int64[np.ndarray, " M"]
    true_labels: Int64[np.ndarray, " G"]
    score: float

    @property
    def counts(self) -> dict[str, int]:
        """How many detections are of each kind, and how many objects are "missed"."""
        return self._counted(slice(None), slice(None))

    @property
    def per_class(self) -> dict[str, dict[str, int]]:
        """The same for each class by name."""
        missed = self.true_labels[self.missed]
        return {label: self._counted(self.labels == index, missed == index) for index, label in enumerate(self.classes)}

    def of(self, kind: str) -> Int64[np.ndarray, " n"]:
        """The places of the detections of a kind, in the order in which they came. Raises UnknownNameError for no kind."""
        if kind not in KINDS:
            raise unknown_name("kind of detection", kind, KINDS)
        return np.flatnonzero(self.kinds == KINDS.index(kind))

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: the counts of all and of each class."""
        return {"score": self.score, **self.counts, "classes": self.per_class}

    def _counted(self, rows: Any, missed: Any) -> dict[str, int]:
        counts = np.bincount(self.kinds[rows], minlength=len(KINDS)).tolist()
        return {**dict(zip(KINDS, counts, strict=True)), "missed": len(self.missed[missed])}

    def _rows(self) -> list[tuple[str, ...]]:
        shown = (*KINDS[:-1], "missed")
        told = {"all": self.counts, **self.per_class}
        rows = [
            (label, *(f"{counts[kind]:,}" for kind in shown))
            for label, counts in told.items()
            if label == "all" or any(counts[kind] for kind in shown)
        ]
        return [("", *shown), *rows]

    def __str__(self) -> str:
        return f"{text_table(self._rows())}\nDetections with a score of at least {self.score:g}."

    def __repr__(self) -> str:
        return f"DetectionErrors({', '.join(f'{count} {kind}' for kind, count in self.counts.items() if count)})"

    def _repr_html_(self) -> str:
        return html_table(self._rows())


def detection_errors(
    truths: TrueBoxes | Sequence[Truth],
    detections: FoundBoxes | Sequence[Found],
    *,
    score: float = 0.5,
    overlap: float = 0.5,
    background: float = 0.1,
    classes: Sequence[str] = (),
) -> DetectionErrors:
    """What each detection of at least this score is, by TIDE's definitions and in its order (Bolya 2020, section 2.2):

    right, matched by COCO's rule at this `overlap`; else poorly placed, an overlap with a truth of its class from `background` up to
    `overlap`; wrong class, at least `overlap` with one of another class; duplicate, at least `overlap` with one of its class, which
    is taken; wrong class and place, more than `background` with one of another class; background, all others. Left out are those
    of lower scores, in crowds, and beyond the 100 best of a class in a picture. An object is missed where it is not found and is
    not the one of which something was poorly placed or of a wrong class.

    Departs from TIDE in that the limit of 100 is that of a class, as COCO's, and that what is poorly scored is left out.
    """
    if not 0 < background < overlap <= 1:
        raise LaminaError(
            f"background is {background}, overlap {overlap}.",
            "0 < background < overlap <= 1 was expected.",
            "TIDE's are 0.1 and 0.5.",
        )
    told, everything = rows_of(truths, detections)
    held, true_rows = usable(told)
    assert held.crowd is not None
    names = class_names(classes, told.labels, everything.labels)
    chosen = np.flatnonzero(everything.scores >= score)
    found = FoundBoxes(
        everything.images[chosen], everything.labels[chosen], everything.boxes_xyxy[chosen], everything.scores[chosen]
    )
    matches = match(held, found, len(names), thresholds=np.array([overlap]), most=100)
    kinds = np.full(len(found), _OUT)
    kinds[matches.order] = _GROUND
    near = matches.order[matches.rows]
    kinds[near[matches.right[:, 0, 0]]] = _RIGHT
    kinds[near[matches.passed[:, 0, 0]]] = _OUT
    covered = matches.taken[:, 0, 0]
    wrong = np.flatnonzero(kinds == _GROUND)
    objects = np.flatnonzero(~held.crowd)
    kinds[wrong], mistaken = _reasons(held, found, objects, wrong, overlap=overlap, background=background)
    covered[mistaken] = True
    told_kinds = np.full(len(everything), _OUT)
    told_kinds[chosen] = kinds
    missed = true_rows[objects[~covered[objects]]]
    return DetectionErrors(names, told_kinds, everything.labels, missed, told.labels, score)


def _reasons(
    truths: TrueBoxes, found: FoundBoxes, objects: Ints, wrong: Ints, *, overlap: float, background: float
) -> tuple[Ints, Ints]:
    """The kinds of the wrong detections, and the objects that some of them mean."""
    objects = objects[stable_order(truths.images[objects])]
    one, other, shared = all_pairs(
        (found.images[wrong], found.boxes_xyxy[wrong]),
        (truths.images[objects], truths.boxes_xyxy[objects], None),
        background,
    )
    same = found.labels[wrong][one] == truths.labels[objects][other]
    own, own_object = _largest(one[same], other[same], shared[same], len(wrong))
    strange, strange_object = _largest(one[~same], other[~same], shared[~same], len(wrong))
    place = (own >= background) & (own <= overlap)
    kinds = np.select(
        [place, strange >= overlap, own >= overlap, strange > background], [_PLACE, _CLASS, _TWICE, _BOTH], _GROUND
    )
    meant = [own_object[kinds == _PLACE], strange_object[kinds == _CLASS]]
    return kinds, objects[np.concatenate(meant)]


def _largest(
    one: Ints, other: Ints, shared: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.float64], Ints]:
    """The largest overlap of each detection, 0 where there is none, and with which object, of equal ones the first."""
    best, which = np.zeros(count), np.zeros(count, np.int64)
    order = np.lexsort((-other, shared))  # what is written last stays
    best[one[order]], which[one[order]] = shared[order], other[order]
    return best, which
