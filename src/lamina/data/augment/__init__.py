"""Augmentation: `batch`, on the device, a whole batch at a time."""

from lamina.data.augment.batch import Compose, RandomAffine, RandomRotation, RandomShift

__all__ = ["Compose", "RandomAffine", "RandomRotation", "RandomShift"]
