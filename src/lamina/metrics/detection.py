"""COCO's and VOC's numbers as metrics of a loop: exact over batches and processes, for which all boxes are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lamina.core.errors import DataError, unknown_name
from lamina.metrics.box_rows import Found, FoundBoxes, TrueBoxes, Truth
from lamina.metrics.coco import NUMBERS, CocoScores, coco_scores
from lamina.metrics.metric import Metric
from lamina.metrics.voc import VocScores, voc_scores


class _Boxes(Metric):
    """Keeps what was found and what is true of all pictures, on the device where it came.

    The sums: of each picture its update and how many objects were found and are true; of what was found labels, boxes, scores; of
    the truth labels, boxes, crowd, area. Pictures go by update and then by process, as they lay in the batches of all.
    """

    def __init__(self, classes: Sequence[str], *, name: str) -> None:
        super().__init__(name)
        self.classes = tuple(classes)
        self._parts: list[tuple[Tensor, ...]] = []
        self._updates = 0

    def update(self, outputs: Sequence[Found], targets: Sequence[Truth], weights: None = None) -> None:  # type: ignore[override]
        """Adds a batch: a result and an annotation for each picture. Raises DataError where there are more of one."""
        del weights
        if len(outputs) != len(targets):
            raise DataError(
                f"The metric {self.name!r}: {len(outputs)} results came for {len(targets)} pictures.",
                "One for each was expected.",
                "Pass a result for pictures in which nothing was found too.",
            )
        counts = [
            (self._updates, len(found.scores), 0 if truth.boxes_xyxy is None else len(truth.boxes_xyxy))
            for found, truth in zip(outputs, targets, strict=True)
        ]
        held = [truth for truth in targets if truth.boxes_xyxy is not None]
        self._parts.append(
            (
                torch.tensor(counts, dtype=torch.int64).reshape(-1, 3),
                _joined([found.labels for found in outputs], torch.int64),
                _joined([found.boxes_xyxy for found in outputs], torch.float64, 4),
                _joined([found.scores for found in outputs], torch.float64),
                _joined([_or(truth, truth.labels, 0) for truth in held], torch.int64),
                _joined([truth.boxes_xyxy for truth in held], torch.float64, 4),
                _joined([_or(truth, truth.crowd, False) for truth in held], torch.bool),
                _joined([_or(truth, truth.area_px, torch.nan) for truth in held], torch.float64),
            )
        )
        self._updates += 1
        self._world = ()

    def settle(self) -> None:
        """Joins what was added."""
        if len(self._parts) > 1:
            self._parts = [tuple(map(torch.cat, zip(*self._parts, strict=True)))]
        if self._parts:
            self.sums = self._parts[0]

    def joined(self, terms: list[Tensor | int]) -> Tensor:
        """The rows of all processes."""
        return torch.cat([torch.as_tensor(term) for term in terms])

    def reset(self) -> None:
        """Forgets all pictures."""
        super().reset()
        self._parts, self._updates = [], 0

    def state_dict(self) -> dict[str, Any]:
        """All that was added so far."""
        self.settle()
        return {**super().state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        super().load_state_dict(state)
        self._parts = [self.sums] if self.sums else []  # type: ignore[list-item]
        self._updates = state["updates"]

    def rows(self) -> tuple[TrueBoxes, FoundBoxes]:
        """What is true and what was found in all pictures since the last reset; after `reduce`, in those of all processes.

        Raises DataError for boxes and scores that are no finite numbers.
        """
        self.settle()
        return _rows(self._world or self.sums)  # type: ignore[arg-type]


class CocoAP(_Boxes):
    """COCO's average precision over batches of (results, annotations), such as Detections and Annotation, 0 to 1.

    `scores()` gives all twelve numbers, those of each class, and curves (see `coco_scores`); `others("AP50", "AR100")` are metrics that
    report them too and keep nothing of their own.
    """

    def __init__(self, classes: Sequence[str] = (), *, name: str = "AP") -> None:
        super().__init__(classes, name=name)
        self._known: tuple[Any, CocoScores] | None = None

    def scores(self) -> CocoScores:
        """All numbers since the last reset; they are worked out once for the same pictures."""
        self.settle()
        sums = self._world or self.sums
        if self._known is None or self._known[0] is not sums:
            self._known = sums, coco_scores(*_rows(sums), classes=self.classes)  # type: ignore[arg-type]
        return self._known[1]

    def compute(self) -> Float[Tensor, ""]:
        """AP so far; NaN before the first picture."""
        return self.number("AP")

    def number(self, name: str) -> Float[Tensor, ""]:
        """One of the twelve."""
        return torch.tensor(self.scores()[name] if self._parts or self._world else torch.nan, dtype=torch.float64)

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """AP of such sums."""
        return torch.tensor(coco_scores(*_rows(sums), classes=self.classes)["AP"], dtype=torch.float64)

    def others(self, *names: str) -> list[Metric]:
        """A metric for each of these of the twelve numbers, which looks at this one: it must be reduced and reset with this, after it.

        Raises UnknownNameError for no such number.
        """
        return [_Number(self, name) for name in names]

    def reset(self) -> None:
        """Forgets all pictures."""
        super().reset()
        self._known = None


class VocAP(_Boxes):
    """VOC's mean average precision over batches of (results, annotations), 0 to 1; `scores()` tells of each class (see `voc_scores`)."""

    def __init__(
        self,
        classes: Sequence[str] = (),
        *,
        points: Literal["all", 11] = "all",
        overlap: float = 0.5,
        name: str = "mean_ap",
    ) -> None:
        super().__init__(classes, name=name)
        self.points, self.overlap = points, overlap

    def scores(self) -> VocScores:
        """All numbers since the last reset."""
        truths, found = self.rows()
        return voc_scores(truths, found, points=self.points, overlap=self.overlap, classes=self.classes)

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """The mean of such sums."""
        truths, found = _rows(sums)
        scores = voc_scores(truths, found, points=self.points, overlap=self.overlap, classes=self.classes)
        return torch.tensor(scores.mean_ap, dtype=torch.float64)


