"""How well scores rank the samples that have a label before those that have not."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.metrics.metric import Metric, require_same_shape


class MeanAveragePrecision(Metric):
    """The mean over the labels of their average precision: sum over the thresholds of (R_n - R_(n-1)) P_n, 0 to 1.

    Outputs and targets (of 0 and 1) have one shape, (B K) or (B). P_n and R_n are precision and recall of the samples whose
    score is at least the n-th largest; equal scores are one threshold. (scikit-learn's average_precision_score.) Labels that no
    sample has do not count; NaN where none has any. It is exact over any batches, for which all scores are kept.
    """

    additive = True

    def __init__(self, *, name: str = "mean_average_precision") -> None:
        super().__init__(name)

    def update(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*S"], weights: Float[Tensor, " B"] | None = None
    ) -> None:
        """Adds one batch."""
        require_same_shape(self, outputs, targets)
        rows, truth = outputs.reshape(len(outputs), -1).float(), targets.reshape(len(targets), -1).float()
        terms = rows, truth, rows.new_ones(len(rows)) if weights is None else weights.float()
        self.sums = tuple(map(torch.cat, zip(self.sums, terms, strict=True))) if self.sums else terms  # type: ignore[arg-type]
        self._world = ()

    def joined(self, terms: list[Tensor | int]) -> Tensor:
        """The samples of all processes."""
        return torch.cat([torch.as_tensor(term) for term in terms])

    def value(self, *sums: Tensor) -> Float[Tensor, ""]:
        """From scores, targets (N K) and weights (N)."""
        scores, truth, weights = sums
        shares = [_average_precision(*column, weights) for column in zip(scores.T, truth.T, strict=True)]
        return torch.stack(shares).nanmean()


def _average_precision(
    scores: Float[Tensor, " N"], truth: Float[Tensor, " N"], weights: Float[Tensor, " N"]
) -> Float[Tensor, ""]:
    """Of one label; NaN where no sample has it."""
    kind = torch.float32 if scores.device.type == "mps" else torch.float64
    order = scores.argsort(descending=True)
    falls = torch.diff(scores[order], append=scores.new_full((1,), -torch.inf)) < 0  # the last one of equal scores
    hits = (weights * truth)[order].to(kind).cumsum(0)[falls]
    precision = hits / weights[order].to(kind).cumsum(0)[falls]
    gains = torch.diff(hits, prepend=hits.new_zeros(1)) / hits[-1]  # 0 / 0 is NaN
    return (gains * precision).sum()
