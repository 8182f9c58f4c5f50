"""How networks are trained: the loop, the step, the update, the runtime, callbacks and runs on disk."""

from lamina.training.averaging import EMA, SWA, Lookahead, WiSE
from lamina.training.callback import Callback, Interrupted
from lamina.training.callbacks import (
    CSVLogger,
    EarlyStopping,
    GradientNorms,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    StepLogger,
    TensorBoard,
    TerminateOnNaN,
)
from lamina.training.checkpoint import RunFolder
from lamina.training.finite import first_nonfinite
from lamina.training.history import History
from lamina.training.loop import Loop
from lamina.training.recalibrating import recalibrate
from lamina.training.runtime import Runtime
from lamina.training.snapshots import Snapshots
from lamina.training.step import Step, SupervisedStep, Target
from lamina.training.update import Update

__all__ = [
    "EMA",
    "SWA",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "GradientNorms",
    "History",
    "Interrupted",
    "LambdaCallback",
    "LearningRateScheduler",
    "Lookahead",
    "Loop",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "RunFolder",
    "Runtime",
    "Snapshots",
    "Step",
    "StepLogger",
    "SupervisedStep",
    "Target",
    "TensorBoard",
    "TerminateOnNaN",
    "Update",
    "WiSE",
    "first_nonfinite",
    "recalibrate",
]
