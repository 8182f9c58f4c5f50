"""Optimizers by name, in Keras's spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from lamina.core.errors import LaminaError, unknown_name
from lamina.optimizers.specs import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Muon,
    Nadam,
    Optimizer,
    Parameters,
    RMSprop,
    TorchOptimizer,
)

OptimizerLike = str | Optimizer | type[Optimizer] | Callable[[Any], torch.optim.Optimizer]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "rmsprop": RMSprop,
    "muon": Muon,
    "lbfgs": LBFGS,
    "l-bfgs": LBFGS,
}


def get(spec: OptimizerLike) -> Optimizer:
    """The settings of a name (any case), of an object or class of this folder, or a torch factory with torch's meaning."""
    if isinstance(spec, str):
        if spec.lower() not in OPTIMIZERS:
            raise unknown_name("optimizer", spec, OPTIMIZERS)
        return OPTIMIZERS[spec.lower()]()
    if isinstance(spec, Optimizer):
        return spec
    if isinstance(spec, type) and issubclass(spec, Optimizer):
        return spec()
    if callable(spec) and not isinstance(spec, torch.optim.Optimizer):
        return TorchOptimizer(cast(Callable[[Any], torch.optim.Optimizer], spec))
    name = type(spec).__name__
    built = isinstance(spec, torch.optim.Optimizer)
    raise LaminaError(
        f"The optimizer is a torch {name} that is already built." if built else f"The optimizer is {spec!r} ({name}).",
        "A name, an object of lamina.optimizers, or a torch factory was expected.",
        f"Pass functools.partial(torch.optim.{name}, lr=...)." if built else f"The names are: {', '.join(OPTIMIZERS)}.",
    )


def build(spec: OptimizerLike, parameters: Parameters, *, fused: bool = False) -> torch.optim.Optimizer:
    """The torch optimizer of a spec for parameters, or for groups of them.

    A group's "rate" multiplies the learning rate that it has.
    """
    settings, listed = get(spec), list(parameters)
    groups = [entry for entry in listed if isinstance(entry, dict)]
    try:
        optimizer = settings.build(cast(Parameters, listed), fused=fused)
    except ValueError as error:
        if isinstance(error, LaminaError) or len(groups) < 2:
            raise
        raise LaminaError(
            f"The optimizer refuses {len(groups)} groups of parameters ({error}).",
            "Groups need an optimizer with a learning rate for each.",
            "Leave out the groups, or choose another optimizer.",
        ) from error
    if any(group.get("weight_decay") for group in groups) and "weight_decay" not in optimizer.defaults:
        raise LaminaError(
            f"A group of parameters has a weight decay, and {type(optimizer).__name__} knows none.",
            "A group overrides what its optimizer has.",
            "Leave the group's weight_decay out, or choose an optimizer with weight decay, such as AdamW.",
        )
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.get("rate", 1.0)
    return optimizer
