"""What is in the picture: `Classifier`, its data at the door, and its results."""

from lamina.tasks.classification.ensemble import Ensemble
from lamina.tasks.classification.model import Classifier

__all__ = ["Classifier", "Ensemble"]
