"""What the commands do, between their options and the library."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from lamina import explain, recipes
from lamina.cli import dense, launch, opening
from lamina.cli.answering import predict as predict
from lamina.cli.machine import environment as environment
from lamina.cli.options import ANNOTATED, parse_size
from lamina.cli.options import TrainOptions as TrainOptions
from lamina.core.errors import DataError, LaminaError, UnknownNameError
from lamina.core.files import replacing
from lamina.models import tta as views
from lamina.models.annotated import AnnotatedModel
from lamina.models.comparison import Comparison
from lamina.tasks import Classifier, Regressor
from lamina.tasks.classification import inputs, tunable_cnn
from lamina.training import Callback, RunFolder
from lamina.training.checkpoint import CHECKPOINT, CONFIG, PREVIOUS
from lamina.training.finite import FailOnNaN
from lamina.training.world import World

REPORT = "report.html"


class Remember(Callback):
    """Has a run's config.yaml hold what only the command line knows, from the beginning: also an interrupted run has it."""

    main_only = True

    def __init__(self, run: Path, facts: Mapping[str, Any]) -> None:
        self.run, self.facts = run, dict(facts)
        self.whole = run if facts.get("fold") is None else run.parent  # what goes on: of folds all

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        """Gives the facts to the run's folder, which writes its config after this; how it goes on it says as commands are typed."""
        folders = [callback for callback in self.loop.callbacks if isinstance(callback, RunFolder)]
        for folder in folders:
            folder.resume_hint = f"It goes on with: {_resume_command(self.whole)}"
            folder.facts = self.facts if folder.folder == self.run else {}
        if not any(folder.folder == self.run for folder in folders):  # a fine-tuning's first phase is a run of its own
            told = {name: value for name, value in self.facts.items() if value is not None}
            with replacing(self.run / CONFIG) as path:
                path.write_text(yaml.safe_dump(told, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _resume_command(run: Path) -> str:
    devices = launch.devices_started()
    return f"lamina train --resume --output {shlex.quote(str(run))}" + (f" --devices {devices}" if devices else "")


def train(data: str | None, options: TrainOptions) -> None:
    """Trains, then prints the accuracy of the best model (see `opening.model_file`) and the report's path; or cross-validates.

    What is wrong with the options is said before the data is read. Ctrl-C is a KeyboardInterrupt that tells what there is.
    """
    if options.folds is not None and options.fold is None:
        from lamina.cli import folds

        folds.train(data, options)
        return
    with launch.interrupted("before training began; nothing was saved"):
        splits = trained(data, options)
    world = World.current()
    with launch.interrupted(
        f"after training, whose run is whole in {options.output}; its report: lamina report {options.output}"
    ):
        world.leave()
        if world.is_main:  # what is left to do, one does
            _tell(splits, options)


def trained(data: str | None, options: TrainOptions, *, begins: Callable[[], None] = lambda: None) -> Any:
    """Trains, after `begins` where options and data are right; returns the data's splits."""
    options.check(processes=World.join(options.device).size)
    recipe = None if options.recipe is None else recipes.get(options.recipe)
    began = opening.read_config(options.output) if options.resume and (options.output / CONFIG).exists() else {}
    name = data or (recipe.data if recipe else None) or began.get("data")
    if name is None and options.resume:
        raise UnknownNameError(
            f"{options.output} holds no run to go on with.",
            "The folder of a run holds config.yaml, which names its data.",
            "Name it: lamina train --resume --output FOLDER.",
        )
    if name is None:
        raise UnknownNameError("train came without DATA.", "It trains on pictures.", "Try: lamina train mnist.")
    splits = opening.limited(opening.open_data(name, options.format, options.known_task()), options.limit)
    splits = opening.strict(splits) if options.on_bad == "raise" else splits
    asked, options = options, options.for_task(splits.task)
    annotated = splits.task in ANNOTATED
    model = recipe.network if recipe else opening.lasting_model(str(options.model))
    facts = {
        "data": opening.lasting_data(name),
        "format": options.format,
        "task": splits.task if annotated else None,
        "size": options.size,
        "limit": options.limit,
        "folds": options.folds,
        "fold": options.fold,
        "recipe": options.recipe,
        "model": model,
        "backbone": options.backbone,
        "asked": lasting(asked),
    }
    if began:
        began["data"] = opening.lasting_data(str(began.get("data")))
        began["model"] = opening.lasting_model(str(began.get("model")))
    for fact in ("data", "task", "size", "limit", "folds", "fold", "recipe", "model", "backbone"):
        if began and began.get(fact) != facts[fact]:
            raise UnknownNameError(
                f"The run in {options.output} has {fact} {began.get(fact)!r}, and {facts[fact]!r} came.",
                "A run goes on with what it began with.",
                "Give the same, or another --output.",
            )
    print(f"Data: {name}: {_counts(splits)}")
    if not annotated:
        inputs.refuse_annotated(splits)
    if opening.is_multi_label(splits):
        _refuse_one_label(options)
        print("The pictures have several labels each: a network of a yes or no for each class.")
    if options.limit is not None and options.limit < len(splits.classes) and not annotated:
        raise UnknownNameError(
            f"--limit {options.limit} came, and {name} has {len(splits.classes)} classes.",
            "Training needs at least one picture of each class.",
            f"Use --limit {10 * len(splits.classes)} or more for a quick try.",
        )
    if options.fold is not None and options.folds is not None:
        splits = opening.fold_of(splits, options.fold, options.folds)
        print(f"{_counts(splits)}, of which the {len(splits.validation):,} are fold {options.fold}")
    callbacks = [Remember(options.output, facts), FailOnNaN()]
    begins()
    if recipe is not None:
        recipe.fit(
            splits,
            seed=options.seed,
            epochs=options.epochs,
            run=options.output,
            resume=options.resume,
            callbacks=callbacks,
            runtime=options.runtime(),
            checkpoint_every=options.checkpoint_every,
            log_every=options.log_every,
        )
    elif annotated:
        dense.train(splits, replace(options, model=model), callbacks)
    else:
        _train(splits, model, options, callbacks)
    return splits


def _tell(splits: Any, options: TrainOptions) -> None:
    """Prints what the trained model reaches, and writes the report."""
    classifier = opening.open_model(options.output)
    if isinstance(classifier, AnnotatedModel):
        _tell_annotated(classifier, splits, options)
        return
    balanced = options.balance is not None and not classifier.multi_label
    own: Any = ["accuracy", "balanced_accuracy"] if balanced else ()
    classifier.compile(metrics=own, device=options.device, precision=options.precision)
    _name_model(options)
    split, held = opening.part_of(splits, classifier)
    label = "Training" if split == "train" else split.capitalize()
    figures = classifier.evaluate(held)
    if classifier.multi_label:
        share = f"{100 * figures['accuracy']:.2f} % of all labels right"
        print(f"{label}: {share}, mean F1 of the classes {figures['f1']:.4f}, of {len(held):,} pictures")
        print(report(options.output, None, format=None, classifier=classifier, splits=splits))
        return
    share = f"accuracy: {100 * figures['accuracy']:.2f} %"
    if balanced:
        share = f"balanced accuracy: {100 * figures['balanced_accuracy']:.2f} % ({share.replace(':', '')})"
    print(f"{label} {share} of {len(held):,} pictures")
    print(report(options.output, None, format=None, classifier=classifier, splits=splits))


def _tell_annotated(model: AnnotatedModel, splits: Any, options: TrainOptions) -> None:
    model.compile(device=options.device, precision=options.precision)
    _name_model(options)
    split, held = opening.part_of(splits, model)
    beside = explain.beside_truth(model, held)
    print(dense.told(split, beside))
    print(report(options.output, None, format=None, classifier=model, splits=splits, beside=beside))


def _name_model(options: TrainOptions) -> None:
    best = opening.model_file(options.output)
    print(f"Model: {best}, {'the epoch with the lowest val_loss' if best.stem == 'best' else 'the last epoch'}")


def as_begun(data: str | None, options: TrainOptions, *, given: Container[str]) -> tuple[str | None, TrainOptions]:
    """DATA and the options that the run to go on with began with, but for those `given` now; where nobody names a run, this folder's."""
    here = Path.cwd()
    folder = here if "output" not in given and _is_run(here) else options.output
    config = opening.read_config(folder) if (folder / CONFIG).is_file() else {}
    asked = {name: value for name, value in config.get("asked", {}).items() if name not in given}
    return data or config.get("data"), replace(options, output=folder, fold=config.get("fold"), **asked)


def lasting(options: TrainOptions) -> dict[str, Any]:
    """The options that were given, as they are found from any working directory."""
    told = options.told()
    if options.model is not None:
        told["model"] = opening.lasting_model(options.model)
    return told if options.weights is None else {**told, "weights": options.borrows()}


def _is_run(folder: Path) -> bool:
    """Whether a run can go on in a folder, or begin anew by its config: killed early, of folds, in a fine-tuning's first phase."""
    if any((folder / name).is_file() for name in (CHECKPOINT, PREVIOUS)):
        return True
    try:
        return isinstance(opening.read_config(folder).get("asked"), dict)
    except LaminaError:  # none, or another program's
        return False


def _train(splits: Any, model: str, options: TrainOptions, callbacks: list[Callback]) -> None:
    torch.manual_seed(options.seed)
    some = splits.train or splits.validation or splits.test
    if "network" in options.tuned:
        made: Any = tunable_cnn.network(options.tuned["network"], some, len(splits.classes))
    else:
        made = opening.network(model, num_classes=len(splits.classes), in_channels=lambda: inputs.channels_of(some))
    borrows = options.borrows()
    several = opening.is_multi_label(splits)
    classifier = Classifier(made, pretrained=borrows, multi_label=several)
    if options.size is not None:
        size, known = parse_size(options.size), classifier.preprocess
        preprocess = replace(known, size=size) if known else inputs.sized_preprocess(some, made, size)
        classifier = Classifier(made, pretrained=borrows, preprocess=preprocess, multi_label=several)
    settings = {
        **options.tuned,
        "optimizer": options.optimizer or "adamw",
        "lr": options.lr,
        "schedule": options.schedule,
    }
    compiled = tunable_cnn.compiled(settings)
    if several:
        del compiled["loss"]  # a Classifier's own
    if options.balance is not None:
        compiled["metrics"] = ["accuracy", "balanced_accuracy"]
    classifier.compile(**compiled, runtime=options.runtime(), update=options.update())
    told: dict[str, Any] = {
        "epochs": options.epochs or 5,
        "seed": options.seed,
        "augment": options.augmentations(),
        "balance": options.balance,
        "run": options.output,
        "resume": options.resume,
        "checkpoint_every": options.checkpoint_every,
        "log_every": options.log_every,
        "callbacks": callbacks,
    }
    if borrows:
        freeze_epochs = 1 if options.freeze_epochs is None else options.freeze_epochs
        classifier.fine_tune(splits, batch_size=options.batch_size or 32, freeze_epochs=freeze_epochs, **told)
    else:
        classifier.fit(splits, batch_size=options.batch_size or 128, **told)


def _refuse_one_label(options: TrainOptions) -> None:
    """Raises UnknownNameError for an option that means nothing where pictures have several labels."""
    named = {f"--{name}": getattr(options, name) for name in ("balance", "recipe")}
    named |= {f"{name} of the config": value for name, value in options.tuned.items() if name != "network"}
    for name, value in named.items():
        if value is not None:
            raise UnknownNameError(
                f"{name} {value} came, and the pictures have several labels each.",
                "It is for pictures that have one label each.",
                "Leave it out.",
            )


def evaluate(
    path: Path, data: str | None, *, split: str | None, format: str | None, model: str | None, tta: str | None = None
) -> dict[str, Any]:
    """Which pictures were measured (split, held_out, pictures), and the loss and metrics of a model file on them.

    A run without `data` is measured on its own. With `tta` (see lamina.models.tta) its figures too, and the gain.
    """
    if tta is not None:
        views.get(tta)
    run = opening.run_of(path)
    config = {} if run is None else opening.read_config(run)
    if data is None and run is None and path.exists():
        raise UnknownNameError(
            f"evaluate came without DATA, and {path} lies in no run's folder.",
            "A run remembers its data, and a bare model file does not.",
            f"Name the pictures: lamina evaluate {path} DATA.",
        )
    opened = opening.open_model(path, model)
    if data is None:
        assert run is not None  # a path that is not there has been refused
        # Of a few pictures for a quick try all are measured; folds of those few are no folds of all.
        told_by = config if "fold" in config else {**config, "limit": None}
        splits = opening.run_data(run, told_by, command="evaluate")
        data = str(config["data"])
    else:
        splits = opening.open_data(data, format, getattr(opened, "task", None))
    if config:  # a run on some of the data held out some of those
        trained_on = opening.limited(splits, config.get("limit"))
        held_out = opening.is_held_out(opening.part_of(trained_on, opened)[0], trained_on)
        same = opening.lasting_data(str(config.get("data"))) == opening.lasting_data(data)
        if same and held_out and split != "train":
            splits = trained_on
    name, part = opening.part_of(splits, opened, split)
    told = {"split": opening.label_of(name, splits), "held_out": opening.is_held_out(name, splits)}
    if isinstance(opened, AnnotatedModel) and tta is None:
        return {**told, "pictures": len(part), "beside": explain.beside_truth(opened, part)}
    told |= (
        {"pictures": len(part)}
        if isinstance(opened, AnnotatedModel)
        else {"pictures": len(part), **opened.evaluate(part)}
    )
    if tta is None:
        return told
    if not hasattr(opened, "predict_probs"):
        raise LaminaError(
            f"{path} holds a {type(opened).__name__}.", "--tta averages the classes of pictures.", "Leave --tta out."
        )
    told["tta"] = {"name": tta, **opened.evaluate(part, tta=tta)}
    return {**told, "gain": beside(tta, told).gain}


def beside(tta: str, told: Mapping[str, Any]) -> Comparison:
    """The figures that `evaluate` told, of one view and of several."""
    several = {name: value for name, value in told["tta"].items() if name != "name"}
    return Comparison(["one view", tta], [{name: told[name] for name in several}, several])


def report(
    path: Path,
    data: str | None,
    *,
    format: str | None,
    model: str | None = None,
    classifier: Any = None,
    splits: Any = None,
    beside: Any = None,
) -> Path:
    """Writes a run's report.html into its folder, or NAME-report.html of a model file into this one; returns its path."""
    bare = path.is_file()
    run = opening.run_of(path) if bare else path
    config = {} if run is None else opening.read_config(run)
    classifier = opening.open_model(path, model) if classifier is None else classifier
    curves = None if run is None else run / "results.csv"
    told: dict[str, Any] = {
        "path": Path(f"{path.stem}-{REPORT}") if bare else path / REPORT,
        "history": curves if curves is not None and curves.exists() else None,
        "settings": {name: value for name, value in config.items() if name != "asked"},  # which tells the same again
        "run": run,
    }
    if isinstance(classifier, Regressor):
        return _report_of_numbers(path, data, classifier, told)
    if splits is None and data is None and run is None:
        raise UnknownNameError(
            f"report came without DATA, and {path} lies in no run's folder.",
            "A run remembers its data, and a bare model file does not.",
            f"Name the pictures: lamina report {path} DATA.",
        )
    if splits is None:
        task = getattr(classifier, "task", None)
        splits = opening.open_data(data, format, task) if data is not None else opening.run_data(run or path, config)
    split, part = opening.part_of(splits, classifier)
    name = opening.lasting_data(data or config.get("data", "data"))
    return explain.report(
        classifier,
        part if isinstance(classifier, AnnotatedModel) else classifier.memorised(part),
        title=f"{classifier.name} on {Path(name).name} ({opening.label_of(split, splits)})",
        beside=beside,
        **told,
    )


def _report_of_numbers(path: Path, data: str | None, regressor: Regressor, told: dict[str, Any]) -> Path:
    if data is None:
        raise DataError(
            "report came without DATA, and the model is a regressor.",
            f"A CSV was expected, with these columns: file, {', '.join(regressor.names or ())}.",
            f"Name it: lamina report {path} numbers.csv.",
        )
    return explain.report(regressor, data, title=f"{regressor.name} on {Path(data).name}", **told)


def _counts(splits: Any) -> str:
    parts = [
        f"{len(getattr(splits, name)):,} {name}" for name in ("train", "validation", "test") if getattr(splits, name)
    ]
    return f"{', '.join(parts)} pictures of {len(splits.classes)} classes"
