"""The applications, a folder each; and `load`, which opens any model file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lamina.core.errors import FileFormatError
from lamina.models import Model, file
from lamina.tasks.classification import Classifier, Ensemble
from lamina.tasks.detection import Detector
from lamina.tasks.regression import Regressor
from lamina.tasks.segmentation import Segmenter

__all__ = ["Classifier", "Detector", "Ensemble", "Regressor", "Segmenter", "load"]

# By the kind that a file's header names. Nothing outside this table is ever looked up.
_KINDS: dict[str, Any] = {
    "model": Model,
    "classifier": Classifier,
    "detector": Detector,
    "ensemble": Ensemble,
    "regressor": Regressor,
    "segmenter": Segmenter,
}


def load(path: str | os.PathLike[str], *, modules: Mapping[str, Any] | None = None) -> Any:
    """The Model, Classifier, ... that `save` wrote, with the same predictions.

    `modules` brings torch modules of your own, by the name that the file gives them. Raises FileFormatError for a
    file that is foreign, damaged, or asks for anything outside the literal list of layers and networks.
    """
    contents = file.read(path)
    kind = contents.description.get("kind")
    with file.understanding(contents.path):
        if kind not in _KINDS:
            raise FileFormatError(
                f"{contents.path} holds a {kind!r}.",
                f"Known kinds are {', '.join(_KINDS)}.",
                "Update lamina, or do not trust the file.",
            )
        model = _KINDS[kind].from_file(contents, modules=modules)
    if isinstance(model, Model) and model.graph is None and not modules:
        model._is_shared = False  # nobody has been handed its network yet
    return model
