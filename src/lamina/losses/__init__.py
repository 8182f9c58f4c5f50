"""Scalars to minimise, one file a family, and the table of their names. Keras's names and formulas."""

from lamina.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from lamina.losses.divergence import KLDivergence
from lamina.losses.focal import BinaryFocalCrossentropy, FocalCrossentropy
from lamina.losses.hinge import Hinge
from lamina.losses.loss import AccuracyKind, Activation, Loss, Reduction
from lamina.losses.overlap import Dice, LovaszSoftmax
from lamina.losses.pixels import PixelCrossentropy
from lamina.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError
from lamina.losses.robust import GeneralizedCrossentropy, SmallLoss, SymmetricCrossentropy
from lamina.losses.sums import LossSum
from lamina.losses.table import LOSSES, LossLike, get, ignoring
from lamina.losses.wrapped import CallableLoss, TorchLoss

__all__ = [
    "LOSSES",
    "AccuracyKind",
    "Activation",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CallableLoss",
    "CategoricalCrossentropy",
    "Dice",
    "FocalCrossentropy",
    "GeneralizedCrossentropy",
    "Hinge",
    "Huber",
    "KLDivergence",
    "Loss",
    "LossLike",
    "LossSum",
    "LovaszSoftmax",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "PixelCrossentropy",
    "Reduction",
    "SmallLoss",
    "SparseCategoricalCrossentropy",
    "SymmetricCrossentropy",
    "TorchLoss",
    "get",
    "ignoring",
]
