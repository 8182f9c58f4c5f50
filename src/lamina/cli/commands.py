"""The commands and their options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import lamina
from lamina.cli import early
from lamina.cli.helping import ByTopic, Commands

app = typer.Typer(
    name="lamina",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_DATA = (
    "A name (see `lamina datasets`); a folder, zip or tar, with a folder of pictures for each class, with train/ and val/ (or "
    "valid/) and test/ that each hold such folders, or in another known format; or a table (CSV) of pictures and labels."
)
_HELD_OUT = " Where there is no val/, a tenth of the training pictures is held out."
Data = Annotated[str, typer.Argument(metavar="DATA", help=_DATA)]
ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A model file, or a run folder (its best model, without validation its last).",
        callback=early.model_there,
    ),
]
Format = Annotated[
    str | None, typer.Option(help="How DATA is stored: image_folder, table, idx ... Recognised otherwise.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Function = Annotated[
    str | None,
    typer.Option("--model", help="FILE.py:NAME that made the network, where a bare file cannot describe it."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
NETWORKS = "A network (see `lamina models`), timm/NAME of timm's, or FILE.py:NAME, your own class or function."


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lamina {lamina.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Deep networks for images: train, measure, look, use."""


_MODEL, _STEPS, _RUN, _WHERE, _SEVERAL = "Network and pictures", "Training", "The run", "Device", "Several processes"


def _option(topic: str, text: str, *names: str, metavar: str | None = None, **limits: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=topic, metavar=metavar, **limits)


