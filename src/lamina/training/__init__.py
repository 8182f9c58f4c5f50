"""How networks are trained: the loop, the step, the update, the runtime, callbacks and runs on disk."""

from lamina.training.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from lamina.training.checkpoint import RunFolder
from lamina.training.loop import Callback, History, Interrupted, Loop
from lamina.training.runtime import Runtime
from lamina.training.step import Step, SupervisedStep, Target
from lamina.training.update import Update

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "Interrupted",
    "LambdaCallback",
    "LearningRateScheduler",
    "Loop",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "RunFolder",
    "Runtime",
    "Step",
    "SupervisedStep",
    "Target",
    "TensorBoard",
    "TerminateOnNaN",
    "Update",
]
