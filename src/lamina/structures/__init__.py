"""What flows between the parts: batches, logs and typed results."""

from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.batch import Batch, Logs, Tensors
from lamina.structures.results import Classification, Labelling, Regression

__all__ = ["IGNORED", "Annotation", "Batch", "Classification", "Labelling", "Logs", "Regression", "Tensors"]
