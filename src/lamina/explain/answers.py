"""What a model answered to a data set: probabilities beside the true labels, checked before anything is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int64, UInt8

from lamina.core.errors import DataError, LaminaError, ShapeError


class Labelled(Protocol):
    """A data set in memory: `images` (uint8 N C H W), `labels` (N, 0 .. K-1) and the names of the K `classes`."""

    @property
    def images(self) -> Any: ...
    @property
    def labels(self) -> Any: ...
    @property
    def classes(self) -> Sequence[str]: ...


def arrays(data: Labelled) -> tuple[UInt8[np.ndarray, "N C H W"], Int64[np.ndarray, " N"], tuple[str, ...]]:
    """Images, labels and class names of a data set as numpy arrays; raises DataError where it has none or is empty."""
    if any(not hasattr(data, name) for name in ("images", "labels", "classes")):
        raise DataError(
            f"A {type(data).__name__} came as data.",
            "Mistakes are looked up in a data set with `.images`, `.labels` and `.classes`, all in memory.",
            "Use `data.load(name).test`, or `.in_memory(preprocess)` of a data set that reads from a folder.",
        )
    images, labels = as_numpy(data.images), as_numpy(data.labels)
    if len(images) != len(labels):
        raise ShapeError(
            f"There are {len(images)} images and {len(labels)} labels.",
            "Each image has one label.",
            "Take both from the same split.",
        )
    _refuse_empty(len(labels))
    return images, labels, tuple(str(name) for name in data.classes)


def class_probs(model: Any, data: Labelled) -> Float[np.ndarray, "N K"]:
    """The model's probability of each class for each image.

    Asks `model.predict_probs(images)` where there is one. Otherwise `model.predict(images)`: rows that are no
    probabilities are taken as logits. One output beside two classes is the probability (or logit) of the second. Where a
    picture has several labels (N K) each entry is a probability (or logit) of its own.
    """
    refuse_values(model)
    images, labels, classes = arrays(data)
    if hasattr(model, "predict_probs"):
        outputs = as_numpy(model.predict_probs(images))
    elif hasattr(model, "predict"):
        outputs = as_numpy(model.predict(images))
    else:
        raise DataError(
            f"A {type(model).__name__} came as model.",
            "A model answers `predict(images)` with an array, one row for each image.",
            "Wrap a torch module: `models.Model(net)`.",
        )
    outputs = outputs.astype(np.float32, copy=False)
    if labels.ndim == 2:
        return outputs if ((outputs >= 0) & (outputs <= 1)).all() else np.exp(-np.logaddexp(0, -outputs))
    if len(classes) == 2 and outputs.size == len(images):
        second = outputs.reshape(-1)
        if not ((second >= 0) & (second <= 1)).all():
            second = np.exp(-np.logaddexp(0, -second))  # the sigmoid, without overflow
        return np.stack([1 - second, second], axis=1)
    if outputs.ndim != 2 or _are_probabilities(outputs):
        return outputs
    exponents = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def refuse_values(model: Any) -> None:
    """Raises LaminaError for a model whose answers are no probabilities: of numbers nothing is right or wrong."""
    if getattr(model, "answers", "probs") != "probs":
        raise LaminaError(
            f"A {type(model).__name__} came as model.",
            "Classes that are right or wrong were expected, with a probability for each.",
            "explain.report and model.evaluate measure it; explain.grad_cam, embeddings and exciting look into it.",
        )


def checked(probs: Any, labels: Any) -> tuple[Float[np.ndarray, "N K"], Int64[np.ndarray, " N"]]:
    """Probabilities and labels as numpy arrays that fit together; raises ShapeError or DataError where they do not."""
    probs, labels = as_numpy(probs), as_numpy(labels)
    if probs.ndim != 2 or labels.ndim != 1 or len(probs) != len(labels) or probs.shape[1] < 2:
        raise ShapeError(
            f"probs has shape {probs.shape} and labels {labels.shape}.",
            "Expected (N, K) and (N,): for each image one probability per class, two classes at least, and its label.",
            "Pass what `explain.class_probs(model, data)` gives, and `data.labels`.",
        )
    _refuse_empty(len(labels))
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"The labels are {labels.dtype} numbers.",
            "A label is the index of a class, an integer.",
            "Pass `labels.astype(int)`, or `targets.argmax(1)` if they are one-hot.",
        )
    outside = np.flatnonzero((labels < 0) | (labels >= probs.shape[1]))
    if len(outside):
        raise DataError(
            f"{len(outside)} of {len(labels)} labels name no class; label {outside[0]} is {labels[outside[0]]}.",
            f"There are {probs.shape[1]} classes, so labels are 0 to {probs.shape[1] - 1}.",
            "Use the data set that the model was trained for, or correct its labels.",
        )
    _refuse_broken(probs)
    return probs, labels.astype(np.int64, copy=False)


def checked_several(probs: Any, labels: Any) -> tuple[Float[np.ndarray, "N K"], Int64[np.ndarray, "N K"]]:
    """Probabilities and 0 or 1 for each picture and class, as numpy arrays that fit together; raises as `checked` does."""
    probs, labels = as_numpy(probs), as_numpy(labels)
    if probs.ndim != 2 or labels.shape != probs.shape:
        raise ShapeError(
            f"probs has shape {probs.shape} and labels {labels.shape}.",
            "With several labels a picture both are (N, K).",
            "Pass what `model.predict_probs(data)` gives, and `data.labels`.",
        )
    _refuse_empty(probs.size)
    if not ((labels == 0) | (labels == 1)).all():
        raise DataError(
            f"The labels hold {labels[(labels != 0) & (labels != 1)][0]}.",
            "With several labels a picture there is 0 or 1 for each class.",
            "Write 1 for a class that the picture has, else 0.",
        )
    _refuse_broken(probs)
    return probs, labels.astype(np.int64, copy=False)


def named(classes: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """The class names, as many as there are classes; raises ShapeError otherwise."""
    if len(classes) != num_classes:
        raise ShapeError(
            f"There are {len(classes)} class names for {num_classes} classes.",
            "Each class has one name.",
            "Pass the `classes` of the data set that the model was trained on.",
        )
    return tuple(str(name) for name in classes)


def as_numpy(values: Any) -> np.ndarray:
    """Tensors (of any device and precision) and sequences as numpy arrays."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        values = values.numpy()
    return np.asarray(values)


def _are_probabilities(rows: Float[np.ndarray, "N K"]) -> bool:
    """Whether every row is non-negative and sums to 1, up to what half precision leaves."""
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-2))


def _refuse_broken(probs: Float[np.ndarray, "N K"]) -> None:
    broken = np.flatnonzero(~np.isfinite(probs).all(axis=1))
    if len(broken):
        raise DataError(
            f"{len(broken)} of {len(probs)} rows of probs are not finite, the first is row {broken[0]}.",
            "Probabilities are numbers from 0 to 1.",
            "Training has probably diverged: train again with a lower learning rate.",
        )


def _refuse_empty(count: int) -> None:
    if count == 0:
        raise DataError(
            "The data set is empty.",
            "At least one labelled image is needed.",
            "Check the path and the split that it was read from.",
        )
