"""What `fit` does with unequal classes: the weight of each sample's loss, and which samples an epoch has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.data import balance
from lamina.data.balance import BALANCES, Quota
from lamina.models.arrays import Arrays


def check(name: str | None, *, class_weight: Any = None, sample_by: Any = None) -> None:
    """Raises UnknownNameError for a balance that nobody knows, LaminaError beside what says how classes count as well."""
    if name is None:
        return
    if name not in BALANCES:
        known = ", ".join(map(repr, BALANCES))
        raise UnknownNameError(f"There is no balance called {name!r}.", f"Known are {known}.", "Use one of these.")
    for other, value in (("class_weight", class_weight), ("sample_by", sample_by)):
        if value is not None:
            raise LaminaError(
                f"balance={name!r} came beside {other}.",
                "Each of them says how much the classes count.",
                "Leave out one of the two.",
            )


def balanced(
    data: Arrays, name: str | None, class_weight: Mapping[int, float] | None = None
) -> tuple[Tensor | None, Tensor | Quota | None]:
    """The weight of each sample's loss (N), and by which samples are drawn: of each (N), or so many of each class; or None.

    Raises LaminaError where samples are not of one class each.
    """
    if data.shows_several and (name is not None or class_weight):
        raise LaminaError(
            f"{'class_weight' if name is None else f'balance={name!r}'} came.",
            "A picture with annotations may show several classes: none of them says how much the picture counts.",
            "Pass sample_by=weights, which draws some pictures more often.",
        )
    weights, drawn = sample_weights(data, class_weight), data.odds
    if name is None:
        return weights, drawn
    labels = _classes(data, name)
    if name == "sample":
        return weights, balance.equal_odds(labels)
    if name in ("under", "over"):
        return weights, balance.quota(labels, "under" if name == "under" else "over")
    count = balance.inverse_frequency if name == "weights" else balance.inverse_effective_number
    own = count(labels)
    return (own if weights is None else own * weights.to(own.device)), drawn


def _classes(arrays: Arrays, name: str) -> Tensor:
    came = f"balance={name!r}"
    several = 'For several labels a picture: loss="binary_focal", or torch.nn.BCEWithLogitsLoss(pos_weight=...).'
    labels = _labels(arrays, came, f"{several} A weight for each sample: sample_by or sample_weight.")
    if labels.is_floating_point():
        raise DataError(
            f"{came} came with targets of the type {str(labels.dtype).removeprefix('torch.')}.",
            "It is defined for classes: integer labels, or one-hot rows.",
            "Pass a weight for each sample: sample_by=weights or sample_weight=weights.",
        )
    if bool((labels < 0).any()):
        raise DataError(
            f"{came} came with labels below 0, which are of no class.",
            "Each sample of one class was expected.",
            "Leave these samples out.",
        )
    return labels.cpu()


def _labels(arrays: Arrays, came: str, remedy: str) -> Tensor:
    """The class of each sample (N), from labels or one-hot rows. Raises where samples are not of one class each."""
    if len(arrays.targets) != 1:
        raise LaminaError(
            f"{came} came with {len(arrays.targets)} outputs.", "It is defined for one output of classes.", remedy
        )
    labels = arrays.targets[0]
    if labels.dim() == 2 and labels.shape[1] > 1 and _chooses_one(labels):
        labels = labels.argmax(dim=1)
    if labels.numel() != arrays.samples:
        raise ShapeError(
            f"{came} came with y of shape {tuple(labels.shape)}.",
            "It is defined where each sample is of one class: labels (B,), or one-hot (B, K).",
            remedy,
        )
    return labels.reshape(-1)


def sample_weights(arrays: Arrays, class_weight: Mapping[int, float] | None) -> Tensor | None:
    """The weight of each sample: its own times that of its class (integer or one-hot targets, a class for each sample)."""
    if not class_weight:
        return arrays.weights
    remedy = "Weigh the classes in the loss: torch.nn.CrossEntropyLoss(weight=...)."
    several = len(arrays.targets) != 1
    labels = _labels(arrays, "class_weight", "Use sample_weight instead." if several else remedy)
    if not all(isinstance(label, int | np.integer) and label >= 0 for label in class_weight):
        raise LaminaError(
            f"class_weight has the keys {list(class_weight)}.",
            "Labels, integers from 0 on, were expected.",
            "Number the classes as in y.",
        )
    labels = labels.long().clamp(min=0)  # only ignored labels are negative
    table = torch.ones(max(int(labels.max()), *class_weight) + 1)
    for label, weight in class_weight.items():
        table[label] = weight
    weights = table[labels]
    return weights if arrays.weights is None else weights * arrays.weights


def _chooses_one(rows: Tensor) -> bool:
    """Whether each row can be probabilities of classes, and is not a row of labels."""
    return rows.is_floating_point() or bool(((rows == 0) | (rows == 1)).all() and (rows.sum(dim=1) == 1).all())
