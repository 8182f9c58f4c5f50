"""Cross-entropies, in nats: of one class of many, by label or by probabilities, and of yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from lamina.core.errors import LaminaError
from lamina.losses.checks import between_0_and_1, check_labels, check_values
from lamina.losses.loss import EPSILON, Loss, Reduction, class_axis, in_samples, raised, reduced, require_same_shape

# Keras's argument from_logits, kept under another name: `from_logits` is a method here. A model file tells the argument.
_FROM_LOGITS = {"argument": "from_logits"}


@dataclass(frozen=True, init=False)
class SparseCategoricalCrossentropy(Loss):
    """-log of the probability given to the right class; labels are integers 0 .. K-1.

    Outputs (B K) with labels (B), or (B K H W) with (B H W). Entries labelled `ignore_class` count neither in the sum
    nor in the mean (with reduction "none" they are 0 in their sample's value). With smoothing s the target is
    1 - s + s / K for the right class and s / K for the others (Szegedy 2016, section 7). Samples that were mixed have the
    share of each class instead of a label, in the outputs' shape: then it is a CategoricalCrossentropy.

    The call takes probabilities, or with from_logits=True logits. In training that argument is rarely needed: a closing
    softmax is cut off, and outputs without one are taken for logits unless they are seen to be probabilities.
    """

    label_smoothing: float = 0.0
    ignore_class: int | None = None
    logits_only: bool = field(default=False, init=False, metadata=_FROM_LOGITS)

    activation = "softmax"
    accuracy = "sparse"

    def __init__(
        self, label_smoothing: float = 0.0, ignore_class: int | None = None, *, from_logits: bool | None = None
    ) -> None:
        fields = {"label_smoothing": label_smoothing, "ignore_class": ignore_class, "logits_only": bool(from_logits)}
        vars(self).update(fields)
        self.__post_init__()

    def __post_init__(self) -> None:
        _require_share(self, self.label_smoothing)
        object.__setattr__(self, "takes_shares", self.ignore_class is None)

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of probabilities; they are scaled to sum 1 and clipped, as in Keras."""
        outputs = outputs if self.logits_only else log_probs(outputs)
        return self.from_logits(outputs, targets, reduction=reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Integer[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of the logits' softmax; 0 for a batch in which every entry is ignored."""
        if targets.is_floating_point() and targets.shape == logits.shape and self.takes_shares:
            return CategoricalCrossentropy(self.label_smoothing).from_logits(logits, targets, reduction=reduction)
        logits = raised(classes_second(logits))
        labels = targets if targets.dtype == torch.int64 else targets.long()
        if self.ignore_class is None and reduction == "mean":
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        ignored = -100 if self.ignore_class is None else self.ignore_class
        values = F.cross_entropy(
            logits, labels, ignore_index=ignored, reduction="none", label_smoothing=self.label_smoothing
        )
        if reduction == "mean":
            return values.sum() / (labels != ignored).sum().clamp(min=1)
        return reduced(values, reduction)

    def count(self, targets: Integer[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """The share of the entries that are not ignored, times the samples; None where nothing can be ignored."""
        return None if self.ignore_class is None else in_samples(targets != self.ignore_class)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises ShapeError for one-hot targets or a single output, DataError for labels other than 0 .. K-1."""
        check_labels(type(self).__name__, output_shape, targets, ignore_class=self.ignore_class)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Integer[Tensor, "*U"]:
        """Labels as int64, without an axis of length 1 where the classes would stand."""
        rank = targets.dim() if output_shape is None else len(output_shape)
        axis = class_axis(rank)
        if targets.dim() == rank > 1 and targets.shape[axis] == 1:
            targets = targets.squeeze(axis)
        return targets.to(torch.int64)


@dataclass(frozen=True, init=False)
class CategoricalCrossentropy(Loss):
    """-sum over the classes of target times log probability; targets are one-hot or probabilities.

    With smoothing s a target y becomes y (1 - s) + s / K (Szegedy 2016, section 7). `from_logits` is as for
    SparseCategoricalCrossentropy.
    """

    label_smoothing: float = 0.0
    logits_only: bool = field(default=False, init=False, metadata=_FROM_LOGITS)

    activation = "softmax"
    accuracy = "one_hot"

    def __init__(self, label_smoothing: float = 0.0, *, from_logits: bool | None = None) -> None:
        vars(self).update(label_smoothing=label_smoothing, logits_only=bool(from_logits))
        self.__post_init__()

    def __post_init__(self) -> None:
        _require_share(self, self.label_smoothing)

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of probabilities; they are scaled to sum 1 and clipped, as in Keras."""
        outputs = outputs if self.logits_only else log_probs(outputs)
        return self.from_logits(outputs, targets, reduction=reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of the logits' softmax."""
        require_same_shape(self, logits, targets)
        logits, targets = raised(classes_second(logits)), raised(classes_second(targets))
        if reduction == "mean":
            return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        values = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)
        return reduced(values, reduction)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*S"]) -> None:
        """Raises ShapeError for integer labels or another shape, DataError for entries outside 0 .. 1."""
        check_probabilities(self, output_shape, targets)


@dataclass(frozen=True, init=False)
class BinaryCrossentropy(Loss):
    """-(y log p + (1 - y) log(1 - p)), the mean over all outputs; targets y are 0, 1 or between.

    With smoothing s a target y becomes y (1 - s) + s / 2. The call takes probabilities, or with from_logits=True logits.
    In training that argument is rarely needed: a closing sigmoid is cut off, and outputs are taken for logits unless they
    are seen to come from sigmoids.
    """

    label_smoothing: float = 0.0
    logits_only: bool = field(default=False, init=False, metadata=_FROM_LOGITS)

    activation = "sigmoid"
    accuracy = "binary"

    def __init__(self, label_smoothing: float = 0.0, *, from_logits: bool | None = None) -> None:
        vars(self).update(label_smoothing=label_smoothing, logits_only=bool(from_logits))
        self.__post_init__()

    def __post_init__(self) -> None:
        _require_share(self, self.label_smoothing)

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of probabilities, clipped as in Keras."""
        if self.logits_only:
            return self.from_logits(outputs, targets, reduction=reduction)
        require_same_shape(self, outputs, targets)
        probs, targets = raised(outputs).clamp(EPSILON, 1 - EPSILON), self._smooth(raised(targets))
        return reduced(-(targets * probs.log() + (1 - targets) * (1 - probs).log()), reduction)

    def from_logits(
        self, logits: Float[Tensor, "*S"], targets: Float[Tensor, "*S"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The cross-entropy of the logits' sigmoid."""
        require_same_shape(self, logits, targets)
        logits, targets = raised(logits), self._smooth(raised(targets))
        if reduction == "mean":
            return F.binary_cross_entropy_with_logits(logits, targets)
        return reduced(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), reduction)

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*S"]) -> None:
        """Raises ShapeError where the shapes differ, DataError for entries outside 0 .. 1."""
        check_probabilities(self, output_shape, targets)

    def _smooth(self, targets: Tensor) -> Tensor:
        return targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing if self.label_smoothing else targets


def log_probs(probs: Tensor) -> Tensor:
    """The logarithm of probabilities of classes, scaled to sum 1 and clipped, as in Keras."""
    probs = raised(probs)
    return (probs / probs.sum(dim=class_axis(probs.dim()), keepdim=True)).clamp(EPSILON, 1 - EPSILON).log()


def classes_second(values: Tensor) -> Tensor:
    """B K ... as torch wants it; only sequences (B T K) have to be turned."""
    return values.movedim(-1, 1) if values.dim() == 3 else values


def check_probabilities(loss: Loss, output_shape: Sequence[int | None], targets: Tensor) -> None:
    """Raises ShapeError where the shapes differ, DataError for targets outside 0 .. 1."""
    check_values(
        type(loss).__name__,
        output_shape,
        targets,
        allowed=between_0_and_1,
        expected="Targets between 0 and 1 were expected.",
        remedy="Divide or map them to 0..1; for targets -1 and 1 use hinge, for other numbers mse.",
    )


def _require_share(loss: Loss, smoothing: float) -> None:
    if not 0.0 <= smoothing <= 1.0:
        raise LaminaError(
            f"{type(loss).__name__}: label_smoothing is {smoothing}.",
            "A share from 0 to 1 was expected.",
            "Usual is 0.1.",
        )
