"""Metrics by name, in Keras's spelling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from lamina.core.errors import LaminaError, unknown_name
from lamina.metrics.accuracy import Accuracy, TopKAccuracy
from lamina.metrics.boundary import BoundaryF1
from lamina.metrics.counts import F1, BalancedAccuracy, Precision, Recall
from lamina.metrics.decisions import Kind
from lamina.metrics.means import (
    CallableMetric,
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)
from lamina.metrics.metric import Metric
from lamina.metrics.ranking import MeanAveragePrecision
from lamina.metrics.segmentation import FrequencyWeightedIoU, MeanAccuracy, MeanIoU, PixelAccuracy

MetricLike = str | Metric | type[Metric] | Callable[[Tensor, Tensor], Any]

METRICS: dict[str, Callable[..., Metric]] = {
    "accuracy": Accuracy,
    "acc": Accuracy,
    "binary_accuracy": partial(Accuracy, "binary"),
    "categorical_accuracy": partial(Accuracy, "one_hot"),
    "sparse_categorical_accuracy": partial(Accuracy, "sparse"),
    "top_5_accuracy": TopKAccuracy,
    "top5": TopKAccuracy,
    "top_k_categorical_accuracy": TopKAccuracy,
    "sparse_top_k_categorical_accuracy": TopKAccuracy,
    "balanced_accuracy": BalancedAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "f1_score": F1,
    "mean_average_precision": MeanAveragePrecision,
    "mean_iou": MeanIoU,
    "miou": MeanIoU,
    "pixel_accuracy": PixelAccuracy,
    "mean_accuracy": MeanAccuracy,
    "frequency_weighted_iou": FrequencyWeightedIoU,
    "boundary_f1": BoundaryF1,
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "rmse": RootMeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "r2": R2Score,
}


class Judge(Protocol):
    """What a metric asks of a loss: how its targets name the classes, and which of them is ignored."""

    @property
    def accuracy(self) -> Kind:
        """How "accuracy" is meant beside this loss."""
        ...

    @property
    def ignore_class(self) -> int | None:
        """The label that does not count."""
        ...


def get(spec: MetricLike, loss: Judge | None = None) -> Metric:
    """The metric of a name (which it keeps in the logs), an object or class, or a function (outputs, targets) -> value.

    An object is copied and its copy starts from nothing, so one may be given for several outputs.
    Where a metric leaves open how targets name the classes, the loss decides it, and which label is ignored.
    """
    metric = _made(spec)
    if loss is None or getattr(metric, "kind", "given") is not None:
        return metric
    vars(metric)["kind"] = loss.accuracy
    if vars(metric).get("ignore_class") is None:
        vars(metric)["ignore_class"] = loss.ignore_class
    return metric


def _made(spec: MetricLike) -> Metric:
    if isinstance(spec, str):
        if spec not in METRICS:
            raise unknown_name("metric", spec, METRICS)
        return METRICS[spec](name=spec)
    if isinstance(spec, Metric):
        fresh = copy.deepcopy(spec)
        fresh.reset()
        return fresh
    if isinstance(spec, type) and issubclass(spec, Metric):
        made: Callable[[], Metric] = spec
        return made()
    if callable(spec):
        return CallableMetric(spec)
    raise LaminaError(
        f"The metric is {spec!r}, of type {type(spec).__name__}.",
        "A name, a metric object or a function of (outputs, targets) was expected.",
        f"The names are: {', '.join(METRICS)}.",
    )
