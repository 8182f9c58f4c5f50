"""The command `lamina find-lr`: which learning rate, and whether one is good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli import early
from lamina.cli.commands import NETWORKS, Data, Device, Format, Json, app


@app.command("find-lr", short_help="Try learning rates for a moment; suggest one.")
def find_lr(
    data: Data,
    model: Annotated[str, typer.Option(help=NETWORKS)] = "deepconvnet",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures an update.")] = 128,
    optimizer: Annotated[str, typer.Option(help="sgd, adam, adamw, rmsprop, muon ...")] = "adamw",
    balance: Annotated[
        str | None, typer.Option(help="As of `lamina train`: weights, effective, sample, under or over.")
    ] = None,
    check: Annotated[
        float | None, typer.Option(help="Judge this rate: too low, good, too high, diverging, or nothing learned.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the curve into this picture.")] = None,
    steps: Annotated[int, typer.Option(min=10, help="Updates of the range test.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same test.")] = 0,
    size: Annotated[
        str | None,
        typer.Option(help="Resize pictures to 96 px, or 96x128 (height x width). [default: as the network]"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use this many pictures only.")] = None,
    format: Format = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")] = "auto",
    as_json: Json = False,
) -> None:
    """Try learning rates for a moment, from tiny to huge; print those that suggest themselves. Nothing is kept."""
    early.check_options(model=model, optimizer=optimizer, balance=balance, format=format, precision=precision)
    import torch

    from lamina import optimizers
    from lamina.cli import dense, opening
    from lamina.cli.options import check_name, parse_size
    from lamina.data.balance import BALANCES
    from lamina.tasks import Classifier
    from lamina.tasks.classification import inputs
    from lamina.training.find_lr import check_picture

    check_name("balance", balance, BALANCES)
    if plot is not None:
        check_picture(plot)
    asked = None if size is None else parse_size(size)
    splits = opening.limited(opening.open_data(data, format), limit)
    dense.refuse(splits.task, "lamina find-lr")
    inputs.refuse_annotated(splits)
    some = splits.train or splits.validation or splits.test
    torch.manual_seed(seed)
    made = opening.network(model, num_classes=len(splits.classes), in_channels=lambda: inputs.channels_of(some))
    preprocess = None if asked is None else inputs.sized_preprocess(some, made, asked)
    classifier = Classifier(made, preprocess=preprocess, multi_label=opening.is_multi_label(splits))
    classifier.compile(optimizers.get(optimizer), device=device, precision=precision)
    found = classifier.find_lr(splits, batch_size=batch_size, steps=steps, check=check, balance=balance, seed=seed)
    if plot is not None:
        found.plot(path=plot)
    typer.echo(json.dumps(found.to_dict()) if as_json else str(found))
    if plot is not None and not as_json:
        typer.echo(plot)