@app.command(cls=ByTopic, short_help="Train a model; curves, models and report into --output.")
def train(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=_DATA + _HELD_OUT)] = None,
    model: Annotated[
        str | None, _option(_MODEL, f"{NETWORKS} [deepconvnet; retinanet of boxes, unet of maps]", metavar="NAME")
    ] = None,
    task: Annotated[
        str | None,
        _option(
            _MODEL, "What to learn: classification, detection, segmentation. [as DATA is annotated]", metavar="NAME"
        ),
    ] = None,
    backbone: Annotated[
        str | None, _option(_MODEL, "The network below a detector or segmenter. [its usual one]", metavar="NAME")
    ] = None,
    recipe: Annotated[
        str | None,
        _option(_MODEL, "Tuned settings, in place of --model, --optimizer, --lr ...", metavar="NAME"),
    ] = None,
    pretrained: Annotated[
        bool,
        _option(
            _MODEL, "Begin with published weights, fine-tuned: the new class layer first, then all.", "--pretrained"
        ),
    ] = False,
    weights: Annotated[
        str | None,
        _option(_MODEL, "Begin with these weights: a published name, or a file. [the best]", metavar="NAME|FILE"),
    ] = None,
    freeze_epochs: Annotated[
        int | None,
        _option(_MODEL, "Train only the new class layer for so long, before --epochs. [1]", metavar="N", min=0),
    ] = None,
    size: Annotated[
        str | None,
        _option(_MODEL, "Resize pictures to 96 px, or 96x128 (height x width). [as the network]", metavar="PX"),
    ] = None,
    augment: Annotated[
        str | None,
        _option(
            _MODEL,
            "Change pictures anew each epoch; some of flip, crop, zoom, rotate, affine, color, grayscale, erase, cutout, "
            "mixup, cutmix, trivial, rand, augmix, with commas between; with boxes and maps also mosaic, or usual alone. [none]",
            metavar="NAMES",
        ),
    ] = None,
    balance: Annotated[
        str | None,
        _option(
            _MODEL,
            "Have rare classes count as much as frequent ones: weights or effective of their losses, or other pictures "
            "an epoch: sample, under or over. [none]",
            metavar="NAME",
        ),
    ] = None,
    limit: Annotated[
        int | None, _option(_MODEL, "Use this many pictures only, for a quick try.", metavar="N", min=1)
    ] = None,
    format: Annotated[
        str | None,
        _option(_MODEL, "How DATA is stored: image_folder, table, idx, imagenet ... [recognised]", metavar="NAME"),
    ] = None,
    epochs: Annotated[
        int | None, _option(_STEPS, "Passes over the data. [5, or the recipe's]", metavar="N", min=1)
    ] = None,
    batch_size: Annotated[
        int | None,
        _option(_STEPS, "Pictures an update. [128, of --pretrained 32, of boxes and maps 16]", metavar="N", min=1),
    ] = None,
    lr: Annotated[float | None, _option(_STEPS, "Learning rate. [the optimizer's]", metavar="RATE")] = None,
    optimizer: Annotated[
        str | None, _option(_STEPS, "sgd, adam, adamw, rmsprop, muon ... [adamw]", metavar="NAME")
    ] = None,
    schedule: Annotated[
        str | None,
        _option(_STEPS, "How the rate moves: one_cycle, cosine, step, plateau ... [constant]", metavar="NAME"),
    ] = None,
    accumulate: Annotated[
        int | None, _option(_STEPS, "Batches an update is made from. [1]", metavar="N", min=1)
    ] = None,
    clip_norm: Annotated[float | None, _option(_STEPS, "Clip gradients to this norm. [not]", metavar="NORM")] = None,
    average: Annotated[
        str | None, _option(_STEPS, "Evaluate and keep averaged weights: ema, swa or wise. [none]", metavar="NAME")
    ] = None,
    on_bad: Annotated[
        str | None,
        _option(_STEPS, "Unreadable pictures: replace (by others, and name them), or raise. [replace]", metavar="NAME"),
    ] = None,
    seed: Annotated[int, _option(_STEPS, "The same seed gives the same run.", metavar="N")] = 0,
    folds: Annotated[
        int | None,
        _option(_STEPS, "Cross-validate: a run for each of N parts, measured on it. [none]", metavar="N", min=2),
    ] = None,
    config: Annotated[
        Path | None,
        _option(_STEPS, "A file of these settings, such as the best.yaml of `lamina tune`.", metavar="FILE"),
    ] = None,
    output: Annotated[Path, _option(_RUN, "The run's folder.", "--output", "-o", metavar="FOLDER")] = Path(
        "runs/train"
    ),
    resume: Annotated[
        bool,
        _option(
            _RUN, "Go on with the run in --output (or in this folder), with the options it began with.", "--resume"
        ),
    ] = False,
    checkpoint_every: Annotated[
        int | None,
        _option(_RUN, "Save what --resume needs every N steps too. [every 10 minutes]", metavar="N", min=1),
    ] = None,
    log_every: Annotated[
        int | None, _option(_RUN, "Write steps.csv and gradients.csv, a row every N steps. [none]", metavar="N", min=1)
    ] = None,
    device: Annotated[str, _option(_WHERE, "auto, cpu, cuda, mps.", metavar="NAME")] = "auto",
    precision: Annotated[str, _option(_WHERE, "auto, float32, bfloat16, float16.", metavar="NAME")] = "auto",
    deterministic: Annotated[
        bool, _option(_WHERE, "Bit-equal runs on a GPU too, at a price in speed.", "--deterministic")
    ] = False,
    compile: Annotated[bool, _option(_WHERE, "Let torch compile the network.", "--compile")] = False,
    reduce_overhead: Annotated[
        bool,
        _option(_WHERE, "The same, and a GPU replays the steps of a small network as graphs.", "--reduce-overhead"),
    ] = False,
    devices: Annotated[
        int | None,
        _option(_SEVERAL, "Train on N devices of this machine, a process each. [1]", metavar="N", min=1),
    ] = None,
    shard: Annotated[
        bool, _option(_SEVERAL, "Spread the network over them, where one cannot hold it.", "--shard")
    ] = False,
    sync_batchnorm: Annotated[
        bool, _option(_SEVERAL, "BatchNorm sees the pictures of all.", "--sync-batchnorm")
    ] = False,
    max_restarts: Annotated[
        int,
        _option(_SEVERAL, "Go on from the last checkpoint so often when one is lost.", metavar="N", min=0),
    ] = 0,
) -> None:
    """Train a classifier, detector or segmenter; writes config, curves, best and last model and a report into --output."""
    from lamina.cli import launch

    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    early.check_options(
        model=model,
        task=task,
        backbone=backbone,
        recipe=recipe,
        balance=None if balance == "none" else balance,
        augment=augment,
        optimizer=optimizer,
        schedule=schedule,
        average=average,
        format=format,
        precision=precision,
    )
    with launch.interrupted("before training began; nothing was saved"):
        alone = devices is None or launch.is_started()
        restarted = alone and launch.join(device, devices)
        from lamina.cli import tune as tuning
        from lamina.cli import work
        from lamina.cli.options import TrainOptions

        options = TrainOptions(
            model=model,
            task=task,
            backbone=backbone,
            recipe=recipe,
            pretrained=pretrained,
            weights=weights,
            freeze_epochs=freeze_epochs,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            optimizer=optimizer,
            schedule=schedule,
            accumulate=accumulate,
            clip_norm=clip_norm,
            average=average,
            augment=augment,
            balance=balance,
            on_bad=on_bad,
            seed=seed,
            folds=folds,
            size=size,
            limit=limit,
            output=output,
            format=format,
            resume=resume or restarted,
            checkpoint_every=checkpoint_every,
            log_every=log_every,
            device=device,
            precision=precision,
            deterministic=deterministic,
            compile=compile,
            reduce_overhead=reduce_overhead,
            shard=shard,
            sync_batchnorm=sync_batchnorm,
        )
        if resume:
            data, options = work.as_begun(data, options, given=given)
        if config is not None:
            data, options = tuning.config_to_options(config, data, options, given=given)
        if not alone:
            options.check(processes=devices or 1)
    if not alone:
        raise typer.Exit(launch.start(devices or 1, device, max_restarts=max_restarts))
    work.train(data, options)
    if config is not None and options.folds is None:
        tuning.compare(config, output)


