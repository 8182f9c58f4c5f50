"""Augmentation on the device, a whole batch at a time: pure functions of the images and of random numbers keyed by position."""

from lamina.data.augment.auto import AugMix, RandAugment, TrivialAugment
from lamina.data.augment.colour import ColorJitter, RandomGrayscale
from lamina.data.augment.compose import Compose, augmented, composed, draw, mixes
from lamina.data.augment.crop import RandomCrop, RandomResizedCrop
from lamina.data.augment.erase import Cutout, RandomErasing
from lamina.data.augment.geometry import RandomAffine, RandomFlip, RandomRotation, RandomShift
from lamina.data.augment.mix import CutMix, Mixup
from lamina.data.augment.resize import ProgressiveResize, ResizedBatches
from lamina.data.augment.table import AUGMENTATIONS, get
from lamina.data.augment.transform import Augment, Mixing, Transform

__all__ = [
    "AUGMENTATIONS",
    "AugMix",
    "Augment",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "Mixing",
    "Mixup",
    "ProgressiveResize",
    "RandAugment",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomGrayscale",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShift",
    "ResizedBatches",
    "Transform",
    "TrivialAugment",
    "augmented",
    "composed",
    "draw",
    "get",
    "mixes",
]
