"""Losses by name, in Keras's spelling."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lamina.core.errors import LaminaError, unknown_name
from lamina.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from lamina.losses.divergence import KLDivergence
from lamina.losses.focal import BinaryFocalCrossentropy, FocalCrossentropy
from lamina.losses.hinge import Hinge
from lamina.losses.loss import Loss
from lamina.losses.overlap import Dice, LovaszSoftmax
from lamina.losses.pixels import PixelCrossentropy
from lamina.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError
from lamina.losses.robust import GeneralizedCrossentropy, SmallLoss, SymmetricCrossentropy
from lamina.losses.sums import LossSum
from lamina.losses.wrapped import CallableLoss, TorchLoss

_OPEN = -100  # torch's ignore_index where nobody says one

LossLike = str | Loss | type[Loss] | nn.Module | Callable[[Tensor, Tensor], Any]

LOSSES: dict[str, type[Loss]] = {
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "l1": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "l2": MeanSquaredError,
    "huber": Huber,
    "bce": BinaryCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "gce": GeneralizedCrossentropy,
    "generalized_crossentropy": GeneralizedCrossentropy,
    "sce": SymmetricCrossentropy,
    "symmetric_crossentropy": SymmetricCrossentropy,
    "small_loss": SmallLoss,
    "focal": FocalCrossentropy,
    "binary_focal": BinaryFocalCrossentropy,
    "binary_focal_crossentropy": BinaryFocalCrossentropy,
    "pixel_crossentropy": PixelCrossentropy,
    "dice": Dice,
    "lovasz": LovaszSoftmax,
    "lovasz_softmax": LovaszSoftmax,
    "pixel_crossentropy+dice": LossSum,
    "hinge": Hinge,
    "kl": KLDivergence,
    "kld": KLDivergence,
    "kl_divergence": KLDivergence,
}


def get(spec: LossLike) -> Loss:
    """The loss of a name, a loss object or class, a torch loss module, or a function (outputs, targets) -> loss.

    "a+b" is the sum of the losses a and b; a label that one of them ignores is ignored by all that leave it open.
    """
    if isinstance(spec, str):
        if spec not in LOSSES and "+" in spec:
            parts = [get(name.strip()) for name in spec.split("+")]
            told = {part.ignore_class for part in parts if part.ignore_class is not None}
            return LossSum(tuple(_told(part, min(told)) if told else part for part in parts))
        if spec not in LOSSES:
            raise unknown_name("loss", spec, LOSSES)
        return LOSSES[spec]()
    if isinstance(spec, Loss):
        return spec
    if isinstance(spec, nn.Module):
        return TorchLoss(spec)
    if isinstance(spec, type) and issubclass(spec, Loss | nn.Module):
        return get(spec())
    if callable(spec):
        return CallableLoss(spec)
    raise LaminaError(
        f"The loss is {spec!r}, of type {type(spec).__name__}.",
        "A name, a loss object, a torch loss module or a function of (outputs, targets) was expected.",
        f"The names are: {', '.join(LOSSES)}.",
    )


def ignoring(spec: LossLike, label: int) -> Loss:
    """The loss, with this label ignored where it leaves open which; raises LaminaError where it cannot ignore one.

    A function, module or Loss of one's own sees to it itself.
    """
    loss = get(spec)
    if isinstance(loss, LossSum):
        return dataclasses.replace(loss, losses=tuple(ignoring(part, label) for part in loss.losses))
    loss = _told(loss, label)
    if loss.ignore_class is None and type(loss) in LOSSES.values():
        raise LaminaError(
            f"The loss {loss!r} counts every label.",
            f"One that leaves out the label {label}, of what has no class, was expected.",
            "Use pixel_crossentropy, focal, dice or lovasz, or a function (outputs, targets) -> loss of your own.",
        )
    return loss


def _told(loss: Loss, label: int) -> Loss:
    """The loss with this label ignored, where it can ignore one and leaves open which."""
    if isinstance(loss, TorchLoss) and loss.ignore_class == _OPEN:
        module: Any = copy.copy(loss.module)
        module.ignore_index = label
        return TorchLoss(module)
    fields = {field.name for field in dataclasses.fields(loss)} if dataclasses.is_dataclass(loss) else ()
    if loss.ignore_class is not None or "ignore_class" not in fields:
        return loss
    made: Loss = dataclasses.replace(loss, ignore_class=label)  # type: ignore[type-var]
    vars(made)["logits_only"] = loss.logits_only  # which `replace` does not know
    return made
