"""A linear support vector machine per class over features of regions, trained on hard negatives (Girshick 2014, sections 2.3 and B).

Positive for a class are its annotated boxes alone; negative, regions that overlap all of them by less than 0.3; those between are left out.
There are far too many negatives to hold: each picture's are scored by what was learnt so far, those that are not yet clearly
refused (a score above -1) are kept, the machine is trained again when enough have come, and forgets those below -1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lamina.core.errors import DataError, MissingExtraError
from lamina.core.warnings import warn

NEVER = -1e4  # the score of a class that nothing was learnt of
_HARD, _EASY = -1.0001, -1.2


class Regions(NamedTuple):
    """The regions of one picture: what is seen in them, how far they overlap the nearest object of each class, which they are."""

    features: Float[Tensor, "N D"]
    overlaps: Float[Tensor, "N K"]
    truths: Int64[Tensor, " N"]  # the class where the region is an annotated box, else -1


@dataclass
class LinearSVMs:
    """A linear SVM for each of `classes`: score = weight . features * scale + bias; above 0 where the class is seen.

    `penalty` is C (the paper's code: 0.001), `positive_weight` multiplies the loss of positives; features are scaled to a mean length of
    `length`, and the bias is learnt as the weight of a feature of 10, both as that code does. `overlap`: below it a region is negative.
    `passes` over the pictures; `retrain_after` new negatives of a class. Raises MissingExtraError without scikit-learn.
    """

    classes: Sequence[str]
    penalty: float = 1e-3
    positive_weight: float = 2.0
    length: float = 20.0
    overlap: float = 0.3
    passes: int = 1
    retrain_after: int = 2000
    weights: Tensor = field(init=False)
    biases: Tensor = field(init=False)
    scale: float = field(init=False, default=1.0)
    trainings: int = field(init=False, default=0)

    def fit(self, pictures: Sequence[Regions]) -> LinearSVMs:
        """Trains on the regions of pictures, which are asked for one after the other. Warns of classes without an example.

        Raises DataError where there is no annotated box at all.
        """
        svc = _linear_svc()
        positives = self._positives(pictures)
        count, dim = len(self.classes), positives.shape[1] - 1
        labels, positives = positives[:, 0].long(), positives[:, 1:] * self.scale
        self.weights, self.biases = torch.zeros(count, dim), torch.full((count,), NEVER)
        missing = [name for label, name in enumerate(self.classes) if not (labels == label).any()]
        if missing:
            warn(f"No box of {', '.join(missing)} is annotated; the machines of these classes find nothing.")
        machines = {
            label: _Machine(self, positives[labels == label], svc, label)
            for label in range(count)
            if (labels == label).any()
        }
        for turn in range(self.passes):
            for number, regions in enumerate(pictures):
                features = regions.features * self.scale
                for label, machine in machines.items():
                    machine.see(
                        (turn, number), features, torch.nonzero(regions.overlaps[:, label] < self.overlap)[:, 0]
                    )
            for machine in machines.values():
                machine.train()
        self.trainings = sum(machine.trainings for machine in machines.values())
        return self

    def scores(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """The score of each class for regions."""
        return features.float() * self.scale @ self.weights.T + self.biases

    def _positives(self, pictures: Sequence[Regions]) -> Float[Tensor, "P D1"]:
        """Label and features of all annotated boxes; sets the scale by the regions of all pictures."""
        found, lengths, regions_seen = [], 0.0, 0
        for regions in pictures:
            true = regions.truths >= 0
            found.append(torch.cat([regions.truths[true, None].float(), regions.features[true]], dim=1))
            lengths, regions_seen = lengths + float(regions.features.norm(dim=1).sum()), regions_seen + len(true)
        if not sum(map(len, found)):
            raise DataError(
                f"{len(found)} pictures came, and none has an annotated box.",
                "At least one was expected.",
                "Pass pictures in which something stands.",
            )
        self.scale = self.length * regions_seen / lengths if lengths else 1.0
        return torch.cat(found)


class _Machine:
    """The machine of one class, and the negatives that it holds."""

    def __init__(self, told: LinearSVMs, positives: Tensor, svc: Any, label: int) -> None:
        self.told, self.positives, self.label = told, positives, label
        self.svc = svc
        self.held: dict[tuple[int, int], Tensor] = {}  # by picture and region
        self.new, self.trainings = 0, 0

    def see(self, picture: tuple[int, int], features: Tensor, rows: Tensor) -> None:
        """Takes those negatives of a picture that are not yet refused; all as long as nothing is learnt."""
        if self.trainings:
            scores = self._scores(features[rows])
            rows = rows[scores > _HARD]
        for row in rows.tolist():
            place = (picture[1], row)
            self.new += place not in self.held
            self.held[place] = features[row]
        if (self.new and not self.trainings) or self.new >= self.told.retrain_after:
            self.train()

    def train(self) -> None:
        """Learns from all that is held, and forgets what is refused clearly."""
        if not self.held or (self.trainings and not self.new):
            return
        negatives = torch.stack(list(self.held.values()))
        inputs = torch.cat([self.positives, negatives]).numpy().astype(np.float64)
        goals = np.repeat([1, -1], [len(self.positives), len(negatives)])
        machine = self.svc(
            C=self.told.penalty,
            loss="hinge",
            class_weight={1: self.told.positive_weight, -1: 1.0},
            intercept_scaling=10.0,
            max_iter=20_000,
            random_state=0,
        ).fit(inputs, goals)
        self.told.weights[self.label] = torch.from_numpy(machine.coef_[0]).float()
        self.told.biases[self.label] = float(machine.intercept_[0])
        self.new, self.trainings = 0, self.trainings + 1
        kept = (self._scores(negatives) >= _EASY).tolist()
        self.held = {place: each for (place, each), stays in zip(self.held.items(), kept, strict=True) if stays}

    def _scores(self, features: Tensor) -> Tensor:
        return features @ self.told.weights[self.label] + self.told.biases[self.label]


class Lazily(Sequence[Regions]):
    """Regions of pictures, made when they are asked for: features are dear to hold."""

    def __init__(self, pictures: int, make: Callable[[int], Regions]) -> None:
        self.pictures, self.make = pictures, make

    def __len__(self) -> int:
        return self.pictures

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.pictures:
            raise IndexError(index)
        return self.make(index)


def _linear_svc() -> Any:
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise MissingExtraError("R-CNN's support vector machines (scikit-learn)", "detection") from error
    return LinearSVC
