"""How well maps of classes agree, all from one confusion matrix of their pixels, which stays on the device.

A class that no labelled pixel is of is left out of every mean, and named in `SegmentationScores.absent`: whatever is predicted as
it takes from the classes that the pixels are of. Means are of the pixels of all pictures together, and so exact over any batches
and processes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64, Integer, Shaped
from torch import Tensor

from lamina.core.errors import DataError, ShapeError
from lamina.metrics.decisions import Kind, class_axis
from lamina.metrics.metric import Metric, Takes, per_entry
from lamina.structures.annotation import IGNORED


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """All that a confusion matrix says: `confusion[t, p]` pixels of class t were predicted as p. Shares from 0 to 1.

    Raises ShapeError where there are not as many names as classes.
    """

    confusion: Int64[np.ndarray, "K K"]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        matrix = np.asarray(self.confusion)
        names = tuple(self.classes) or tuple(f"class {number}" for number in range(len(matrix)))
        if matrix.shape != (len(names), len(names)):
            raise ShapeError(
                f"The confusion matrix has shape {matrix.shape} beside {len(names)} classes.",
                "A row and a column of each class were expected.",
                "Pass the classes that the network was built with.",
            )
        object.__setattr__(self, "confusion", matrix)
        object.__setattr__(self, "classes", names)

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes that no pixel is of, which no mean counts."""
        return tuple(name for name, count in zip(self.classes, self.confusion.sum(1), strict=True) if not count)

    @property
    def iou(self) -> Float[np.ndarray, " K"]:
        """Of each class, its pixels that were found by those that are of it or were taken for it; NaN where it is absent."""
        right, true, predicted = self._sums()
        return _divided(right, np.where(true > 0, true + predicted - right, 0.0))

    @property
    def accuracy(self) -> Float[np.ndarray, " K"]:
        """Of each class, the share of its pixels that were found; NaN where it is absent."""
        right, true, _ = self._sums()
        return _divided(right, true)

    @property
    def mean_iou(self) -> float:
        """The mean of `iou`."""
        return _mean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """The mean of `accuracy`."""
        return _mean(self.accuracy)

    @property
    def pixel_accuracy(self) -> float:
        """The share of all pixels that are right."""
        right, true, _ = self._sums()
        return float(_divided(right.sum(), true.sum()))

    @property
    def frequency_weighted_iou(self) -> float:
        """The mean of `iou`, weighed by the pixels of each class (Long 2015, section 5)."""
        _, true, _ = self._sums()
        return float(_divided(np.nansum(self.iou * true), true.sum()))

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: the four means, IoU and accuracy by class (None where it is absent), the absent classes."""
        means = {name: getattr(self, name) for name in _MEANS}
        told = {name: None if value != value else value for name, value in means.items()}
        by_class = {
            label: None if iou != iou else {"iou": iou, "accuracy": accuracy}
            for label, iou, accuracy in zip(self.classes, self.iou.tolist(), self.accuracy.tolist(), strict=True)
        }
        return {**told, "classes": by_class, "absent": list(self.absent)}

    def __str__(self) -> str:
        room = max(len("class"), *map(len, self.classes))
        lines = [f"{'class':<{room}}     IoU  accuracy    pixels"]
        true = self.confusion.sum(1)
        for row, name in enumerate(self.classes):
            shares = f"{self.iou[row]:8.4f}{self.accuracy[row]:10.4f}" if true[row] else f"{'-':>8}{'-':>10}"
            lines.append(f"{name:<{room}}{shares}{_percent(true[row], true.sum()):>10}")
        lines.append(f"{'mean':<{room}}{self.mean_iou:8.4f}{self.mean_accuracy:10.4f}")
        lines.append(
            f"pixel accuracy {self.pixel_accuracy:.4f}, frequency-weighted IoU {self.frequency_weighted_iou:.4f}"
        )
        if self.absent:
            lines.append(f"left out, as no pixel is of it: {', '.join(self.absent)}")
        return "\n".join(lines)

    def _sums(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        matrix = self.confusion.astype(np.float64)
        return matrix.diagonal(), matrix.sum(1), matrix.sum(0)


_MEANS = ("mean_iou", "mean_accuracy", "pixel_accuracy", "frequency_weighted_iou")


class ConfusionMetric(Metric):
    """A number from the confusion matrix (K K) of pixels: outputs (B K H W), targets (B H W).

    Pixels labelled `ignore_class` do not count; None is what the loss ignores, or 255. Labels that are neither a class nor that
    are a DataError when the value is asked for, as looking for them in each batch would wait for the device.
    """

    def __init__(self, *, name: str, ignore_class: int | None = None) -> None:
        super().__init__(name)
        self.ignore_class, self.kind = ignore_class, None
        self._shared: ConfusionMetric | None = None

    kind: Kind | None  # said by the loss; the largest output decides in any case

    @property
    def takes(self) -> Takes:
        """The largest output decides."""
        return "scores"

    def update(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch. Raises ShapeError where the maps are of another size."""
        if self._shared is None:
            classes = outputs.shape[class_axis(outputs.dim())]
            self.count(largest(outputs), targets, classes, weights)

    def count(
        self,
        predicted: Integer[Tensor, "*R"],
        targets: Integer[Tensor, "*R"],
        num_classes: int,
        weights: Float[Tensor, " B"] | None = None,
    ) -> None:
        """As `update`, of maps of the classes that were decided for."""
        if self._shared is None:
            self.add(*confusion(predicted, targets, num_classes, ignore_class=self._ignored, weights=weights))

    def defer(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]) -> None:
        """Adds one batch later, if it is small: joining large ones takes longer than an update."""
        if outputs.numel() > self._WAITING_ENTRIES:
            self.update(outputs, targets)
        elif self._shared is None:
            super().defer(outputs, targets)

    def compute(self) -> Float[Tensor, ""]:
        """The value over all batches since the last reset, on the device; NaN before the first, and of no labelled pixel."""
        sums = self.totals()
        return self.value(*sums) if sums else torch.tensor(torch.nan)

    def totals(self) -> tuple[Tensor, ...]:
        """The confusion matrix (K K), and how many labels are no class; nothing before the first batch."""
        if self._shared is not None:
            return self._shared.totals()
        kept = self.sums, self._waiting, self._entries, self._world
        self.settle()
        sums = self._world or self.sums
        self.sums, self._waiting, self._entries, self._world = kept
        return tuple(map(torch.as_tensor, sums))

    def reduce(self) -> None:
        """Makes `compute` speak for all processes until the next update."""
        if self._shared is None:
            super().reduce()

    def scores(self, classes: Sequence[str] = ()) -> SegmentationScores | None:
        """All that the matrix says, with the names of the classes; None before the first batch."""
        sums = self.totals()
        if not sums:
            return None
        _refuse_strays(sums[1], len(sums[0]))
        return SegmentationScores(sums[0].cpu().numpy(), tuple(classes))

    @property
    def _ignored(self) -> int:
        return IGNORED if self.ignore_class is None else self.ignore_class

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """From the matrix."""
        _refuse_strays(sums[1], len(sums[0]))
        matrix = sums[0].float() if sums[0].device.type == "mps" else sums[0].double()
        right, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        return self.of_classes(right, true, true + predicted - right)

    @abstractmethod
    def of_classes(
        self, right: Float[Tensor, " K"], true: Float[Tensor, " K"], either: Float[Tensor, " K"]
    ) -> Float[Tensor, ""]:
        """The number, from the pixels of each class that are right, of it, and of it or taken for it."""

    def share(self, owner: ConfusionMetric | None) -> None:
        """Takes its value from the matrix of `owner` from now on, and counts nothing itself; None ends it."""
        self._shared = None if owner is self else owner

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_shared": None}  # a copy counts for itself


