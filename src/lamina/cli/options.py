"""The options of `lamina train`, and what is wrong with them: said before any data is read, in the words that were typed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lamina import networks, optimizers, recipes
from lamina.cli import opening
from lamina.cli.early import MODEL_REMEDY
from lamina.cli.early import check_name as check_name
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.data.augment import AUGMENTATIONS
from lamina.data.balance import BALANCES
from lamina.data.formats import FORMATS
from lamina.training.averaging import AVERAGES
from lamina.training.checkpoint import CHECKPOINT, CONFIG, PREVIOUS
from lamina.training.runtime import PRECISIONS, Runtime, lacks
from lamina.training.runtime import devices as devices_here

_SAID_BY_A_RECIPE = (
    "model",
    "task",
    "backbone",
    "batch_size",
    "lr",
    "optimizer",
    "schedule",
    "accumulate",
    "clip_norm",
    "average",
    "size",
)


DEFAULT_MODEL = "deepconvnet"
# By the task of the data: the network where nobody names one.
USUAL = {"classification": DEFAULT_MODEL, "detection": "retinanet", "segmentation": "unet"}
ANNOTATED = ("detection", "segmentation")
OF_WHOLE_SETS = (
    "usual",
    "mosaic",
)  # what --augment may name beside single augmentations, for pictures with boxes or maps
_NOT_ANNOTATED = ("recipe", "freeze_epochs", "balance", "folds")  # options that only classifiers have


@dataclass(frozen=True)
class TrainOptions:
    """The options of `lamina train`; None where nobody said."""

    model: str | None = None
    task: str | None = None
    backbone: str | None = None
    recipe: str | None = None
    pretrained: bool = False
    weights: str | None = None
    freeze_epochs: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    optimizer: str | None = None
    schedule: str | None = None
    accumulate: int | None = None
    clip_norm: float | None = None
    average: str | None = None
    augment: str | None = None
    on_bad: str | None = None
    balance: str | None = None
    seed: int = 0
    folds: int | None = None
    fold: int | None = None  # of these, the one that this run is of; counted from 1
    size: str | None = None
    limit: int | None = None
    output: Path = Path("runs/train")
    format: str | None = None
    resume: bool = False
    checkpoint_every: int | None = None
    log_every: int | None = None
    device: str = "auto"
    precision: str = "auto"
    deterministic: bool = False
    compile: bool = False
    reduce_overhead: bool = False
    shard: bool = False
    sync_batchnorm: bool = False
    tuned: Mapping[str, Any] = field(default_factory=dict)  # what only a config says: network, loss, momentum ...

    def __post_init__(self) -> None:
        if self.balance == "none":  # as the help says the usual
            object.__setattr__(self, "balance", None)

    def told(self) -> dict[str, Any]:
        """What a resumed run must know again: the options that were given, but for where the run lies."""
        usual = TrainOptions()
        others = ("output", "resume", "fold")
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in others}
        return {name: value for name, value in values.items() if value != getattr(usual, name)}

    def runtime(self) -> Runtime:
        """Where and how the run trains."""
        return Runtime(
            self.device,
            precision=self.precision,
            deterministic=self.deterministic,
            compile="reduce-overhead" if self.reduce_overhead else True if self.compile else "auto",
            synchronise=self.sync_batchnorm,
            shard=self.shard,
        )

    def update(self) -> dict[str, Any]:
        """The further arguments of the run's Update."""
        given = {"accumulate": self.accumulate, "clip_norm": self.clip_norm, "average": self.average}
        return {name: value for name, value in given.items() if value is not None}

    def augmentations(self) -> list[str] | None:
        """The names that --augment lists; None where it was not given."""
        return None if self.augment is None else [name.strip() for name in self.augment.split(",")]

    def check(self, *, processes: int = 1) -> None:
        """Raises UnknownNameError for an option that means nothing, LaminaError for a folder that cannot take the run."""
        self._check_recipe()
        check_name("task", self.task, USUAL)
        if self.model is not None:
            if opening.is_function(self.model):
                networks.by_path.find(self.model)
            elif self.model.startswith(networks.from_timm.PREFIX):
                networks.check_name(self.model)
            elif "network" not in self.tuned:
                tasks = USUAL if self.task is None else (self.task,)
                known = [name for task in tasks for name in networks.names(task)]
                check_name("model", self.model, known, MODEL_REMEDY)
        self._check_pretrained()
        if self.optimizer is not None:
            check_name("optimizer", self.optimizer.lower(), optimizers.OPTIMIZERS)
        check_name("schedule", self.schedule, optimizers.schedules.SCHEDULES)
        check_name("average", self.average, AVERAGES)
        if self.backbone is not None:
            networks.check_name(self.backbone)
        for name in self.augmentations() or ():
            if name not in AUGMENTATIONS:
                all_names = dict.fromkeys([*AUGMENTATIONS, *_of_samples()])
                check_name("augment", name, all_names, f"Name some of {', '.join(AUGMENTATIONS)}, with commas between.")
        check_name("balance", self.balance, BALANCES)
        check_name("format", self.format, FORMATS)
        check_name("on_bad", self.on_bad, ("raise", "replace"))
        check_name("precision", self.precision, PRECISIONS)
        if self.lr is not None and not 0 <= self.lr < math.inf:
            raise _wrong("lr", self.lr, "A number that is not negative was expected.", "Pass for example --lr 0.001.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise _wrong("clip_norm", self.clip_norm, "A number above 0 was expected.", "Leave it out to clip nothing.")
        if self.size is not None:
            parse_size(self.size)
        if self.batch_size is not None and self.batch_size < processes:
            came = f"--batch-size {self.batch_size} came, and {processes} processes train together."
            expected = "It counts the pictures of all, and each needs one or more."
            raise UnknownNameError(came, expected, f"Pass --batch-size {processes} or more, or fewer --devices.")
        check_device(self.device)
        self._check_output()

    def known_task(self) -> str | None:
        """The task that was asked for, or that the named network is for; None where only the data says."""
        if self.task is not None or self.model is None:
            return self.task
        return next((task for task in ANNOTATED if self.model in networks.names(task)), None)

    def for_task(self, task: str) -> TrainOptions:
        """The options with the task's usual network. Raises UnknownNameError for those that mean nothing for it."""
        made = replace(self, model=self.model or USUAL.get(task)) if self.recipe is None else self
        if task not in ANNOTATED:
            names = self.augmentations() or ()
            given = {"backbone": self.backbone, "augment": next((n for n in names if n not in AUGMENTATIONS), None)}
            expected = "It is for detectors and segmenters, and this data is for classification."
        else:
            given = {name: getattr(self, name) for name in _NOT_ANNOTATED} | {"config": "..." if self.tuned else None}
            given |= {"augment": next((n for n in self.augmentations() or () if n not in _of_samples()), None)}
            expected = f"It is for classification, and this data is for {task}."
        for name, value in given.items():
            if value is not None:
                raise UnknownNameError(f"--{name.replace('_', '-')} {value} came.", expected, "Leave it out.")
        if made.model is not None and not self.tuned and self.recipe is None:
            standing = made.model if task in ANNOTATED and not opening.is_function(made.model) else None
            there = networks.names(task) if task in ANNOTATED else None
            if standing is not None and standing not in (there or ()):
                raise UnknownNameError(
                    f"--model {standing} came, and this data is for {task}.",
                    f"Networks for it are {', '.join(there or ())}.",
                    f"Name one of these; --backbone {standing} puts it below one."
                    if standing in networks.names()
                    else "Name one of these.",
                )
        made._check_pretrained()
        return made

    def _check_recipe(self) -> None:
        if self.recipe is None:
            return
        check_name("recipe", self.recipe, recipes.names(), "`lamina models` lists them all.")
        beside = (*_SAID_BY_A_RECIPE, "augment", "balance", "pretrained", "weights", "freeze_epochs")
        given = [f"--{name.replace('_', '-')}" for name in beside if getattr(self, name) not in (None, False)]
        if given:
            raise UnknownNameError(
                f"--recipe came beside {', '.join(given)}.",
                "A recipe says these itself: its measured result depends on them.",
                f"Leave out {' and '.join(given)}, or --recipe.",
            )

    def borrows(self) -> bool | str:
        """What a Classifier's `pretrained` is: a file, a name, True for the best published weights, False for none."""
        if self.weights is None:
            return self.pretrained
        return os.path.abspath(self.weights) if Path(self.weights).is_file() else self.weights

    def _check_pretrained(self) -> None:
        told = self.borrows()
        if not told:
            if self.freeze_epochs is not None:
                raise UnknownNameError(
                    f"--freeze-epochs {self.freeze_epochs} came without --pretrained.",
                    "Only layers that have learnt already are worth freezing.",
                    "Add --pretrained, or --weights FILE.",
                )
            return
        if "network" in self.tuned:
            raise UnknownNameError(
                "--pretrained came beside a config that describes its own network.",
                "Weights are for a network by name.",
                "Leave out one of the two.",
            )
        if self.model is None and self.task != "classification":
            return  # the data says which network it is; see for_task
        name = self.model or DEFAULT_MODEL
        if isinstance(told, str) and Path(told).is_file():
            return  # it is read after the pictures
        if isinstance(told, str) and Path(told).suffix:
            raise UnknownNameError(
                f"--weights {told}: there is no such file.",
                "A file of weights, or the name of published ones, was expected.",
                "Check the path.",
            )
        if opening.is_function(name):
            raise UnknownNameError(
                f"--pretrained came with --model {name}.",
                "Published weights are for networks by name.",
                "Name a file of its weights: --weights FILE.",
            )
        standing = any(name in networks.names(task) for task in ANNOTATED)
        networks.weights.get(self.backbone or networks.backbone(name) if standing else name, told)

    def _check_output(self) -> None:
        if self.output.exists() and not self.output.is_dir():
            raise LaminaError(
                f"--output {self.output} is a file.", "A run is written into a folder.", "Name another --output."
            )
        if not self.resume and any((self.output / name).exists() for name in (CHECKPOINT, PREVIOUS, CONFIG)):
            raise LaminaError(
                f"{self.output} already holds a run.",
                "A run is not written over another.",
                f"Go on with it: lamina train --resume --output {self.output}; or name another --output.",
            )


def _of_samples() -> tuple[str, ...]:
    """What --augment may name for pictures with boxes or maps."""
    from lamina.data.augment.sample import SAMPLE_AUGMENTATIONS  # torchvision takes seconds to import

    return (*SAMPLE_AUGMENTATIONS, *OF_WHOLE_SETS)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of 96 or 96x128."""
    sides = text.lower().split("x")
    if not (1 <= len(sides) <= 2 and all(side.isdecimal() and int(side) > 0 for side in sides)):
        raise UnknownNameError(
            f"--size {text!r} is no size.", "Pixels, or height x width, were expected.", "Use 96, or 96x128."
        )
    return int(sides[0]), int(sides[-1])


def check_device(device: str) -> None:
    """Raises UnknownNameError for a device that is no name of one, or is not there. No device is woken for it."""
    if device == "auto":
        return
    wrong = "not on this machine"
    try:
        if not lacks(device):
            return
    except RuntimeError:
        wrong = "no device"
    there = f"Here there are: {', '.join(devices_here())}."
    raise UnknownNameError(f"--device {device!r} is {wrong}.", there, "Choose one of these, or leave it out.")


def _wrong(option: str, value: object, expected: str, remedy: str) -> UnknownNameError:
    return UnknownNameError(f"--{option.replace('_', '-')} {value} came.", expected, remedy)
