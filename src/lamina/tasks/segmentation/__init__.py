"""A class for every pixel of a picture."""

from lamina.tasks.segmentation.model import Segmenter

__all__ = ["Segmenter"]
