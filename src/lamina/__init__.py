"""Lamina: deep networks for images, layer by layer, on plain PyTorch.

Parts are imported when they are first used, so `import lamina` (and `lamina --help`) does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PARTS = (
    "data",
    "explain",
    "export",
    "layers",
    "losses",
    "metrics",
    "models",
    "networks",
    "optimizers",
    "recipes",
    "serve",
    "structures",
    "tasks",
    "testing",
    "training",
)
_ALIASES = {
    "callbacks": "lamina.training.callbacks",
    "initializers": "lamina.layers.initializers",
    "regularizers": "lamina.layers.regularizers",
    "tuner": "lamina.training.tuner",
}
_NAMES = {
    "Classifier": "lamina.tasks.classification",
    "Detector": "lamina.tasks.detection",
    "Ensemble": "lamina.tasks.classification",
    "Regressor": "lamina.tasks.regression",
    "Segmenter": "lamina.tasks.segmentation",
    "Preprocess": "lamina.data.preprocess",
    "cross_validate": "lamina.models.cross_validation",
    "find_label_errors": "lamina.tasks.classification.label_errors",
    "load": "lamina.tasks",
}

if TYPE_CHECKING:
    from lamina import data as data
    from lamina import explain as explain
    from lamina import export as export
    from lamina import layers as layers
    from lamina import losses as losses
    from lamina import metrics as metrics
    from lamina import models as models
    from lamina import networks as networks
    from lamina import optimizers as optimizers
    from lamina import recipes as recipes
    from lamina import serve as serve
    from lamina import structures as structures
    from lamina import tasks as tasks
    from lamina import testing as testing
    from lamina import training as training
    from lamina.data.preprocess import Preprocess as Preprocess
    from lamina.layers import initializers as initializers
    from lamina.layers import regularizers as regularizers
    from lamina.models.cross_validation import cross_validate as cross_validate
    from lamina.tasks import load as load
    from lamina.tasks.classification import Classifier as Classifier
    from lamina.tasks.classification import Ensemble as Ensemble
    from lamina.tasks.classification.label_errors import find_label_errors as find_label_errors
    from lamina.tasks.detection import Detector as Detector
    from lamina.tasks.regression import Regressor as Regressor
    from lamina.tasks.segmentation import Segmenter as Segmenter
    from lamina.training import callbacks as callbacks
    from lamina.training import tuner as tuner

__all__ = [*_PARTS, *_ALIASES, *_NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"lamina.{name}")
    if name in _ALIASES:
        return importlib.import_module(_ALIASES[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'lamina' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
