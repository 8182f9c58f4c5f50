"""`lamina train --folds`: a run for each fold of the training pictures, and what they reach on the pictures they were not trained on."""

from __future__ import annotations

import csv
import io
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from lamina.cli import launch, opening, work
from lamina.cli.options import TrainOptions
from lamina.core.errors import UnknownNameError
from lamina.core.files import replacing
from lamina.models.cross_validation import CrossValidation
from lamina.training.checkpoint import CONFIG
from lamina.training.world import World

FIGURES = "folds.csv"
_LISTED = 3  # runs that are named; more are written as the shell finds them


def train(data: str | None, options: TrainOptions) -> None:
    """Trains each fold into OUTPUT/fold-1 ... as a run of its own, then prints their figures, mean and standard deviation.

    What is told is of the models after the last epoch: the best epoch of a fold was chosen by the fold itself.
    """
    assert options.folds is not None
    options.check(processes=World.join(options.device).size)
    config = options.output / CONFIG
    began = opening.read_config(options.output) if options.resume and config.exists() else {}
    name = data or began.get("data")
    facts = {"data": name and opening.lasting_data(name), "folds": options.folds, "asked": work.lasting(options)}
    for fact in ("data", "folds"):
        if began and began.get(fact) != facts[fact]:
            raise UnknownNameError(
                f"The folds in {options.output} have {fact} {began.get(fact)!r}, and {facts[fact]!r} came.",
                "They go on with what they began with.",
                "Give the same, or another --output.",
            )

    def begins() -> None:
        if World.current().is_main:
            config.parent.mkdir(parents=True, exist_ok=True)
            with replacing(config) as path:
                path.write_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), encoding="utf-8")

    runs = [options.output / f"fold-{fold}" for fold in range(1, options.folds + 1)]
    for fold, run in enumerate(runs, 1):
        print(f"Fold {fold} of {options.folds}: {run}")
        with launch.interrupted(f"before training began; go on: {_again(options.output)}"):
            work.trained(name, replace(options, output=run, fold=fold), begins=begins)
    world = World.current()
    with launch.interrupted(f"after training; its figures: {_again(options.output)}"):
        world.leave()
        if world.is_main:
            _tell(runs, options)


def _again(folder: Path) -> str:
    return f"lamina train --resume --output {shlex.quote(str(folder))}"


def _tell(runs: list[Path], options: TrainOptions) -> None:
    """Measures each model on its fold; prints the table and writes it down, and a report of each run."""
    result = CrossValidation([_figures(run, options) for run in runs])
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["fold", *result.mean])
    rows = [*enumerate(result.figures, 1), ("mean", result.mean), ("std", result.std)]
    writer.writerows([title, *(f"{row[name]:.6g}" for name in result.mean)] for title, row in rows)
    with replacing(options.output / FIGURES) as path:
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
    print(f"Validation figures after the last epoch:\n{result}")
    print(f"Figures: {options.output / FIGURES}")
    print(f"As one model: lamina ensemble {_members(runs)} --data DATA")


def _members(runs: list[Path]) -> str:
    """The folders of the runs as a shell takes them; of many what it finds them by, where it finds no others."""
    folder = runs[0].parent
    if len(runs) > _LISTED and set(runs) == set(folder.glob("fold-*")):
        return f"{shlex.quote(str(folder))}/fold-*"
    return " ".join(shlex.quote(str(run)) for run in runs)


def _figures(run: Path, options: TrainOptions) -> dict[str, Any]:
    best = opening.open_model(run)
    last: Any = best if opening.model_file(run).stem == "last" else None
    if last is None:
        last = opening.open_model(run / "last.safetensors", str(opening.read_config(run).get("model", "")))
    own: Any = ["accuracy", "f1"] if last.multi_label else ["accuracy", "balanced_accuracy"]
    last.compile(metrics=own, device=options.device, precision=options.precision)
    splits = opening.run_data(run, opening.read_config(run))
    figures = last.evaluate(opening.part_of(splits, last)[1])
    if not last.multi_label:
        print(work.report(run, None, format=None, classifier=best, splits=splits))
    return dict(figures)
