"""How networks are trained: the loop, the step, the update, the runtime, callbacks and runs on disk."""

from lamina.training.checkpoint import RunFolder
from lamina.training.loop import Callback, History, Interrupted, Loop
from lamina.training.runtime import Runtime
from lamina.training.step import Step, SupervisedStep, Target
from lamina.training.update import Update

__all__ = [
    "Callback",
    "History",
    "Interrupted",
    "Loop",
    "RunFolder",
    "Runtime",
    "Step",
    "SupervisedStep",
    "Target",
    "Update",
]
