"""Augmentation of single pictures with all that is known of them: boxes, masks, maps of classes and points move along.

    train = train.changed(sample.augmentation("detection", size=640))

Draws come from torch's own generator, which `WorkerBatches` sets for each place in the epoch: 0 or 4 workers give the same.
"""

from lamina.data.augment.sample.auto import AugMix, RandAugment, TrivialAugment
from lamina.data.augment.sample.compose import ChangedDataset, SampleTransforms, changed
from lamina.data.augment.sample.geometry import (
    Letterbox,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomScaledCrop,
    Resize,
)
from lamina.data.augment.sample.mosaic import Mosaic
from lamina.data.augment.sample.moving import moved
from lamina.data.augment.sample.presets import PRESETS, SAMPLE_AUGMENTATIONS, augmentation, named

__all__ = [
    "PRESETS",
    "SAMPLE_AUGMENTATIONS",
    "AugMix",
    "ChangedDataset",
    "Letterbox",
    "Mosaic",
    "RandAugment",
    "RandomAffine",
    "RandomCrop",
    "RandomFlip",
    "RandomScaledCrop",
    "Resize",
    "SampleTransforms",
    "TrivialAugment",
    "augmentation",
    "changed",
    "moved",
    "named",
]
