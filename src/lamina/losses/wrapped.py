"""Losses from elsewhere: torch's loss modules, and any function of outputs and targets."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lamina.core.errors import LaminaError
from lamina.core.functions import outputs_first
from lamina.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from lamina.losses.loss import AccuracyKind, Activation, Loss, Reduction, in_samples, reduced
from lamina.losses.regression import MeanAbsoluteError, MeanSquaredError


class TorchLoss(Loss):
    """A torch loss module with torch's meaning: nn.CrossEntropyLoss and nn.BCEWithLogitsLoss take logits.

    Targets are checked and prepared as by the same loss here (these two, nn.BCELoss, nn.MSELoss, nn.L1Loss).
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._each = copy.copy(module)
        self._each.reduction = "none"  # type: ignore[assignment]
        self.activation: Activation | None = None
        self._counted: tuple[weakref.ref[Tensor], int, Tensor] | None = None
        if isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss):
            self.ignore_class = module.ignore_index
        if isinstance(module, nn.CrossEntropyLoss):
            self.activation = "softmax"
            self.takes_shares = module.weight is None
        elif isinstance(module, nn.BCEWithLogitsLoss):
            self.activation = "sigmoid"
        self.accuracy: AccuracyKind = next(
            (kind for known, kind in _ACCURACY.items() if isinstance(module, known)), "targets"
        )

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """What the module gives: of logits, where `activation` is set; "mean" keeps the module's own reduction.

        A mean of nothing, where every entry is ignored, is 0 (torch's NaN would stay in the mean of all batches).
        """
        module = self.module if reduction == "mean" else self._each
        for buffer in module.buffers():  # weights of the classes; copies share this dict, so both move at once
            if buffer.device != outputs.device:
                module.to(outputs.device)
        value: Tensor = module(outputs, targets)
        if reduction != "mean":
            return reduced(value, reduction)
        count = self.count(targets)
        return value if count is None else value.where(count > 0, 0.0)

    def count(self, targets: Shaped[Tensor, "*T"]) -> Float[Tensor, ""] | None:
        """For labels in nn.CrossEntropyLoss and nn.NLLLoss: the weights of their classes, summed but for the ignored."""
        module = self.module
        averages = isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss) and module.reduction == "mean"
        if not averages or targets.is_floating_point():
            return None
        if targets.is_inference():  # these do not tell whether they were changed
            return self._count(targets)
        last = self._counted  # the mean of a batch and whoever logs it ask for the same count
        if last is not None and last[0]() is targets and last[1] == targets._version:
            return last[2]
        count = self._count(targets)
        self._counted = (weakref.ref(targets), targets._version, count)
        return count

    def _count(self, targets: Shaped[Tensor, "*T"]) -> Float[Tensor, ""]:
        valid = targets != self.module.ignore_index
        if self.module.weight is None:
            return in_samples(valid)
        weights = torch.as_tensor(self.module.weight, device=targets.device)
        return in_samples(weights[targets.long() * valid] * valid)  # an ignored label may be no index at all

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_counted": None}

    def check(self, output_shape: Sequence[int | None], targets: Shaped[Tensor, "*T"]) -> None:
        """Raises as the loss of the same name here, where there is one."""
        twin = self._twin(targets)
        # In torch the classes stand second everywhere, here last in (B T K): nothing is said of these.
        if twin is not None and len(output_shape) != 3:
            twin.check(output_shape, targets)

    def prepare(
        self, targets: Shaped[Tensor, "*T"], output_shape: Sequence[int | None] | None = None
    ) -> Shaped[Tensor, "*U"]:
        """As the loss of the same name here; for other modules, double precision as float32 and the rest as it is."""
        twin = self._twin(targets)
        if twin is None:
            return targets.float() if targets.dtype == torch.float64 else targets
        return twin.prepare(targets, output_shape)

    def _twin(self, targets: Tensor) -> Loss | None:
        if isinstance(self.module, nn.CrossEntropyLoss):
            if targets.is_floating_point():
                return CategoricalCrossentropy()
            return SparseCategoricalCrossentropy(ignore_class=self.module.ignore_index)
        return next((twin for known, twin in _TWINS.items() if isinstance(self.module, known)), None)

    def __repr__(self) -> str:
        return f"TorchLoss({self.module})"


_TWINS: dict[type[nn.Module], Loss] = {
    nn.BCEWithLogitsLoss: BinaryCrossentropy(),
    nn.BCELoss: BinaryCrossentropy(),
    nn.MSELoss: MeanSquaredError(),
    nn.L1Loss: MeanAbsoluteError(),
}

_ACCURACY: dict[type[nn.Module], AccuracyKind] = {
    nn.CrossEntropyLoss: "sparse",
    nn.NLLLoss: "sparse",
    nn.BCEWithLogitsLoss: "binary",
    nn.BCELoss: "binary",
    nn.MSELoss: "largest",
    nn.L1Loss: "largest",
    nn.SmoothL1Loss: "largest",
    nn.HuberLoss: "largest",
}


@dataclass(frozen=True)
class CallableLoss(Loss):
    """Any function (outputs, targets) -> scalar, or a value for each sample; it is given the network's final outputs.

    A function of (y_true, y_pred), by these names, is called in Keras's order.

    "accuracy" beside it goes by the targets: integers are labels, numbers of the outputs' shape are one-hot.
    """

    function: Callable[[Tensor, Tensor], Any] = field()

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", outputs_first(self.function))  # once: a signature is dear to read

    def __call__(
        self, outputs: Float[Tensor, "*S"], targets: Shaped[Tensor, "*T"], *, reduction: Reduction = "mean"
    ) -> Float[Tensor, "*R"]:
        """The function's value; its mean, where it gives one for each sample."""
        value = self.function(outputs, targets)
        name = getattr(self.function, "__name__", type(self.function).__name__)
        if not isinstance(value, Tensor):
            raise LaminaError(
                f"The loss {name} returned {type(value).__name__}.",
                "A tensor that gradients can be taken of was expected.",
                "Compute it with torch operations, and do not call .item().",
            )
        if value.dim() == 0:
            if reduction == "mean":
                return value
            raise LaminaError(
                f"The loss {name} returned one number for the whole batch.",
                "Weights of samples or classes need a value for each sample.",
                "Return a tensor of shape (B,), or train without weights.",
            )
        return reduced(value, reduction)

    def prepare(
        self,
        targets: Shaped[Tensor, "*T"],
        output_shape: Sequence[int | None] | None = None,
    ) -> Shaped[Tensor, "*U"]:
        """Targets as they are, but float64 as float32."""
        return targets.float() if targets.dtype == torch.float64 else targets
