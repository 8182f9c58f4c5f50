"""From a region to the box of what stands in it, a ridge regression per class (Girshick 2014, section 3.5 and appendix C).

Of a proposal P and its features f, the deltas of equations 6 to 9 (structures/box_deltas.py) are w . f, where equation 5

    w = argmin sum_i (t_i - w . f(P_i))^2 + lambda |w|^2,    lambda = 1000

runs over the pairs of proposals and objects of the class that overlap by 0.6 or more; a proposal is paired with the object that it overlaps
most. Features are scaled to a mean length of 20, and the intercept is not held down, as in the paper's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lamina.core.errors import MissingExtraError
from lamina.structures.box_deltas import from_deltas, to_deltas
from lamina.structures.boxes import overlap

Pairs = tuple[Float[Tensor, "N E"], Float[Tensor, "N 4"], Int64[Tensor, " N"]]  # features, deltas, classes


@dataclass
class BoxRegressions:
    """A ridge regression for each of `classes`; a class of which no pair was seen leaves boxes as they are.

    `penalty` is the paper's lambda, `overlap` what makes a pair. Raises MissingExtraError without scikit-learn.
    """

    classes: Sequence[str]
    penalty: float = 1000.0
    overlap: float = 0.6
    length: float = 20.0
    weights: Tensor = field(init=False)
    biases: Tensor = field(init=False)
    scale: float = field(init=False, default=1.0)

    def pairs(
        self,
        features: Float[Tensor, "N E"],
        proposals_xyxy: Float[Tensor, "N 4"],
        truths_xyxy: Float[Tensor, "M 4"],
        labels: Int64[Tensor, " M"],
    ) -> Pairs:
        """What one picture has to teach: of each proposal that lies near an object its features, its deltas and the class."""
        if not len(truths_xyxy) or not len(proposals_xyxy):
            return features[:0], proposals_xyxy[:0], labels[:0]
        shared, nearest = overlap(proposals_xyxy[:, None], truths_xyxy[None]).max(dim=1)
        near = shared >= self.overlap
        goals = to_deltas(truths_xyxy[nearest[near]], proposals_xyxy[near])
        return features[near], goals, labels[nearest[near]]

    def fit(self, pictures: Iterable[Pairs]) -> BoxRegressions:
        """Learns from the pairs of all pictures."""
        ridge = _ridge()
        features, goals, labels = (torch.cat(parts) for parts in zip(*pictures, strict=True))
        lengths = features.norm(dim=1)
        self.scale = self.length / max(float(lengths.mean()), 1e-12) if len(features) else 1.0
        self.weights = torch.zeros(len(self.classes), 4, features.shape[1])
        self.biases = torch.zeros(len(self.classes), 4)
        for label in range(len(self.classes)):
            mine = labels == label
            if mine.any():
                fitted = ridge(alpha=self.penalty).fit((features[mine] * self.scale).numpy(), goals[mine].numpy())
                self.weights[label] = torch.from_numpy(fitted.coef_).float()
                self.biases[label] = torch.from_numpy(fitted.intercept_).float()
        return self

    def boxes(
        self, features: Float[Tensor, "N E"], proposals_xyxy: Float[Tensor, "N 4"], label: int
    ) -> Float[Tensor, "N 4"]:
        """The boxes of objects of a class that stand in these regions."""
        deltas = features.float() * self.scale @ self.weights[label].T + self.biases[label]
        return from_deltas(deltas, proposals_xyxy)


def _ridge() -> Any:
    try:
        from sklearn.linear_model import Ridge
    except ImportError as error:
        raise MissingExtraError("R-CNN's box regression (scikit-learn)", "detection") from error
    return Ridge
