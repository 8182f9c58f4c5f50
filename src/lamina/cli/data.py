"""`lamina data`: look at pictures and what is known of them, and at a data set in numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.commands import Data, Json, app
from lamina.cli.helping import Commands

data_app = typer.Typer(name="data", cls=Commands, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, help="Look at data: pictures, numbers.", short_help="Look at data: pictures, numbers.")

Format = Annotated[str | None, typer.Option(metavar="NAME", help="How DATA is stored. Recognised otherwise.")]
Task = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of several kinds of annotations: detection, keypoints, captioning ..."),
]


@data_app.command(short_help="A sheet of samples with what is known of them.")
def show(
    data: Data,
    part: Annotated[
        str | None, typer.Option(metavar="NAME", help="train, validation, test ... [default: the first]")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="So many samples. [default: 12]")] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Show each before and after: names as for `lamina train`, or usual for what usually helps.",
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(min=64, max=2048, metavar="PX", help="The longer side of each: more for small things.")
    ] = 256,
    seed: Annotated[int, typer.Option(help="Another number shows other samples.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The picture that is written.")] = Path(
        "samples.png"
    ),
    format: Format = None,
    task: Task = None,
) -> None:
    """Write a picture of samples with their labels, boxes, masks, points or captions."""
    from lamina.core.errors import UnknownNameError
    from lamina.core.files import replacing
    from lamina.data import looking

    if output.suffix.lower() != ".png":
        raise UnknownNameError(f"--output is {output}.", "A name that ends in .png was expected.", "Pass samples.png.")
    found = looking.opened_or_loose(data, format=format, task=task)
    sheet = looking.show(found, count, part=part, augment=augment, seed=seed, side_px=size)
    with replacing(output) as writing:
        sheet.save(writing, "PNG")
    typer.echo(str(found))
    typer.echo(str(output))


@data_app.command(short_help="Counts, balance, sizes, colours, copies.")
def info(
    data: Data,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Draw the balance of the classes into a .png.")
    ] = None,
    format: Format = None,
    task: Task = None,
    as_json: Json = False,
) -> None:
    """What a data set holds: pictures, balance of the classes, sizes, colours, copies, format, licence."""
    from lamina.core.errors import UnknownNameError
    from lamina.core.files import replacing
    from lamina.data import facts

    if output is not None and output.suffix.lower() != ".png":
        raise UnknownNameError(f"--output is {output}.", "A name that ends in .png was expected.", "Pass balance.png.")
    told = facts.info(data, format=format, task=task)
    if as_json:
        typer.echo(json.dumps(told.to_dict(), indent=2))
    else:
        _print(str(told))
    if output is not None:
        figure = told.figure()
        with replacing(output) as writing:
            figure.savefig(writing, dpi=120, format="png")


def _print(text: str) -> None:
    """Prints what a terminal may have no letters for."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:  # a terminal without blocks, or names in letters that it lacks
        text = text.replace("█", "#").encode(encoding, "replace").decode(encoding)
    typer.echo(text)
