"""What the commands do, between their options and the library."""

from __future__ import annotations

import importlib.util
import inspect
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

import lamina
from lamina import data as datasets
from lamina import explain, networks, optimizers, recipes
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.core.files import replacing
from lamina.models import Model
from lamina.tasks import Classifier, load
from lamina.tasks.classification.inputs import resolve
from lamina.training.checkpoint import CONFIG
from lamina.training.runtime import Runtime, has_bfloat16, processor_flags

REPORT = "report.html"


@dataclass(frozen=True)
class TrainOptions:
    """The options of `lamina train`."""

    model: str
    recipe: str | None
    epochs: int | None
    batch_size: int
    lr: float | None
    optimizer: str
    seed: int
    limit: int | None
    output: Path
    format: str | None
    resume: bool
    device: str
    precision: str


def train(data: str | None, options: TrainOptions) -> None:
    """Trains, then prints the accuracy on the test split (or the validation split) and the report's path."""
    recipe = None if options.recipe is None else recipes.get(options.recipe)
    name = data or (recipe.data if recipe else None)
    if name is None:
        raise UnknownNameError("train came without DATA.", "It trains on pictures.", "Try: lamina train mnist.")
    splits = limited(open_data(name, options.format), options.limit)
    print(f"Data: {name}: {_counts(splits)}")
    if recipe is not None:
        classifier = recipe.fit(
            splits, seed=options.seed, epochs=options.epochs, run=options.output, resume=options.resume
        )
    else:
        classifier = _train(splits, options)
    _remember(options.output, data=name, format=options.format, limit=options.limit, recipe=options.recipe)
    split, held = measured_split(splits)
    if held is not None:
        figures = classifier.evaluate(held)
        print(f"{split.capitalize()} accuracy: {100 * figures['accuracy']:.2f} % of {len(held):,} pictures")
    print(report(options.output, None, format=None, classifier=classifier, splits=splits))


def _train(splits: Any, options: TrainOptions) -> Classifier:
    torch.manual_seed(options.seed)
    classifier = Classifier(network(options.model, splits))
    kind: Any = type(optimizers.get(options.optimizer))
    optimizer = kind() if options.lr is None else kind(learning_rate=options.lr)
    classifier.compile(optimizer, device=options.device, precision=options.precision)
    classifier.fit(
        splits,
        batch_size=options.batch_size,
        epochs=options.epochs or 5,
        seed=options.seed,
        run=options.output,
        resume=options.resume,
    )
    return classifier


def evaluate(model: Path, data: str, *, split: str, format: str | None) -> dict[str, float]:
    """Loss and metrics of a model file on one split."""
    splits = open_data(data, format)
    held = getattr(splits, split, None) if split in ("train", "validation", "test") else None
    if held is None:
        there = [name for name in ("train", "validation", "test") if getattr(splits, name) is not None]
        raise UnknownNameError(
            f"{data} has no split {split!r}.", f"It has: {', '.join(there)}.", f"Use --split {there[0]}."
        )
    figures: dict[str, float] = open_model(model).evaluate(held)
    return figures


def predict(model: Path, images: list[Path]) -> list[Any]:
    """A result for each picture, folders searched."""
    classifier = open_model(model)
    if not isinstance(classifier, Classifier):
        raise LaminaError(
            f"{model} holds a {type(classifier).__name__}.",
            "predict needs a classifier.",
            "Train one: lamina train DATA.",
        )
    results: list[Any] = []
    for path in images:
        found = classifier.predict(path)
        results += found if isinstance(found, list) else [found]
    return results


def summary(model: str, input_shape: str | None) -> Any:
    """The layer table of a named network, a model file, a run, or a function that makes a network."""
    shape = None if input_shape is None else _shape(input_shape)
    if Path(model).exists():
        loaded = open_model(Path(model))
        if shape is None and isinstance(loaded, Classifier) and loaded.preprocess is not None:
            shape = (loaded.preprocess.channels, *loaded.preprocess.size)
        return loaded.summary(shape, show=False)
    made = network(model, None)
    if isinstance(made, str):
        shape = shape or (1, 28, 28)
        sizes = {"image_size": shape[1]} if "image_size" in networks.arguments(made) else {}
        made = networks.create(made, in_channels=shape[0], **sizes)
    return (made if isinstance(made, Model) else Model(made)).summary(shape, show=False)


