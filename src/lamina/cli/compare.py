"""`lamina compare`: networks beside one another."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lamina.cli.commands import Json, app


@app.command(short_help="Parameters, work, depth and memory of networks, in one table.")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="NETWORK...", help="Names of networks (see `lamina models`).")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the pictures in pixels. [default: each network's own]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Parameters, multiply-adds, layers with weights, receptive field, memory and published accuracy of networks."""
    from rich.console import Console

    from lamina.models import sizes

    table = sizes.compare(names, size=size)
    if as_json:
        typer.echo(json.dumps(table.to_dict(), indent=2))
    else:
        Console().print(table)