class MeanIoU(ConfusionMetric):
    """The mean over the classes of intersection over union: right by those of the class or taken for it, 0 to 1.

    (Everingham 2010, section 4.3; the classes that no pixel is of are left out.)
    """

    additive = True

    def __init__(self, *, name: str = "mean_iou", ignore_class: int | None = None) -> None:
        super().__init__(name=name, ignore_class=ignore_class)

    def of_classes(
        self, right: Float[Tensor, " K"], true: Float[Tensor, " K"], either: Float[Tensor, " K"]
    ) -> Float[Tensor, ""]:
        """The mean of right by either."""
        return _mean_where(true > 0, right / either)


class PixelAccuracy(ConfusionMetric):
    """The share of the labelled pixels that are right, 0 to 1."""

    additive = True

    def __init__(self, *, name: str = "pixel_accuracy", ignore_class: int | None = None) -> None:
        super().__init__(name=name, ignore_class=ignore_class)

    def of_classes(
        self, right: Float[Tensor, " K"], true: Float[Tensor, " K"], either: Float[Tensor, " K"]
    ) -> Float[Tensor, ""]:
        """All right by all."""
        del either
        return right.sum() / true.sum()


class MeanAccuracy(ConfusionMetric):
    """The mean over the classes of the share of their pixels that are right, 0 to 1 (Long 2015, section 5)."""

    additive = True

    def __init__(self, *, name: str = "mean_accuracy", ignore_class: int | None = None) -> None:
        super().__init__(name=name, ignore_class=ignore_class)

    def of_classes(
        self, right: Float[Tensor, " K"], true: Float[Tensor, " K"], either: Float[Tensor, " K"]
    ) -> Float[Tensor, ""]:
        """The mean of right by true."""
        del either
        return _mean_where(true > 0, right / true)


