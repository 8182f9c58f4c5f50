"""The commands and their options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import lamina

app = typer.Typer(
    name="lamina",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[
    str, typer.Argument(help="A named data set (see `lamina datasets`), an IDX folder, or a folder per class.")
]
ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A model file, or a run folder (its best model, without validation its last)."
    ),
]
Format = Annotated[str | None, typer.Option(help="How DATA is stored: idx or image_folder. Recognised otherwise.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Function = Annotated[
    str | None,
    typer.Option("--model", help="FILE.py:function that made the network, where a bare file cannot describe it."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]


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


@app.command()
def train(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(help="A named data set, an IDX folder, or a folder per class.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A network (see `lamina models`), or FILE.py:function. [default: deepconvnet]")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Tuned settings, in place of --model, --optimizer, --lr ...")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data. [default: 5, or the recipe's]")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures an update. [default: 128]")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate. [default: the optimizer's]")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, adam, adamw, rmsprop, muon ... [default: adamw]")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="How the rate moves: one_cycle, cosine, step, plateau ... [default: constant]")
    ] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="Batches an update is made from. [default: 1]")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Clip gradients to this norm. [default: not]")] = None,
    average: Annotated[
        str | None, typer.Option(help="Evaluate and keep averaged weights: ema or swa. [default: none]")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    size: Annotated[
        str | None,
        typer.Option(
            help="Pixels that pictures are resized to: 96, or 96x128 (height x width). [default: the network's]"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use this many pictures only, for a quick try.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")] = Path("runs/train"),
    format: Format = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --output (or in this folder), with the options it began with."
        ),
    ] = False,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Save what --resume needs every so many steps. [default: 10 minutes]")
    ] = None,
    log_every: Annotated[
        int | None, typer.Option(min=1, help="Write steps.csv, a row every so many steps. [default: none]")
    ] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")] = "auto",
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Bit-equal runs on a GPU too, at a price in speed.")
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Let torch compile the network.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="A file of these settings, such as the best.yaml of `lamina tune`.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Train on this many devices of this machine, a process each. [default: 1]")
    ] = None,
    shard: Annotated[
        bool, typer.Option("--shard", help="With several: spread the network over them, where one cannot hold it.")
    ] = False,
    sync_batchnorm: Annotated[
        bool, typer.Option("--sync-batchnorm", help="With several: BatchNorm sees the pictures of all.")
    ] = False,
    max_restarts: Annotated[
        int, typer.Option(min=0, help="With --devices: how often to go on from the last checkpoint when one is lost.")
    ] = 0,
) -> None:
    """Train a classifier; writes config, curves, best and last model and a report into --output."""
    from lamina.cli import launch

    if devices is not None and not launch.is_started():
        raise typer.Exit(launch.start(devices, device, max_restarts=max_restarts))
    restarted = launch.join(device, devices)
    from lamina.cli import tune as tuning
    from lamina.cli import work
    from lamina.training import Interrupted

    options = work.TrainOptions(
        model=model,
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        optimizer=optimizer,
        schedule=schedule,
        accumulate=accumulate,
        clip_norm=clip_norm,
        average=average,
        seed=seed,
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
        shard=shard,
        sync_batchnorm=sync_batchnorm,
    )
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    if resume:
        data, options = work.as_begun(data, options, given=given)
    if config is not None:
        data, options = tuning.config_to_options(config, data, options, given=given)
    try:
        work.train(data, options)
        if config is not None:
            tuning.compare(config, output)
    except Interrupted as interrupt:
        typer.echo(str(interrupt), err=True)
        raise typer.Exit(130) from None


@app.command()
def tune(
    data: Annotated[
        str | None,
        typer.Argument(help="A named data set, an IDX folder, or a folder per class; with --resume its own."),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all. [default: 20]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data in a trial. [default: 5]")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use this many pictures only.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The search's folder.")] = Path("runs/tune"),
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same trials. [default: 0]")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.0, help="Minutes after which no epoch begins.")] = None,
    format: Format = None,
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
        resume=resume,
    )
    try:
        tuning.tune(options)
    except KeyboardInterrupt as interrupt:
        typer.echo(str(interrupt) or "Stopped by Ctrl-C.", err=True)
        raise typer.Exit(130) from None


@app.command()
def evaluate(
    path: ModelFile,
    data: Data,
    split: Annotated[
        str | None,
        typer.Option(help="train, validation or test. [default: test, else validation, else what training held out]"),
    ] = None,
    format: Format = None,
    model: Function = None,
    as_json: Json = False,
) -> None:
    """Loss and accuracy of a model on pictures that it was not trained on."""
    from lamina.cli import work

    figures = work.evaluate(path, data, split=split, format=format, model=model)
    if as_json:
        typer.echo(json.dumps(figures))
        return
    held = ", held out by training" if figures.pop("held_out") else ""
    typer.echo(f"{'split':12s} {figures.pop('split')}{held}: {figures.pop('pictures'):,} pictures")
    for name, value in figures.items():
        typer.echo(f"{name:12s} {100 * value:.2f} %" if "accuracy" in name else f"{name:12s} {value:.4f}")


@app.command()
def predict(
    path: ModelFile,
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    model: Function = None,
    as_json: Json = False,
) -> None:
    """The class of each picture, with its probability and the next most probable ones.

    A picture that cannot be read is named on stderr, the others are answered, and the exit code is 1.
    """
    from lamina.cli import work

    listed, broken = [], 0
    for source, answer in work.predict(path, images, model=model):
        failed = isinstance(answer, Exception)
        broken += failed
        if as_json:
            listed.append({"source": source, "error": str(answer)} if failed else answer.to_dict())
        elif failed:
            typer.echo(str(answer), err=True)
        else:
            typer.echo(str(answer))
            for label, probability in answer.top(5):
                typer.echo(f"    {100 * probability:6.2f} %  {label}")
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
    if broken:
        raise typer.Exit(1)


@app.command()
def summary(
    model: Annotated[str, typer.Argument(help="A network's name, a model file, a run folder, or FILE.py:function.")],
    input_shape: Annotated[str | None, typer.Option(help="Channels, height, width, such as 1,28,28.")] = None,
    as_json: Json = False,
) -> None:
    """The layers with shapes, parameters, multiply-adds and receptive fields."""
    from lamina.cli import work

    table = work.summary(model, input_shape)
    if as_json:
        typer.echo(json.dumps(table.to_dict(), indent=2))
        return
    from rich.console import Console

    Console().print(table)


@app.command()
def models() -> None:
    """The networks that --model knows, and the recipes."""
    from lamina import networks, recipes

    for name in networks.names():
        typer.echo(f"{name:22s} {networks.headline(name)}")
    for name in recipes.names():
        recipe = recipes.get(name)
        typer.echo(f"{name:22s} recipe: {recipe.network} on {recipe.data}, {recipe.epochs} epochs")


@app.command()
def datasets() -> None:
    """The data sets that can be named."""
    from lamina import data

    for name in data.names():
        typer.echo(name)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    data: Annotated[str | None, typer.Argument(help="Other data than the run's own.")] = None,
    format: Format = None,
) -> None:
    """Write report.html into a run's folder: mistakes, confusion, scores, curves."""
    from lamina.cli import work

    typer.echo(work.report(run, data, format=format))


@app.command()
def env(as_json: Json = False) -> None:
    """Versions, processor and devices, for a bug report."""
    from lamina.cli import work

    facts = work.environment()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name:14s} {_shown(value)}")


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


from lamina.cli import find_lr as _find_lr  # noqa: E402, F401 - a command of its own file, which needs the app
