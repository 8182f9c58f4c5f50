"""Numbers to report, never differentiated. Sums stay on the device; `compute` gives the value so far."""

from lamina.metrics.accuracy import Accuracy, TopKAccuracy
from lamina.metrics.counts import F1, BalancedAccuracy, Precision, Recall
from lamina.metrics.means import (
    CallableMetric,
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)
from lamina.metrics.metric import MeanMetric, Metric, Takes
from lamina.metrics.ranking import MeanAveragePrecision
from lamina.metrics.table import METRICS, MetricLike, get

__all__ = [
    "F1",
    "METRICS",
    "Accuracy",
    "BalancedAccuracy",
    "CallableMetric",
    "MeanAbsoluteError",
    "MeanAveragePrecision",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "MetricLike",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "Takes",
    "TopKAccuracy",
    "get",
]
