"""`lamina curves`: the learning curves of runs laid over each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.commands import app

RESULTS = "results.csv"


@app.command(short_help="Learning curves of several runs in one picture.")
def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or their results.csv.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .png, .svg or .pdf.")] = Path(
        "curves.png"
    ),
) -> None:
    """Loss and metrics of several runs over the epochs, laid over each other; validation as lines, training faint."""
    from lamina.core.errors import DataError

    kind = output.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise DataError(
            f"The picture is to be {output}.", "Its name ends in .png, .svg or .pdf.", "Try: -o curves.png."
        )
    folders = [run.parent if run.name == RESULTS else run for run in runs]
    for folder in folders:
        if not (folder / RESULTS).is_file():
            raise DataError(
                f"{folder} has no {RESULTS}." if folder.is_dir() else f"There is no folder {folder}.",
                f"Folders of runs, or their {RESULTS}, were expected.",
                "Check the path, or train first: lamina train DATA --output FOLDER.",
            )
    from lamina import explain  # after what can be told at once
    from lamina.core.files import replacing

    figure = explain.overlaid_figure(folders)
    with replacing(output) as path:
        figure.savefig(path, format=kind, dpi=150)
    typer.echo(output)
