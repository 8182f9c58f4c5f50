"""R-CNN as its paper tells it: proposals, features, support vector machines, box regression."""

from lamina.tasks.detection.rcnn.fast import FastRCNNDetector
from lamina.tasks.detection.rcnn.proposals import Recall, SelectiveSearch, recall
from lamina.tasks.detection.rcnn.rcnn import RCNN
from lamina.tasks.detection.rcnn.regression import BoxRegressions
from lamina.tasks.detection.rcnn.svm import LinearSVMs

__all__ = ["RCNN", "BoxRegressions", "FastRCNNDetector", "LinearSVMs", "Recall", "SelectiveSearch", "recall"]
