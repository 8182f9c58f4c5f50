"""What stands where in a picture: boxes, their classes, and how certain they are."""

from lamina.tasks.detection.decode import Suppression
from lamina.tasks.detection.model import Detector
from lamina.tasks.detection.step import DetectionStep

__all__ = ["DetectionStep", "Detector", "Suppression"]
