"""What flows between the parts: batches, logs and typed results."""

from lamina.structures.batch import Batch, Logs, Tensors
from lamina.structures.results import Classification

__all__ = ["Batch", "Classification", "Logs", "Tensors"]
