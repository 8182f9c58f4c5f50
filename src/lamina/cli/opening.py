"""What is named on the command line, opened: data, the part of it to measure on, models, functions that make networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from lamina import data as datasets
from lamina import layers, networks
from lamina.core.errors import DataError, FileFormatError, LaminaError, UnknownNameError
from lamina.data import archive
from lamina.layers.torch_module import qualified_name
from lamina.models import Model, annotated_data, file
from lamina.models.annotated import AnnotatedModel
from lamina.networks import by_path
from lamina.tasks import load
from lamina.tasks.classification import inputs
from lamina.training.checkpoint import CONFIG

PARTS = ("train", "validation", "test")


def open_data(name: str, format: str | None, task: str | None = None) -> Any:
    """The splits of a named data set or a path; where it is annotated for several tasks, for this one, or the usual one."""
    if format is not None:
        return datasets.open(name, format, task=task)
    return inputs.resolve(name) if task is None else annotated_data.resolve(name, task)


def lasting_data(name: str) -> str:
    """What finds the data from any working directory: a path as absolute, a data set's name as it is."""
    path = Path(name).expanduser()
    return os.path.abspath(path) if path.exists() or archive.inside(path) else name


def lasting_model(spec: str) -> str:
    """What finds the network from any working directory: FILE.py:function with an absolute path, a name as it is."""
    source, _, function = spec.rpartition(":")
    return f"{os.path.abspath(os.path.expanduser(source))}:{function}" if source.endswith(".py") else spec


def is_multi_label(splits: Any) -> bool:
    """Whether the pictures have any number of labels each."""
    labels = getattr(splits.train or splits.validation or splits.test, "labels", None)
    return labels is not None and labels.ndim == 2


def strict(splits: Any) -> Any:
    """The splits, of which a picture that cannot be read ends the training."""
    parts = {name: getattr(splits, name) for name in PARTS}
    kinds = (datasets.FolderDataset, datasets.AnnotatedDataset)
    files = {name: part.strict() for name, part in parts.items() if isinstance(part, kinds)}
    return replace(splits, **files)


def limited(splits: Any, limit: int | None) -> Any:
    """The splits with at most `limit` pictures each."""
    if limit is None:
        return splits
    parts = {name: getattr(splits, name) for name in PARTS}
    return replace(splits, **{name: part.limit(limit) for name, part in parts.items() if part is not None})


def fold_of(splits: Any, fold: int, folds: int) -> Any:
    """The splits with one of the folds of the training pictures, counted from 1, for validation, and the others to train on.

    They have no test part: what is tried out by cross-validation is not tried out on it.
    """
    if splits.train is None:
        raise DataError(
            f"{splits.name or 'The data'} has no training pictures.",
            "Folds are cut from them.",
            "Name the split's folder train, or open that folder itself.",
        )
    train, held = list(splits.train.folds(folds, seed=inputs.SEED))[fold - 1]
    return replace(splits, train=train, validation=held, test=None, others={})


def part_of(splits: Any, model: Any, wanted: str | None = None) -> tuple[str, Any]:
    """The name and the pictures of a part: the wanted one, else test, else validation, else what training held out.

    What training held out is called validation, where the data has no such part of its own.
    """
    split = getattr(model, "split", {})
    annotated = isinstance(model, AnnotatedModel)

    def measured(some: Any) -> tuple[str, Any]:
        return model.measured(some) if annotated else inputs.measured(some, split)

    if wanted is None:
        return measured(splits)
    there = {name: getattr(splits, name) for name in PARTS if getattr(splits, name) is not None}
    if "train" in there and "validation" not in there:
        known = split.get("of") == len(there["train"]) if annotated else inputs.was_split(there["train"], split)
        there |= {"validation": None} if known and (not annotated or "held_out" in split) else {}
    if wanted not in there:
        raise UnknownNameError(
            f"{splits.name or 'The data'} has no split {wanted!r}.",
            f"It has: {', '.join(there)}.",
            f"Use --split {next(iter(there))}, or leave it out.",
        )
    if there[wanted] is None:
        return measured(replace(splits, test=None))
    return wanted, there[wanted]


def label_of(name: str, splits: Any) -> str:
    """What a part is called: a folder without parts has all pictures, and none that somebody called train."""
    alone = splits.test is None and splits.validation is None
    return "all pictures" if name == "train" and alone else name


def is_held_out(name: str, splits: Any) -> bool:
    """Whether a part of that name was held out by training, and is none of the data's own."""
    return name == "validation" and splits.validation is None


