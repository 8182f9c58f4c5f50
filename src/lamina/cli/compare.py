"""`lamina summary` and `lamina compare`: a network layer by layer, and networks beside one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lamina.cli import early
from lamina.cli.commands import Function, Json, app


@app.command(short_help="The layers with shapes, parameters and multiply-adds.")
def summary(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A network's name, timm/NAME, a model file, a run folder, or FILE.py:NAME."
        ),
    ],
    input_shape: Annotated[str | None, typer.Option(help="Channels, height, width, such as 3,224,224.")] = None,
    function: Function = None,
    as_json: Json = False,
) -> None:
    """The layers with shapes, parameters, multiply-adds and receptive fields."""
    if function is None and not Path(model).exists():
        early.check_network(model)
    from lamina.cli import summaries

    _print(summaries.summary(model, input_shape, model=function), as_json)


@app.command(short_help="Parameters, work, depth and memory of networks, in one table.")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="NETWORK...", help="Names of networks (see `lamina models`).")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the pictures in pixels. [default: each network's own]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Parameters, multiply-adds, layers with weights, receptive field, memory and published accuracy of networks."""
    for name in names:
        early.check_network(name, "backbone")
    from lamina.models import sizes

    _print(sizes.compare(names, size=size), as_json)


def _print(table: Any, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps(table.to_dict(), indent=2))
    else:
        Console().print(table)
