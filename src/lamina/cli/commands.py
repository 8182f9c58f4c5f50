"""The commands and their options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="lamina",
    help="Deep networks for images: train, measure, look, use.",
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


@app.command()
def train(
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
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Use this many pictures only, for a quick try.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")] = Path("runs/train"),
    format: Format = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16.")] = "auto",
) -> None:
    """Train a classifier; writes config, curves, best and last model and a report into --output."""
    from lamina.cli import work
    from lamina.training import Interrupted

    try:
        work.train(
            data,
            work.TrainOptions(
                model=model,
                recipe=recipe,
                epochs=epochs,
                batch_size=batch_size,
                lr=lr,
                optimizer=optimizer,
                seed=seed,
                limit=limit,
                output=output,
                format=format,
                resume=resume,
                device=device,
                precision=precision,
            ),
        )
    except Interrupted as interrupt:
        typer.echo(str(interrupt), err=True)
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
    """The class of each picture, with its probability and the next most probable ones."""
    from lamina.cli import work

    results = work.predict(path, images, model=model)
    if as_json:
        typer.echo(json.dumps([result.to_dict() for result in results], indent=2))
        return
    for result in results:
        typer.echo(str(result))
        for label, probability in result.top(5):
            typer.echo(f"    {100 * probability:6.2f} %  {label}")


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
