"""Numbers to report, never differentiated. Sums stay on the device; `compute` gives the value so far."""

from lamina.metrics.accuracy import Accuracy, TopKAccuracy
from lamina.metrics.boundary import BoundaryF1, boundary_f1
from lamina.metrics.box_errors import DetectionErrors, detection_errors
from lamina.metrics.box_rows import FoundBoxes, TrueBoxes
from lamina.metrics.box_tables import PrecisionRecall
from lamina.metrics.coco import CocoScores, coco_scores
from lamina.metrics.counts import F1, BalancedAccuracy, Precision, Recall
from lamina.metrics.detection import CocoAP, VocAP
from lamina.metrics.means import (
    CallableMetric,
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)
from lamina.metrics.metric import MeanMetric, Metric, Takes
from lamina.metrics.ranking import MeanAveragePrecision
from lamina.metrics.segmentation import (
    ConfusionMetric,
    FrequencyWeightedIoU,
    MeanAccuracy,
    MeanIoU,
    PixelAccuracy,
    SegmentationScores,
    share_confusion,
)
from lamina.metrics.table import METRICS, MetricLike, get
from lamina.metrics.voc import VocScores, voc_scores

__all__ = [
    "F1",
    "METRICS",
    "Accuracy",
    "BalancedAccuracy",
    "BoundaryF1",
    "CallableMetric",
    "CocoAP",
    "CocoScores",
    "ConfusionMetric",
    "DetectionErrors",
    "FoundBoxes",
    "FrequencyWeightedIoU",
    "MeanAbsoluteError",
    "MeanAccuracy",
    "MeanAveragePrecision",
    "MeanIoU",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "MetricLike",
    "PixelAccuracy",
    "Precision",
    "PrecisionRecall",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SegmentationScores",
    "Takes",
    "TopKAccuracy",
    "TrueBoxes",
    "VocAP",
    "VocScores",
    "boundary_f1",
    "coco_scores",
    "detection_errors",
    "get",
    "share_confusion",
    "voc_scores",
]
