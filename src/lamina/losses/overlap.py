"""Losses of the overlap of regions, 0 to 1: Dice's and the Jaccard index's, which frequent classes do not outvote.

Outputs are (B K H W) and labels (B H W); pixels labelled `ignore_class` are in no region. A class that no label of the batch has
is left out: it has no overlap to enlarge. Where no pixel is labelled, loss and gradient are 0.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError, ShapeError
from lamina.losses.checks import check_labels
from lamina.losses.crossentropy import SparseCategoricalCrossentropy, classes_second
from lamina.losses.loss import Loss, Reduction, class_axis, raised
from lamina.structures.annotation import IGNORED


class _Overlap(Loss):
    """One number for each group of pixels: the whole batch, or with `per_image` each picture. The loss is their mean.

    In a mean over batches, one counts by its pictures that have a labelled pixel.
    """

    per_image: bool
    ignore_class: int | None

    activation = "softmax"
    accuracy = "sparse"

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of probabilities."""
        probs = raised(classes_second(outputs))
        if probs.shape[:1] + probs.shape[2:] != targets.shape:
            raise ShapeError(
                f"{type(self).__name__}: outputs have shape {tuple(outputs.shape)} but labels {tuple(targets.shape)}.",
                "Labels have the outputs' shape without the classes.",
                "Resize the outputs to the labels before the loss.",
            )
        if reduction != "mean" and not self.per_image:
            raise LaminaError(
                f"{type(self).__name__} is one number for the whole batch.",
                "Weights of samples, and the reduction 'none', need one of each picture.",
                f"Use {type(self).__name__}(per_image=True), or train without weights.",
            )
        pixels, labels = probs.flatten(2), targets.flatten(1).long()  # B K P, B P
        if not self.per_image:
            pixels, labels = pixels.transpose(0, 1).flatten(1)[None], labels.flatten()[None]
        counted = None if self.ignore_class is None else labels != self.ignore_class
        values = self._of_groups(pixels, labels, counted)
        if reduction != "mean":
            return values
        return values.mean() if counted is None else values.sum() / counted.any(1).sum().clamp(min=1)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of the logits' softmax."""
        probs = torch.softmax(raised(logits), dim=class_axis(logits.dim()))
        return self(probs, targets, reduction=reduction)

    def count(self, targets: Integer[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """How many pictures have a labelled pixel; None where nothing can be ignored."""
        return None if self.ignore_class is None else (targets.flatten(1) != self.ignore_class).any(1).sum().float()

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises ShapeError for one-hot targets or a single output, DataError for labels other than 0 .. K-1."""
        check_labels(type(self).__name__, output_shape, targets, ignore_class=self.ignore_class)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Integer[Tensor, "*U"]:
        """Labels as int64, without an axis of length 1 where the classes would stand."""
        return SparseCategoricalCrossentropy().prepare(targets, output_shape)

    @abstractmethod
    def _of_groups(
        self, probs: Float[Tensor, "G K P"], labels: Integer[Tensor, "G P"], counted: Bool[Tensor, "G P"] | None
    ) -> Float[Tensor, " G"]:
        """The loss of each group of pixels; 0 where none counts."""


@dataclass(frozen=True)
class Dice(_Overlap):
    """1 - 2 sum p g / (sum p + sum g), the mean over the classes that occur: p the probability, g 1 in the class and 0 elsewhere.

    Sums are over the labelled pixels of the batch, or with `per_image` of each picture. A class that occurs has sum g of at
    least 1, so nothing is added to smooth. `squared` has p^2 and g^2 below (Milletari 2016, section 3). `generalized` is
    1 - 2 sum_c w_c sum p g / sum_c w_c (sum p + sum g) with w_c = 1 / (sum g)^2 (Sudre 2017, section 2).
    """

    squared: bool = False
    generalized: bool = False
    per_image: bool = False
    ignore_class: int | None = IGNORED

    def _of_groups(
        self, probs: Float[Tensor, "G K P"], labels: Integer[Tensor, "G P"], counted: Bool[Tensor, "G P"] | None
    ) -> Float[Tensor, " G"]:
        numbers = torch.arange(probs.shape[1], device=probs.device)
        truth = labels[:, None] == numbers[:, None]
        if counted is not None:
            probs = torch.where(counted[:, None], probs, 0.0)
            truth = truth & counted[:, None]  # where the ignored label is a class's number
        both = torch.where(truth, probs, 0.0).sum(2)
        sizes = truth.sum(2)
        present, sizes = sizes > 0, sizes.to(probs.dtype)
        whole = (probs.square() if self.squared else probs).sum(2) + sizes
        if self.generalized:
            weights = present / sizes.clamp(min=1).square()
            share = 2 * (weights * both).sum(1) / torch.where(present, weights * whole, 0.0).sum(1).clamp(min=1e-12)
            return torch.where(present.any(1), 1 - share, 0.0)
        lost = torch.where(present, 1 - 2 * both / whole.clamp(min=1), 0.0)
        return lost.sum(1) / present.sum(1).clamp(min=1)


@dataclass(frozen=True)
class LovaszSoftmax(_Overlap):
    """The Lovasz extension of 1 - intersection over union, the mean over the classes that occur (Berman 2018, eq. 11, algorithm 1).

    At probabilities of 0 and 1 it is 1 - IoU itself. Of the labelled pixels of the batch, or with `per_image` of each picture.
    It sorts all pixels once for each class, and trains best after some epochs of a cross-entropy, or added to one.
    """

    per_image: bool = False
    ignore_class: int | None = IGNORED

    def _of_groups(
        self, probs: Float[Tensor, "G K P"], labels: Integer[Tensor, "G P"], counted: Bool[Tensor, "G P"] | None
    ) -> Float[Tensor, " G"]:
        total, classes = probs.new_zeros(len(probs)), labels.new_zeros(len(probs))
        for number in range(probs.shape[1]):
            truth = labels == number
            errors = torch.where(truth, 1 - probs[:, number], probs[:, number])
            if counted is not None:
                # An error of 0 outside of the class comes last and has no part in the sum: as if it were not there.
                errors, truth = torch.where(counted, errors, 0.0), truth & counted
            present = truth.any(1)
            places = _falling(errors.detach())
            # Scattered back to the pixels: the gradient is theirs as it is, and needs no sorting of its own.
            steps = _slopes(truth.gather(1, places), errors.dtype)
            slopes = torch.zeros_like(steps).scatter_(1, places, steps)
            total = total + torch.where(present, (errors * slopes).sum(1), 0.0)
            classes = classes + present
        return total / classes.clamp(min=1)


def _falling(errors: Float[Tensor, "G P"]) -> Int64[Tensor, "G P"]:
    """The order of the errors, the largest first."""
    if errors.device.type == "cpu":  # numpy sorts twice as fast
        return torch.from_numpy(np.argsort(-errors.numpy(), axis=1))
    return errors.argsort(dim=1, descending=True)


def _slopes(truth: Bool[Tensor, "G P"], kind: torch.dtype) -> Float[Tensor, "G P"]:
    """How much 1 - IoU grows with each further pixel that is wrong, the largest error first (algorithm 1).

    Written out for each of the two kinds of pixel: differences of neighbouring values would lose all digits but one in a
    large batch.
    """
    found = truth.cumsum(1)
    every = found[:, -1:]
    union = every + torch.arange(1, found.shape[1] + 1, device=found.device) - found
    left = (every - found).to(kind)  # pixels of the class that are still right
    grown = left / union.to(kind) / (union - 1).clamp(min=1).to(kind)
    return torch.where(truth, 1 / union.to(kind), grown)