def report(run: Path, data: str | None, *, format: str | None, classifier: Any = None, splits: Any = None) -> Path:
    """Writes a run's report.html; returns its path."""
    config = _config(run)
    if splits is None:
        splits = limited(open_data(data or config.get("data", ""), format or config.get("format")), config.get("limit"))
    split, held = measured_split(splits)
    if held is None:
        raise DataError("The data has no pictures to report on.", "A test split was expected.", "Name DATA.")
    classifier = classifier or open_model(run)
    held = classifier.memorised(held)
    curves = run / "results.csv"
    return explain.report(
        classifier,
        held,
        path=run / REPORT,
        history=curves if curves.exists() else None,
        title=f"{classifier.name} on {data or config.get('data', 'data')} ({split})",
        settings=config,
    )


def environment() -> dict[str, Any]:
    """Facts of this machine and installation."""
    runtime = Runtime()
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16", "asimd")
    return {
        "lamina": lamina.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": [flag for flag in wanted if flag in processor_flags()],
        "threads": torch.get_num_threads(),
        "device": str(runtime.device),
        "precision": runtime.precision,
        "bfloat16": "in hardware" if has_bfloat16(runtime.device) else "emulated (not used)",
    }


def open_data(name: str, format: str | None) -> Any:
    """The splits of a named data set or a path."""
    return datasets.open(name, format) if format is not None else resolve(name)


def limited(splits: Any, limit: int | None) -> Any:
    """The splits with at most `limit` pictures each."""
    if limit is None:
        return splits
    parts = {name: getattr(splits, name) for name in ("train", "validation", "test")}
    return replace(splits, **{name: part.limit(limit) for name, part in parts.items() if part is not None})


def measured_split(splits: Any) -> tuple[str, Any]:
    """The split that a trained model is measured on: test, else validation; where there is none, (name, None)."""
    for name in ("test", "validation", "train"):
        if getattr(splits, name) is not None:
            return name, getattr(splits, name)
    return "test", None


def open_model(path: Path) -> Any:
    """A model file, or the best model of a run's folder."""
    if path.is_dir():
        found = [path / name for name in ("best.safetensors", "last.safetensors") if (path / name).exists()]
        if not found:
            raise LaminaError(
                f"{path} holds no model.", "A run's folder has best.safetensors.", "Train first: lamina train DATA."
            )
        path = found[0]
    return load(path)


def network(spec: str, splits: Any) -> Any:
    """A network's name as it is, or what the function of FILE.py:function makes."""
    file, colon, function = spec.rpartition(":")
    if not colon or not file.endswith(".py"):
        networks.check_name(spec)
        return spec
    path = Path(file)
    if not path.is_file():
        raise LaminaError(f"There is no file {path}.", "--model FILE.py:function names a function.", "Check the path.")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[path.stem] = module
    module_spec.loader.exec_module(module)
    make = getattr(module, function, None)
    if not callable(make):
        known = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        raise UnknownNameError(
            f"{path} has no function {function!r}.", f"It has: {', '.join(known) or 'none'}.", "Name one of these."
        )
    takes = inspect.signature(make).parameters
    told = {} if splits is None else {"num_classes": len(splits.classes)}
    return make(**{name: value for name, value in told.items() if name in takes})


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise UnknownNameError(
            f"--input-shape {text!r} is no shape.", "Channels, height and width were expected.", "Use 1,28,28."
        ) from None


def _counts(splits: Any) -> str:
    parts = [
        f"{len(getattr(splits, name)):,} {name}" for name in ("train", "validation", "test") if getattr(splits, name)
    ]
    return f"{', '.join(parts)} pictures of {len(splits.classes)} classes"


def _config(run: Path) -> dict[str, Any]:
    path = run / CONFIG
    if not path.is_file():
        raise LaminaError(f"{run} is no run: it has no {CONFIG}.", "A run's folder was expected.", "Check the path.")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config


def _remember(run: Path, **facts: Any) -> None:
    """Adds to a run's config what only the command line knows."""
    config = _config(run) | {name: value for name, value in facts.items() if value is not None}
    with replacing(run / CONFIG) as path:
        path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
