"""Learning-rate schedules: pure functions from where training stands to a factor of the base learning rate.

Those in `progress` are asked with the progress of training, 0 .. 1, and fit any length. Those in `epochs` have
`unit = "epochs"` and are asked with the epoch (from 0, with a fraction within the epoch). Both change with every update;
`PerEpoch` holds any of them within each epoch, `Warmup` climbs in front of any. A function of your own from progress to
factor serves as well.
"""

from lamina.optimizers.schedules.combined import PerEpoch, Warmup
from lamina.optimizers.schedules.epochs import CosineRestarts, Cyclic, Exponential, PiecewiseConstant, StepDecay
from lamina.optimizers.schedules.progress import (
    Constant,
    Cosine,
    Linear,
    OneCycle,
    OneCycleMomentum,
    Plateau,
    Polynomial,
)
from lamina.optimizers.schedules.schedule import NamedSchedule, Schedule, factors, plot
from lamina.optimizers.schedules.table import SCHEDULES, check_length, get

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "Exponential",
    "Linear",
    "NamedSchedule",
    "OneCycle",
    "OneCycleMomentum",
    "PerEpoch",
    "PiecewiseConstant",
    "Plateau",
    "Polynomial",
    "Schedule",
    "StepDecay",
    "Warmup",
    "check_length",
    "factors",
    "get",
    "plot",
]