@app.command(short_help="Find the settings of a CNN for DATA.")
def tune(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help=f"{_DATA} With --resume the search's own."),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all. [default: 20]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data in a trial. [default: 5]")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use this many pictures only.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The search's folder.")] = Path("runs/tune"),
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same trials. [default: 0]")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.0, help="Minutes after which no epoch begins.")] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Pixels that pictures are resized to: 96, or 96x128 (height x width). [default: their own]"),
    ] = None,
    format: Format = None,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --output, also beside a process that is at it.")
    ] = False,
) -> None:
    """Find the settings of a CNN for DATA; writes best.yaml, for `lamina train --config`, and pictures into --output."""
    from lamina.cli import tune as tuning

    options = tuning.TuneOptions(
        data=data,
        trials=trials,
        epochs=epochs,
        limit=limit,
        seed=seed,
        format=format,
        output=output,
        timeout_min=timeout,
        size=size,
        device=device,
        resume=resume,
    )
    tuning.tune(options)


@app.command(short_help="Figures of a model on pictures.")
def evaluate(
    path: ModelFile,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=f"{_DATA} A run of `lamina train` has its own.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, validation or test. [default: test, else validation, else what training held out]"),
    ] = None,
    tta: Annotated[
        str | None, typer.Option(help="Also by several views of each picture: ten-crop, multi-scale, flip or shift.")
    ] = None,
    format: Format = None,
    model: Function = None,
    as_json: Json = False,
) -> None:
    """Loss and accuracy of a model on pictures that it was not trained on.

    Of a detector COCO's twelve numbers, a table of the classes and what went wrong; of a segmenter IoU and accuracy of each class.
    """
    early.check_options(format=format, tta=tta)
    from lamina.cli import work

    figures = work.evaluate(path, data, split=split, format=format, model=model, tta=tta)
    beside = figures.pop("beside", None)
    if as_json:
        typer.echo(json.dumps(figures if beside is None else {**figures, **beside.to_dict()}))
        return
    held = ", held out by training" if figures.pop("held_out") else ""
    told, count = f"{figures.pop('split')}{held}", f"{figures.pop('pictures'):,}"
    typer.echo(f"{'split':12s} {told}: {count}" + " pictures" * ("pictures" not in told))
    if beside is not None:
        typer.echo(str(beside))
    if tta is not None:
        typer.echo(str(work.beside(tta, figures)))
        return
    for name, value in figures.items():
        typer.echo(f"{name:12s} {100 * value:.2f} %" if "accuracy" in name else f"{name:12s} {value:.4f}")


# Commands of their own files, which need the app.
from lamina.cli import (  # noqa: E402, F401
    calibrate,
    card,
    check,
    compare,
    curves,
    ensemble,
    explain,
    export,
    find_lr,
    listings,
    predict,
    profile,
    serve,
    shards,
)
from lamina.cli import data as _data  # noqa: E402, F401