def model_file(path: Path) -> Path:
    """The file itself; of a run's folder the best model, or the last where no validation said which is best."""
    return file.located(path) if path.is_dir() else path


def open_model(path: Path, spec: str | None = None) -> Any:
    """The model of a file or of a run's folder. `spec` (FILE.py:function) makes a network that no file can describe.

    A run remembers the spec that it was trained with.
    """
    source = model_file(path)
    if spec is None and path.is_dir() and (path / CONFIG).is_file():
        spec = str(read_config(path).get("model", ""))
    try:
        return load(source)
    except FileFormatError as error:
        description = file.read(source).description
        if spec is not None and is_function(spec):
            return load(source, modules=_modules(spec, description))
        if description.get("network", {}).get("made_of") != "module":
            raise
        remedy = "Name the function that makes it: --model FILE.py:function."
        raise FileFormatError(error.came, error.expected, remedy) from error


def _modules(spec: str, description: dict[str, Any]) -> dict[str, Any]:
    """The modules of a described network that only the function's own code can make, by the names it gives them."""
    channels = description.get("preprocess", {}).get("channels", 3)
    made = network(spec, num_classes=len(description.get("classes", ())), in_channels=lambda: channels)
    if isinstance(made, Model) and made.graph is not None:
        brought = [layer for layer in made.graph.layers if isinstance(layer, layers.Torch)]
        return {layer.name or qualified_name(layer.module): layer.module for layer in brought}
    net = made.net if isinstance(made, Model) else made
    return {description.get("network", {}).get("module", ""): net}


def is_function(spec: str) -> bool:
    """Whether it is FILE.py:function, or package.module:function."""
    return by_path.is_path(spec)


def network(spec: str, *, num_classes: int, in_channels: Callable[[], int]) -> Any:
    """A network's name as it is, or what the function of FILE.py:function makes, told classes and channels if it takes them."""
    if not is_function(spec):
        networks.check_name(spec)
        return spec
    made = by_path.make(spec, {"num_classes": lambda: num_classes, "in_channels": in_channels})
    if not isinstance(made, Model | nn.Module):
        raise LaminaError(
            f"{spec} gave {made!r:.60}, of the type {type(made).__name__}.",
            "A torch module, or a Model made of layers, was expected.",
            "Return the network from the function.",
        )
    return made


def any_network(spec: str, *, in_channels: Callable[[], int]) -> Any:
    """As `network`, of 10 classes, or the name of a detector's or segmenter's network as it is."""
    return spec if networks.stands(spec) else network(spec, num_classes=10, in_channels=in_channels)


def parameters_of(name: str) -> str:
    """How many parameters a named network has for 10 classes, with commas; "-" where only its data can say."""
    try:
        with torch.device("meta"):
            net = networks.create(name, num_classes=10 if networks.stands(name) else None)
    except Exception:  # a network may draw or look at its initial values, which are not there
        return "-"
    return f"{sum(parameter.numel() for parameter in net.parameters()):,}"


def read_config(run: Path) -> dict[str, Any]:
    """What a run's config.yaml says."""
    path = run / CONFIG
    if not path.is_file():
        raise LaminaError(f"{run} is no run: it has no {CONFIG}.", "A run's folder was expected.", "Check the path.")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict):
        raise LaminaError(f"{path} cannot be read.", "The settings of a run were expected.", "Restore the file.")
    return config


def run_of(path: Path) -> Path | None:
    """The run's folder that is meant, or that a model file lies in; None where it is a bare file."""
    folder = path if path.is_dir() else path.parent
    return folder if (folder / CONFIG).is_file() else None


def run_data(run: Path, config: dict[str, Any], *, command: str = "report") -> Any:
    """The data that a run was trained on, as its config remembers it."""
    if not config.get("data"):
        raise DataError(
            f"{run / CONFIG} names no data.",
            "A run of `lamina train` remembers what it was trained on, and one that Python began does not.",
            f"Name it: lamina {command} {run} {'--data ' if command in ('export', 'serve') else ''}DATA.",
        )
    opened = open_data(config["data"], config.get("format"), config.get("task"))
    splits = limited(opened, config.get("limit"))
    return fold_of(splits, config["fold"], config["folds"]) if "fold" in config else splits


def data_of(model: Path, *, command: str, needed: bool) -> Any:
    """What the model's run was trained on; None for a bare file, or where it is there no more and others will do."""
    run = run_of(model)
    if run is None:
        return None
    try:
        return run_data(run, read_config(run), command=command)
    except (LaminaError, OSError):
        if needed:
            raise
        return None
