"""How well the outlines of regions agree: the boundary F1 of Csurka, Larlus & Perronnin (BMVC 2013, section 3)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.metrics.decisions import Kind, class_axis
from lamina.metrics.metric import Metric, Takes
from lamina.metrics.segmentation import largest
from lamina.structures.annotation import IGNORED

TOLERANCE = 0.0075  # of the diagonal, the paper's
Points = npt.NDArray[np.int64]  # N 2: row, column


class BoundaryF1(Metric):
    """The mean over the classes of their boundary F1, 0 to 1, itself the mean over the pictures in which a class occurs.

    Outputs (B K H W), targets (B H W); see `boundary_f1`. It is computed on the host, which waits for the device at every batch.
    `ignore_class` None is what the loss ignores, or 255. Weights of samples weigh the pictures.
    """

    additive = True

    def __init__(
        self, *, tolerance: float = TOLERANCE, name: str = "boundary_f1", ignore_class: int | None = None
    ) -> None:
        super().__init__(name)
        _require_tolerance(tolerance)
        self.tolerance, self.ignore_class, self.kind = tolerance, ignore_class, None

    kind: Kind | None  # said by the loss; the largest output decides in any case

    @property
    def takes(self) -> Takes:
        """The largest output decides."""
        return "scores"

    def update(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch."""
        classes = outputs.shape[class_axis(outputs.dim())]
        ignored = IGNORED if self.ignore_class is None else self.ignore_class
        shares = np.ones(len(outputs)) if weights is None else weights.double().cpu().numpy()
        total, count = np.zeros(classes), np.zeros(classes)
        maps = zip(largest(outputs).cpu().numpy(), targets.cpu().numpy(), shares, strict=True)
        for predicted, truth, share in maps:
            values = boundary_f1(predicted, truth, classes, tolerance=self.tolerance, ignore_class=ignored)
            known = ~np.isnan(values)
            total[known] += share * values[known]
            count[known] += share
        self.add(torch.from_numpy(total), torch.from_numpy(count))

    def defer(self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"]) -> None:
        """Adds one batch: picture after picture, so there is nothing to join."""
        self.update(outputs, targets)

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """The mean over the classes that any picture has."""
        total, count = sums
        return (total / count).nanmean()  # 0 / 0 is NaN

    def by_class(self) -> Float[np.ndarray, " K"] | None:
        """The number of each class, NaN where no picture has it; None before the first batch."""
        if not self.sums:
            return None
        total, count = (torch.as_tensor(term) for term in self._world or self.sums)
        return (total / count).numpy()


def boundary_f1(
    predicted: Integer[np.ndarray, "H W"],
    truth: Integer[np.ndarray, "H W"],
    num_classes: int,
    *,
    tolerance: float = TOLERANCE,
    ignore_class: int = IGNORED,
) -> Float[np.ndarray, " K"]:
    """2 P R / (P + R) of each class's boundary in one picture, 0 to 1; NaN where the truth has no pixel of the class.

    P is the share of the predicted boundary that lies nearer than `tolerance` (of the picture's diagonal) to the true one,
    and R that of the true one near the predicted. The boundary of a class are its pixels with a neighbour of another, above, below,
    left or right; the picture's edge bounds nothing, nor do pixels that are ignored, which are so in both maps. Where a class has no
    boundary in either map it is NaN too, and where in one alone, 0. Raises ShapeError and DataError for maps that do not fit.
    """
    _require_tolerance(tolerance)
    if predicted.ndim != 2 or predicted.shape != truth.shape:
        raise ShapeError(
            f"The predicted map has shape {predicted.shape}, and the true one {truth.shape}.",
            "Both are (H W), of one size.",
            "Resize the prediction to the truth.",
        )
    true = truth.astype(np.int64)
    known = true != ignore_class
    if (strange := known & ((true < 0) | (true >= num_classes))).any():
        raise DataError(
            f"The true map holds {int(true[strange][0])}.",
            f"Classes from 0 to {num_classes - 1} were expected, or {ignore_class} for none.",
            "Correct the map, or say ignore_class.",
        )
    guess = np.where(known, predicted, -1)
    true = np.where(known, true, -1)
    reach = tolerance * math.hypot(*truth.shape)
    edges = _edges(guess), _edges(true)
    values = np.full(num_classes, np.nan)
    for number in np.unique(true[known]).tolist():
        own, right = edges[0] & (guess == number), edges[1] & (true == number)
        if own.any() and right.any():
            precision, recall = _near(own, right, reach), _near(right, own, reach)
            values[number] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        elif own.any() or right.any():
            values[number] = 0.0
    return values


def _edges(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The pixels that have a neighbour of another class; -1 is none."""
    edges = np.zeros(classes.shape, dtype=np.bool_)
    for one, other in (
        ((slice(1, None),), (slice(None, -1),)),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        differ = (classes[one] != classes[other]) & (classes[one] >= 0) & (classes[other] >= 0)
        edges[one] |= differ
        edges[other] |= differ
    return edges


def _near(points: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_], reach_px: float) -> float:
    """The share of some pixels that lie nearer than this to one of the others, by the distance of their middles."""
    height, width = others.shape
    rows, columns = np.nonzero(points)
    # how many of the others lie left of each column, so that a row of the disc around a point is one difference
    before = np.zeros((height, width + 1), dtype=np.int32)
    np.cumsum(others, axis=1, out=before[:, 1:])
    found = np.zeros(len(rows), dtype=np.bool_)
    for down in range(-math.ceil(reach_px) + 1, math.ceil(reach_px)):
        across = math.ceil(math.sqrt(reach_px**2 - down**2)) - 1
        row = rows + down
        inside = (row >= 0) & (row < height)
        row = row.clip(0, height - 1)
        first, last = (columns - across).clip(min=0), (columns + across + 1).clip(max=width)
        found |= inside & (before[row, last] > before[row, first])
    return float(found.mean())


def _require_tolerance(tolerance: float) -> None:
    if not 0 < tolerance < math.inf:
        raise LaminaError(
            f"tolerance is {tolerance}.", "A share of the diagonal above 0 was expected.", "The paper's is 0.0075."
        )
