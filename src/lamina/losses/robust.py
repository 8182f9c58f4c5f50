"""Losses that wrong labels mislead less: generalised and symmetric cross-entropy, and those of a batch that are learnt best."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.losses.checks import check_labels
from lamina.losses.crossentropy import SparseCategoricalCrossentropy, classes_second, log_probs
from lamina.losses.loss import AccuracyKind, Activation, Loss, Reduction, raised, reduced


class _Bounded(Loss):
    """A loss that is a function of the log probability of the right class; labels are integers 0 .. K-1.

    Outputs (B K) with labels (B), or (B K H W) with (B H W). A mixed sample, which has the share of each class instead of a
    label, has the loss of its classes, weighed by their shares.
    """

    activation = "softmax"
    accuracy = "sparse"
    takes_shares = True

    @abstractmethod
    def _of(self, log_probs: Tensor) -> Tensor:
        """The loss where each of these is the right class's."""

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of probabilities; they are scaled to sum 1 and clipped, as in Keras."""
        return self.from_logits(log_probs(outputs), targets, reduction=reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of the logits' softmax."""
        log_probs = torch.log_softmax(raised(classes_second(logits)), dim=1)
        if targets.is_floating_point() and targets.shape == logits.shape:
            shares = classes_second(targets).to(log_probs.dtype)
            return reduced((shares * self._of(log_probs)).sum(dim=1), reduction)
        own = log_probs.gather(1, targets.long().unsqueeze(1)).squeeze(1)
        return reduced(self._of(own), reduction)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises ShapeError for one-hot targets or a single output, DataError for labels other than 0 .. K-1."""
        check_labels(type(self).__name__, output_shape, targets, ignore_class=None)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Integer[Tensor, "*U"]:
        """Labels as int64, without an axis of length 1 where the classes would stand."""
        return SparseCategoricalCrossentropy().prepare(targets, output_shape)


@dataclass(frozen=True)
class GeneralizedCrossentropy(_Bounded):
    """(1 - p^q) / q of the probability p of the right class (Zhang & Sabuncu 2018, eq. 6); bounded by 1 / q.

    q near 0 is the cross-entropy, q = 1 is 1 - p, half of the mean absolute error summed over the classes: the larger q, the
    less wrong labels count, and the slower the right ones are learnt. The paper's value is 0.7.
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 < self.q <= 1.0:
            raise LaminaError(
                f"GeneralizedCrossentropy: q is {self.q}.",
                "It lies above 0 and is 1 at most.",
                "The paper's value is 0.7; for q = 0 use sparse_categorical_crossentropy.",
            )

    def _of(self, log_probs: Tensor) -> Tensor:
        return -torch.expm1(self.q * log_probs) / self.q  # exact where p is near 1, and never 0^q


@dataclass(frozen=True)
class SymmetricCrossentropy(_Bounded):
    """alpha times the cross-entropy, plus beta times the reverse one, -sum p log y, with log 0 = `log_zero` (Wang 2019, eq. 7).

    The reverse one is -log_zero (1 - p) of the probability p of the right class: with log_zero = -2 the mean absolute error
    summed over the classes. The paper has alpha 0.1 and beta 1 for CIFAR-10, 6 and 0.1 for CIFAR-100, and A = -4 for log 0.
    """

    alpha: float = 0.1
    beta: float = 1.0
    log_zero: float = -4.0

    def __post_init__(self) -> None:
        both = self.alpha + self.beta
        if not (self.alpha >= 0 and self.beta >= 0 and 0 < both < math.inf and -math.inf < self.log_zero < 0):
            raise LaminaError(
                f"SymmetricCrossentropy: alpha is {self.alpha}, beta {self.beta}, log_zero {self.log_zero}.",
                "alpha and beta are 0 or more, one of them above, and log_zero is below 0.",
                "The paper's values for CIFAR-10 are 0.1, 1 and -4.",
            )

    def _of(self, log_probs: Tensor) -> Tensor:
        return -self.alpha * log_probs + self.beta * self.log_zero * torch.expm1(log_probs)


@dataclass(frozen=True)
class SmallLoss(Loss):
    """The mean of the smallest losses of a batch, the share 1 - rate of them: wrong labels are learnt last (Han 2018, co-teaching).

    `rate` is the share of labels that are taken to be wrong. One network selects for itself, where co-teaching's two select for
    each other. `loss` gives a value for each sample. Samples are left out where gradients are taken; without them, as in
    evaluation, all count. training.callbacks.RampSmallLoss raises the rate from 0 over the first epochs.
    """

    rate: float = 0.1
    loss: Loss = field(default_factory=SparseCategoricalCrossentropy)

    ramp = 1.0  # the share of the rate that holds now; the callback sets it

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < 1.0:
            raise LaminaError(
                f"SmallLoss: rate is {self.rate}.",
                "The share of wrong labels, from 0 to below 1, was expected.",
                "lamina.find_label_errors(data).noise_rate estimates it.",
            )
        if not isinstance(self.loss, Loss):
            raise LaminaError(
                f"SmallLoss: loss is {self.loss!r}.",
                "A loss object was expected.",
                'Pass lamina.losses.get("sparse_categorical_crossentropy").',
            )
        if self.loss.ignore_class is not None:
            raise LaminaError(
                f"SmallLoss: {self.loss!r} ignores the label {self.loss.ignore_class}.",
                "A batch of which some entries are ignored has no share of smallest losses.",
                "Use a loss of lamina.losses without ignore_class.",
            )

    @property
    def activation(self) -> Activation | None:  # type: ignore[override]
        """That of the loss."""
        return self.loss.activation

    @property
    def accuracy(self) -> AccuracyKind:  # type: ignore[override]
        """That of the loss."""
        return self.loss.accuracy

    @property
    def takes_shares(self) -> bool:  # type: ignore[override]
        """Whether the loss does."""
        return self.loss.takes_shares

    @property
    def logits_only(self) -> bool:  # type: ignore[override]
        """Whether the loss does."""
        return self.loss.logits_only

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of final outputs; with reduction "none" 0 for the samples that are left out."""
        return self._selected(self.loss(outputs, targets, reduction="none"), reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The loss of what stands before the activation."""
        return self._selected(self.loss.from_logits(logits, targets, reduction="none"), reduction)

    def count(self, targets: Shaped[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """How many samples of a batch are learnt from; None where all are."""
        kept = self._kept(len(targets))
        return None if kept == len(targets) else torch.tensor(float(kept), device=targets.device)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises as the loss."""
        self.loss.check(output_shape, targets)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Shaped[Tensor, "*U"]:
        """As the loss."""
        return self.loss.prepare(targets, output_shape)

    def _kept(self, count: int) -> int:
        return max(round((1 - self.rate * self.ramp) * count), 1) if torch.is_grad_enabled() else count

    def _selected(self, values: Float[Tensor, " B"], reduction: Reduction) -> Float[Tensor, "*R"]:
        kept = self._kept(len(values))
        if kept == len(values):
            return reduced(values, reduction)
        chosen = values.detach().topk(kept, largest=False, sorted=False).indices
        if reduction == "mean":
            return values[chosen].mean()
        mask = torch.zeros_like(values, dtype=torch.bool).index_fill(0, chosen, True)
        return reduced(values.where(mask, 0.0), reduction)
