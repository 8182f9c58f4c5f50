"""`lamina profile`: the time of each layer of a network on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lamina.cli.commands import Device, Function, Json, app


@app.command(short_help="Time, work and memory of each layer on this machine.")
def profile(
    named: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A network's name, timm/NAME, a model file, a run folder, or FILE.py:NAME."
        ),
    ],
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 32,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the pictures in pixels. [the model's own]")] = None,
    train: Annotated[bool, typer.Option("--train", help="In training mode, with the backward pass.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Passes that the medians are of.")] = 5,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A bar chart: profile.png.")
    ] = None,
    function: Function = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time, work and memory of each layer for a batch of pictures, in float32, forward and with --train backward."""
    from lamina import explain
    from lamina.cli.explain import check_ending

    if output is not None:
        check_ending(output)
    measured = explain.profile(
        _opened(named, function), batch_size=batch, size=size, train=train, device=device, repeats=repeats
    )
    typer.echo(json.dumps(measured.to_dict(), indent=2) if as_json else str(measured))
    if output is not None:
        written = measured.save(output)
        typer.echo(written, err=as_json)


def _opened(named: str, function: str | None) -> Any:
    from lamina.cli import opening

    if Path(named).exists() and not opening.is_function(named):
        return opening.open_model(Path(named), function)
    return opening.any_network(named, in_channels=lambda: 3)
