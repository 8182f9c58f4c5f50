"""Keras's optimizers, names and formulas over torch.optim, what torch.optim lacks, and learning-rate schedules."""

from lamina.optimizers import schedules
from lamina.optimizers.groups import NO_DECAY, Group
from lamina.optimizers.specs import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Muon,
    NAdam,
    Nadam,
    Optimizer,
    Parameters,
    RMSprop,
    TorchOptimizer,
)
from lamina.optimizers.table import OPTIMIZERS, OptimizerLike, build, get

__all__ = [
    "LBFGS",
    "NO_DECAY",
    "OPTIMIZERS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Group",
    "Muon",
    "NAdam",
    "Nadam",
    "Optimizer",
    "OptimizerLike",
    "Parameters",
    "RMSprop",
    "TorchOptimizer",
    "build",
    "get",
    "schedules",
]
