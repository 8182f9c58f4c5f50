"""What the commands do, between their options and the library."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

import lamina
from lamina import explain, networks, optimizers, recipes
from lamina.cli import opening
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.core.files import replacing
from lamina.models import Model
from lamina.tasks import Classifier
from lamina.tasks.classification import inputs
from lamina.training import Callback
from lamina.training.checkpoint import CONFIG
from lamina.training.runtime import Runtime, has_bfloat16, processor_flags

REPORT = "report.html"


@dataclass(frozen=True)
class TrainOptions:
    """The options of `lamina train`; None where nobody said."""

    model: str | None
    recipe: str | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    optimizer: str | None
    seed: int
    limit: int | None
    output: Path
    format: str | None
    resume: bool
    device: str
    precision: str


class Remember(Callback):
    """Writes into a run's config.yaml what only the command line knows, before the first step: also an interrupted run has it."""

    def __init__(self, run: Path, facts: Mapping[str, Any]) -> None:
        self.run, self.facts, self.done = run, dict(facts), False

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """The run's folder writes its config now, perhaps after this."""
        self.done = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the facts, once."""
        if self.done:
            return
        config = {name: value for name, value in opening.read_config(self.run).items() if name not in self.facts}
        config |= {name: value for name, value in self.facts.items() if value is not None}
        with replacing(self.run / CONFIG) as path:
            path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        self.done = True


def train(data: str | None, options: TrainOptions) -> None:
    """Trains, then prints the accuracy of the best model (see `opening.model_file`) and the report's path."""
    recipe = None if options.recipe is None else recipes.get(options.recipe)
    if recipe is not None:
        _refuse_beside_recipe(options)
    began = opening.read_config(options.output) if options.resume and (options.output / CONFIG).exists() else {}
    name = data or (recipe.data if recipe else None) or began.get("data")
    if name is None:
        raise UnknownNameError("train came without DATA.", "It trains on pictures.", "Try: lamina train mnist.")
    splits = opening.limited(opening.open_data(name, options.format), options.limit)
    print(f"Data: {name}: {_counts(splits)}")
    model = recipe.network if recipe else options.model or "deepconvnet"
    facts = {"data": name, "format": options.format, "limit": options.limit, "recipe": options.recipe, "model": model}
    for fact in ("data", "limit", "recipe", "model"):
        if began and began.get(fact) != facts[fact]:
            raise UnknownNameError(
                f"The run in {options.output} has {fact} {began.get(fact)!r}, and {facts[fact]!r} came.",
                "A run goes on with what it began with.",
                "Give the same, or another --output.",
            )
    remember = Remember(options.output, facts)
    if recipe is not None:
        recipe.fit(
            splits,
            seed=options.seed,
            epochs=options.epochs,
            run=options.output,
            resume=options.resume,
            callbacks=[remember],
            device=options.device,
            precision=options.precision,
        )
    else:
        _train(splits, model, options, remember)
    classifier = opening.open_model(options.output)
    classifier.compile(device=options.device, precision=options.precision)
    best = opening.model_file(options.output)
    print(f"Model: {best}, {'the epoch with the lowest val_loss' if best.stem == 'best' else 'the last epoch'}")
    split, held = opening.part_of(splits, classifier)
    label = "Training" if split == "train" else split.capitalize()
    print(f"{label} accuracy: {100 * classifier.evaluate(held)['accuracy']:.2f} % of {len(held):,} pictures")
    print(report(options.output, None, format=None, classifier=classifier, splits=splits))


def _refuse_beside_recipe(options: TrainOptions) -> None:
    fixed = ("model", "batch_size", "lr", "optimizer")
    given = [f"--{name.replace('_', '-')}" for name in fixed if getattr(options, name) is not None]
    if given:
        raise UnknownNameError(
            f"--recipe came beside {', '.join(given)}.",
            "A recipe says these itself: its measured result depends on them.",
            f"Leave out {' and '.join(given)}, or --recipe.",
        )


def _train(splits: Any, model: str, options: TrainOptions, remember: Remember) -> None:
    torch.manual_seed(options.seed)
    some = splits.train or splits.validation or splits.test
    made = opening.network(model, num_classes=len(splits.classes), in_channels=lambda: inputs.channels_of(some))
    classifier = Classifier(made)
    kind: Any = type(optimizers.get(options.optimizer or "adamw"))
    optimizer = kind() if options.lr is None else kind(learning_rate=options.lr)
    classifier.compile(optimizer, device=options.device, precision=options.precision)
    classifier.fit(
        splits,
        batch_size=options.batch_size or 128,
        epochs=options.epochs or 5,
        seed=options.seed,
        run=options.output,
        resume=options.resume,
        callbacks=[remember],
    )


def evaluate(path: Path, data: str, *, split: str | None, format: str | None, model: str | None) -> dict[str, Any]:
    """Which pictures were measured (split, held_out, pictures), and the loss and metrics of a model file on them."""
    splits = opening.open_data(data, format)
    opened = opening.open_model(path, model)
    if path.is_dir() and (path / CONFIG).is_file():  # a run on some of the data held out some of those
        config = opening.read_config(path)
        trained_on = opening.limited(splits, config.get("limit"))
        held_out = opening.is_held_out(opening.part_of(trained_on, opened)[0], trained_on)
        if config.get("data") == data and held_out and split != "train":
            splits = trained_on
    name, part = opening.part_of(splits, opened, split)
    told = {"split": name, "held_out": opening.is_held_out(name, splits), "pictures": len(part)}
    return {**told, **opened.evaluate(part)}


def predict(path: Path, images: list[Path], *, model: str | None) -> list[Any]:
    """A result for each picture, folders searched."""
    classifier = opening.open_model(path, model)
    if not isinstance(classifier, Classifier):
        raise LaminaError(
            f"{path} holds a {type(classifier).__name__}.",
            "predict needs a classifier.",
            "Train one: lamina train DATA.",
        )
    results: list[Any] = []
    for image in images:
        found = classifier.predict(image)
        results += found if isinstance(found, list) else [found]
    return results


def summary(model: str, input_shape: str | None) -> Any:
    """The layer table of a named network, a model file, a run, or a function that makes a network."""
    shape = None if input_shape is None else _shape(input_shape)
    if Path(model).exists():
        return opening.open_model(Path(model)).summary(shape, show=False)
    made = opening.network(model, num_classes=10, in_channels=lambda: (shape or (1,))[0])
    if isinstance(made, str):
        shape = shape or (1, 28, 28)
        sizes = {"image_size": shape[1]} if "image_size" in networks.arguments(made) else {}
        made = networks.create(made, in_channels=shape[0], **sizes)
    return (made if isinstance(made, Model) else Model(made)).summary(shape, show=False)


def report(run: Path, data: str | None, *, format: str | None, classifier: Any = None, splits: Any = None) -> Path:
    """Writes a run's report.html; returns its path."""
    config = opening.read_config(run)
    if splits is None:
        splits = opening.run_data(run, config) if data is None else opening.open_data(data, format)
    classifier = opening.open_model(run) if classifier is None else classifier
    split, part = opening.part_of(splits, classifier)
    curves = run / "results.csv"
    return explain.report(
        classifier,
        classifier.memorised(part),
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
