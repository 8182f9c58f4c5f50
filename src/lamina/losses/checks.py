"""Checks of all the targets of a data set, made once before training, so that no step pays for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamina.core.errors import DataError, ShapeError
from lamina.losses.loss import as_outputs, class_axis


def check_labels(name: str, output_shape: Sequence[int | None], targets: Tensor, *, ignore_class: int | None) -> None:
    """Integer labels 0 .. K-1 without a class axis, for outputs that have one."""
    axis = class_axis(len(output_shape))
    classes = output_shape[axis]
    whole = [size for index, size in enumerate(output_shape) if index != axis]
    wanted = f"Integer labels of shape {_show(whole, targets)} were expected, for outputs of shape {_show(output_shape, targets)}."
    if classes != 1 and _fits(targets.shape, output_shape) and not _fits(_without_ones(targets).shape, whole):
        raise ShapeError(
            f"{name}: the targets are one-hot or probabilities, of shape {tuple(targets.shape)}.",
            wanted,
            "Use categorical_crossentropy with these targets, or pass targets.argmax as labels.",
        )
    if classes == 1:
        raise ShapeError(
            f"{name}: the network has a single output, of shape {_show(output_shape, targets)}.",
            "It needs one output for each class.",
            "Use binary_crossentropy for one output, or give the last layer as many outputs as there are classes.",
        )
    if targets.is_floating_point() or targets.is_complex():
        raise DataError(
            f"{name}: the labels are {_dtype(targets)}, not integers.",
            wanted,
            "Pass labels.astype('int64'); for targets between the classes use categorical_crossentropy.",
        )
    if not _fits(_squeezed(targets, len(whole)).shape, whole):
        raise ShapeError(
            f"{name}: the labels have shape {tuple(targets.shape)}.",
            wanted,
            "Reshape the labels, or change the last layer.",
        )
    if classes is None or targets.numel() == 0:
        return
    low, high = (int(value) for value in targets.aminmax()) if targets.dtype != torch.bool else (0, 1)
    if low >= 0 and high < classes:
        return
    bad = (targets < 0) | (targets >= classes)
    if ignore_class is not None:
        bad &= targets != ignore_class
    if not bad.any():
        return
    index, value = _first(bad, targets)
    raise DataError(
        f"{name}: the label at index {index} is {value}; {int(bad.sum()):,} of {targets.numel():,} are out of range.",
        f"Labels from 0 to {classes - 1} were expected, for {classes} outputs.",
        f"Correct the labels, or give the last layer {max(high, 0) + 1} outputs."
        if low >= 0
        else "Correct the labels; where they mean 'ignore', use SparseCategoricalCrossentropy(ignore_class=...).",
    )


def check_values(
    name: str,
    output_shape: Sequence[int | None],
    targets: Tensor,
    *,
    allowed: Callable[[Tensor], Tensor] = torch.isfinite,
    expected: str = "Finite numbers were expected.",
    remedy: str = "Remove these samples, or correct their targets.",
) -> None:
    """Targets of the outputs' shape, each entry of which `allowed` admits."""
    prepared = as_outputs(targets, output_shape)
    if not _fits(prepared.shape, output_shape):
        labels = not targets.is_floating_point() and prepared.dim() <= len(output_shape)
        advice = "Pass one target for each output, or change the last layer."
        if labels and (output_shape[class_axis(len(output_shape))] or 2) > 1:
            advice = (
                "For integer labels use sparse_categorical_crossentropy, or make them one-hot (numpy.eye(K)[labels])."
            )
        raise ShapeError(
            f"{name}: the targets have shape {tuple(targets.shape)}, {_dtype(targets)}.",
            f"The outputs have shape {_show(output_shape, targets)}, and the targets must have the same.",
            advice,
        )
    good = allowed(targets)
    if good.all():
        return
    index, value = _first(~good, targets)
    raise DataError(
        f"{name}: the target at index {index} is {value}; {int((~good).sum()):,} of {targets.numel():,} are like it.",
        expected,
        remedy,
    )


def between_0_and_1(targets: Tensor) -> Tensor:
    """Where an entry can be a probability (NaN cannot)."""
    return (targets >= 0) & (targets <= 1)


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether the shapes agree after the batch; an open size agrees with all."""
    return len(shape) == len(expected) and all(
        want is None or have == want for have, want in zip(shape[1:], expected[1:], strict=True)
    )


def _squeezed(targets: Tensor, rank: int) -> Tensor:
    return targets.squeeze(class_axis(rank + 1)) if targets.dim() == rank + 1 else targets


def _without_ones(targets: Tensor) -> Tensor:
    return targets.squeeze(class_axis(targets.dim())) if targets.dim() > 1 else targets


def _first(bad: Tensor, targets: Tensor) -> tuple[int | tuple[int, ...], float | int | bool]:
    position = tuple(int(entry) for entry in bad.nonzero()[0])
    return (position[0] if len(position) == 1 else position), targets[position].item()


def _show(shape: Sequence[int | None], targets: Tensor) -> str:
    """A shape as all samples together have it."""
    entries = [str(len(targets)), *("any" if size is None else str(size) for size in shape[1:])]
    return f"({', '.join(entries)}{',' if len(entries) == 1 else ''})"


def _dtype(targets: Tensor) -> str:
    return str(targets.dtype).removeprefix("torch.")