class FrequencyWeightedIoU(ConfusionMetric):
    """The mean over the pixels of the intersection over union of their class, 0 to 1 (Long 2015, section 5)."""

    additive = True

    def __init__(self, *, name: str = "frequency_weighted_iou", ignore_class: int | None = None) -> None:
        super().__init__(name=name, ignore_class=ignore_class)

    def of_classes(
        self, right: Float[Tensor, " K"], true: Float[Tensor, " K"], either: Float[Tensor, " K"]
    ) -> Float[Tensor, ""]:
        """The mean of right by either, weighed by true."""
        return torch.where(true > 0, true * right / either, 0.0).sum() / true.sum()


def share_confusion(metrics: Iterable[Metric]) -> None:
    """Has those of the metrics that need a confusion matrix fill one in common: the first's of each ignored label."""
    owners: dict[int, ConfusionMetric] = {}
    for metric in metrics:
        if isinstance(metric, ConfusionMetric):
            metric.share(owners.setdefault(metric._ignored, metric))


def largest(outputs: Float[Tensor, "*S"]) -> Int64[Tensor, "*R"]:
    """The class of the largest output, of the first where several are."""
    return outputs.max(dim=class_axis(outputs.dim())).indices  # on a processor several times faster than argmax


def confusion(
    predicted: Integer[Tensor, "*R"],
    targets: Integer[Tensor, "*R"],
    num_classes: int,
    *,
    ignore_class: int = IGNORED,
    weights: Float[Tensor, " B"] | None = None,
) -> tuple[Shaped[Tensor, "K K"], Shaped[Tensor, ""]]:
    """(pixels of class t predicted as p in row t, column p; how many labels are neither a class nor ignored), of one batch.

    Nothing waits for the device. Counts are int64, with weights of the pictures sums of float64. Raises ShapeError where
    the maps are of another size.
    """
    if predicted.shape != targets.shape:
        raise ShapeError(
            f"Predicted maps have the shape {tuple(predicted.shape)}, and the true ones {tuple(targets.shape)}.",
            "Both must have one shape (B H W).",
            "Resize the outputs to the labels, not the labels to the outputs.",
        )
    labels, cells = targets.long(), num_classes * num_classes
    known = (labels >= 0) & (labels < num_classes) & (labels != ignore_class)
    stray = torch.where(labels == ignore_class, cells, cells + 1)
    places = torch.where(known, labels * num_classes + predicted.long(), stray).flatten()
    kind = torch.int64
    if weights is not None:
        kind = torch.float32 if places.device.type == "mps" else torch.float64
    shares = torch.ones((), dtype=kind, device=places.device).expand(places.shape)
    if weights is not None:
        shares = per_entry(weights.to(kind), targets).expand(targets.shape).flatten()
    counts = torch.zeros(cells + 2, dtype=kind, device=places.device).scatter_add_(0, places, shares)
    return counts[:cells].reshape(num_classes, num_classes), counts[-1]


def _refuse_strays(count: Tensor, classes: int) -> None:
    if (strays := float(count)) > 0:
        raise DataError(
            f"{strays:,.0f} pixels have a label that is no class.",
            f"Labels from 0 to {classes - 1} were expected, or the one that is ignored.",
            "Correct the maps of classes; where the label means 'none', say ignore_class.",
        )


def _mean_where(counted: Tensor, values: Tensor) -> Tensor:
    return torch.where(counted, values, 0.0).sum() / counted.sum()  # 0 / 0 is NaN


def _divided(part: npt.ArrayLike, whole: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Part by whole, NaN where the whole is nothing."""
    below = np.asarray(whole, dtype=np.float64)
    return np.where(below > 0, np.asarray(part) / np.where(below > 0, below, 1.0), np.nan)


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"