class _Number(Metric):
    """Another number of a CocoAP."""

    def __init__(self, source: CocoAP, number: str) -> None:
        if number not in NUMBERS:
            raise unknown_name("number of COCO's", number, NUMBERS)
        super().__init__(number)
        self.source = source

    def update(self, outputs: Any, targets: Any, weights: Any = None) -> None:
        """Nothing: the source keeps it."""

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """From the sums of the source."""
        return torch.tensor(coco_scores(*_rows(sums), classes=self.source.classes)[self.name], dtype=torch.float64)

    def compute(self) -> Float[Tensor, ""]:
        """What the source says."""
        return self.source.number(self.name)

    def reduce(self) -> None:
        """Nothing: the source is reduced."""


def _rows(sums: Sequence[Tensor]) -> tuple[TrueBoxes, FoundBoxes]:
    if not sums:
        empty = torch.zeros(0)
        sums = (torch.zeros(0, 3), empty, torch.zeros(0, 4), empty, empty, torch.zeros(0, 4), empty, empty)
    counts, labels, boxes, scores, true_labels, true_boxes, crowd, area = (each.detach().cpu() for each in sums)
    pictures = torch.empty(len(counts), dtype=torch.int64)
    pictures[counts[:, 0].argsort(stable=True)] = torch.arange(len(counts))
    images, true_images = (pictures.repeat_interleave(counts[:, column].long()) for column in (1, 2))
    truth = (true_images, true_labels, true_boxes, crowd.bool(), area)
    found = (images, labels, boxes, scores)
    return TrueBoxes(*(each.numpy() for each in truth)), FoundBoxes(*(each.numpy() for each in found))


def _or(truth: Truth, values: Any, otherwise: float) -> Any:
    """What is annotated, or the same for all."""
    if values is not None:
        return values
    return torch.full((len(truth.boxes_xyxy),), otherwise, device=getattr(truth.boxes_xyxy, "device", None))


def _joined(parts: Sequence[Any], dtype: torch.dtype, *width: int) -> Tensor:
    told = [torch.as_tensor(part).detach() for part in parts]
    if any(part.device.type == "mps" for part in told) and dtype == torch.float64:
        dtype = torch.float32  # all that it has
    rows = [part.to(dtype).reshape(-1, *width) for part in told]
    return torch.cat(rows) if rows else torch.zeros(0, *width, dtype=dtype)
