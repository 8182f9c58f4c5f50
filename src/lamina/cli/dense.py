"""Detectors and segmenters on the command line: what the commands do with pictures in which something stands."""

from __future__ import annotations

from typing import Any

import torch

from lamina import networks, optimizers
from lamina.cli import opening
from lamina.cli.options import TrainOptions, parse_size
from lamina.core.errors import LaminaError
from lamina.data.preprocess import Preprocess
from lamina.explain.beside import FoundBeside, MappedBeside
from lamina.models import borrowed
from lamina.models.annotated import whole
from lamina.structures.results import percent
from lamina.tasks.detection import Detector
from lamina.tasks.segmentation import Segmenter
from lamina.training import Callback

_KINDS: dict[str, Any] = {"detection": Detector, "segmentation": Segmenter}
_BATCH = 16


def train(splits: Any, options: TrainOptions, callbacks: list[Callback]) -> None:
    """Trains the network that the options name on the training part of the splits."""
    torch.manual_seed(options.seed)
    kind, name, borrows = _KINDS[splits.task], options.model or "", options.borrows()
    if opening.is_function(name):
        made: Any = opening.network(name, num_classes=len(splits.classes), in_channels=lambda: 3)
        told: dict[str, Any] = {}
    else:
        made, told = name, {"backbone": options.backbone, "pretrained": borrows or None}
    if options.size is not None:
        told["preprocess"] = _sized(options, made, borrows)
    model = kind(made, **told)
    given = {"schedule": options.schedule, "runtime": options.runtime(), "update": options.update()}
    optimizer: Any = type(optimizers.get(options.optimizer or "adamw"))
    rate = {} if options.lr is None else {"learning_rate": options.lr}
    model.compile(optimizer(**rate), **given)
    model.fit(
        splits,
        batch_size=options.batch_size or _BATCH,
        epochs=options.epochs or 5,
        seed=options.seed,
        augment=options.augment,
        run=options.output,
        resume=options.resume,
        checkpoint_every=options.checkpoint_every,
        log_every=options.log_every,
        callbacks=callbacks,
    )


def _sized(options: TrainOptions, made: Any, borrows: bool | str) -> Preprocess:
    """Whole pictures in the size of --size, with the mean and std of the weights that it begins with."""
    size = parse_size(options.size or "")
    known = None
    if borrows and isinstance(made, str):
        known = borrowed.borrow(options.backbone or networks.backbone(made), borrows).preprocess
    return whole(size, like=known)


def told(name: str, beside: FoundBeside | MappedBeside) -> str:
    """What a model reaches on the part of that name, in a line."""
    label, count = "Training" if name == "train" else name.capitalize(), f"{len(beside.rows):,} pictures"
    if isinstance(beside, FoundBeside):
        return f"{label} AP: {_percent(beside.scores['AP'])}, AP50: {_percent(beside.scores['AP50'])}, of {count}"
    accuracy = _percent(beside.scores.pixel_accuracy)
    return f"{label} mean IoU: {_percent(beside.scores.mean_iou)}, {accuracy} of the pixels right, of {count}"


def _percent(share: float) -> str:
    return "unknown" if share != share else percent(share)


def refuse(task: str, what: str) -> None:
    """Raises LaminaError where a command is for classifiers alone, and the data for something else."""
    if task in _KINDS:
        raise LaminaError(
            f"This data is for {task}.",
            f"{what} is for pictures that have classes of their own.",
            "Train on it: lamina train DATA.",
        )
