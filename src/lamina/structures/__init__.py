"""What flows between the parts: batches, logs and typed results."""

from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.batch import Batch, Logs, Tensors
from lamina.structures.detections import Detection, Detections
from lamina.structures.results import Classification, Labelling, Regression
from lamina.structures.segmentation import Area, SegmentationMap
from lamina.structures.tiles import TiledMap

__all__ = [
    "IGNORED",
    "Annotation",
    "Area",
    "Batch",
    "Classification",
    "Detection",
    "Detections",
    "Labelling",
    "Logs",
    "Regression",
    "SegmentationMap",
    "Tensors",
    "TiledMap",
]
