"""The labels of anybody's pictures that are probably wrong: explain.label_errors with a Classifier that is trained for it."""

from __future__ import annotations

import copy
import hashlib
import os
from typing import Any

import torch
from torch import nn

from lamina.core.errors import LaminaError
from lamina.explain import label_errors
from lamina.explain.confident import Prune
from lamina.explain.label_errors import LabelErrors
from lamina.optimizers import AdamW
from lamina.optimizers.schedules import OneCycle
from lamina.tasks.classification import inputs
from lamina.tasks.classification.model import Classifier


def find_label_errors(
    data: Any,
    *,
    model: str | Classifier = "fastconvnet",
    folds: int = 4,
    epochs: int = 5,
    batch_size: int = 128,
    prune: Prune = "noise_rate",
    seed: int = 0,
    run: str | os.PathLike[str] | None = None,
    verbose: str | int = "auto",
) -> LabelErrors:
    """The labels that are probably wrong: `folds` classifiers are trained, and each judges the labels that it did not learn.

    `data` is a folder, a name or a data set of pictures with one label each; of several parts the training one is examined.
    `model` is a network's name, trained by AdamW in one cycle, or a Classifier that has not been trained: each fold trains a
    copy, as it was compiled, and one with pretrained weights is fine-tuned. With `run` the folds that are done are kept
    in that folder, and the same call goes on after them. `prune` says how many are suspected: see explain.confident.suspects.
    """
    part = label_errors.examined(inputs.resolve(data))
    classifier = _prototype(model)
    settings = {"data": inputs.signature(part), "model": classifier.name, "epochs": epochs, "batch_size": batch_size}
    settings |= {name: (classifier._compiled or {}).get(name) for name in ("optimizer", "loss", "schedule")}
    if classifier._net is not None:
        settings["weights"] = _hash_of(classifier._net)

    def train(rest: Any, *, seed: int) -> Classifier:
        copied = copy.deepcopy(classifier)
        fit = copied.fine_tune if copied._borrows else copied.fit
        fit(rest, batch_size=batch_size, epochs=epochs, verbose=verbose, validation_split=0.0, seed=seed)
        return copied

    return label_errors.find(
        part,
        train=train,
        folds=folds,
        prune=prune,
        seed=seed,
        run=run,
        settings=settings,
        verbose=bool(verbose),
    )


def _hash_of(net: nn.Module) -> str:
    """What tells the values that a network begins with from others."""
    hashed = hashlib.sha256()
    for value in net.state_dict().values():
        hashed.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()[:16]


def _prototype(model: str | Classifier) -> Classifier:
    """What each fold trains a copy of."""
    if not isinstance(model, Classifier):
        made = Classifier(model)
        made.compile(AdamW(learning_rate=0.003, weight_decay=0.01), schedule=OneCycle(warmup=0.2))
        return made
    if model.history is not None or model.split:
        raise LaminaError(
            f"The classifier {model.name} has been trained.",
            "One that has seen the labels cannot judge them: each fold trains a copy of a fresh one.",
            "Pass a new Classifier(...), or for the answers of a model to other data: explain.label_errors.from_probs.",
        )
    if model.multi_label:
        raise LaminaError(
            f"The classifier {model.name} gives several labels to a picture.",
            "Confident learning is about one label a picture.",
            "Examine one class at a time, as a data set of two classes.",
        )
    return model
