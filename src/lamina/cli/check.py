"""The command `lamina check`: what is wrong with data, before anybody trains on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lamina.cli import launch
from lamina.cli.commands import app


@app.command(short_help="Find the faults of pictures and annotations before training.")
def check(
    data: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A folder, zip or tar of any format, loose pictures, or a data set's name."
        ),
    ],
    format: Annotated[str | None, typer.Option(help="How PATH is stored. Recognised otherwise.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Check only these annotations of several: keypoints, captioning ... [default: all]"),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates/--no-duplicates", help="Look for copies, and for leaks from part to part.")
    ] = True,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write all of it as JSON; - prints that in place of the table."),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Find labels that are probably wrong, by training on parts of the data.")
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where --labels writes what it finds.")
    ] = Path("runs/labels"),
    model: Annotated[str, typer.Option(help="The network that --labels trains.")] = "fastconvnet",
    folds: Annotated[int, typer.Option(min=2, help="Parts, for --labels.")] = 4,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data, for --labels.")] = 5,
) -> None:
    """Find what is unreadable (an error), what will be converted, and what is in doubt. Exit code 1 where there are errors.

    Every picture is decoded. Errors: files that are empty, truncated, damaged or no pictures, decompression bombs, boxes without
    area, outside or without a class, masks that do not fit, captions that are empty, broken lines and entries of annotations, pictures
    that they name and that are not there, entries of archives that lead out of them.
    Conversions: CMYK, 16 bits, alpha, palettes, EXIF rotation, wrong endings, colour profiles, animations. Doubts: empty,
    different or very unequal classes, copies, leaks, links.
    """
    if labels:
        from lamina.cli.label_errors import check_labels

        check_labels(data, output=output, format=format, model=model, folds=folds, epochs=epochs, json_file=json_file)
        return
    with launch.interrupted("before all pictures were looked at; nothing was written"):
        report = _looked_at(data, format=format, task=task, duplicates=duplicates)
    if json_file == "-":
        typer.echo(report.to_json())
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(report)
    else:
        typer.echo(str(report))
    if json_file not in (None, "-"):
        report.to_json(json_file)
        typer.echo(json_file)
    raise typer.Exit(report.exit_code)


def _looked_at(data: str, *, format: str | None, task: str | None, duplicates: bool) -> Any:
    """The report, with a bar on a terminal while it is made."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lamina.cli.options import check_name
    from lamina.data.checking import check as checked
    from lamina.data.formats import FORMATS

    check_name("format", format, FORMATS)
    told = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=told, transient=True, disable=not told.is_terminal) as bar:
        job = bar.add_task("pictures", total=None)
        return checked(
            data,
            format=format,
            task=task,
            duplicates=duplicates,
            progress=lambda done, total: bar.update(job, completed=done, total=total),
        )
