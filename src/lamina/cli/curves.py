"""`lamina curves`: the learning curves of runs laid over each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.commands import app


@app.command(short_help="Learning curves of several runs in one picture.")
def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or their results.csv.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .png, .svg or .pdf.")] = Path(
        "curves.png"
    ),
) -> None:
    """Loss and metrics of several runs over the epochs, laid over each other; validation as lines, training faint."""
    from lamina import explain
    from lamina.core.errors import DataError
    from lamina.core.files import replacing

    kind = output.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise DataError(
            f"The picture is to be {output}.", "Its name ends in .png, .svg or .pdf.", "Try: -o curves.png."
        )
    figure = explain.overlaid_figure([run.parent if run.name == "results.csv" else run for run in runs])
    with replacing(output) as path:
        figure.savefig(path, format=kind, dpi=150)
    typer.echo(output)
