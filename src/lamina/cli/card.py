"""`lamina info` and `lamina publish`: what a model file says of itself, for a person and for the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.commands import Json, ModelFile, app


@app.command(short_help="What a model file says of itself: its card.")
def info(path: ModelFile, as_json: Json = False) -> None:
    """What a model file says of itself: network, classes, preprocessing, data, figures, licence, versions; also an exported one."""
    from lamina.cli import opening
    from lamina.models import card

    told = card.of_export(path) if card.is_export(path) else card.read(opening.model_file(path))
    typer.echo(json.dumps(told.to_dict(), indent=2) if as_json else str(told))


@app.command(short_help="A folder for the Hugging Face Hub; --upload sends it.")
def publish(
    path: ModelFile,
    folder: Annotated[Path, typer.Argument(help="Where model, card and description are written.")],
    title: Annotated[str, typer.Option(help="The card's title. [default: the folder's name]")] = "",
    upload: Annotated[
        str | None,
        typer.Option(metavar="USER/NAME", help="Send the folder to this repository. Nothing is sent without."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Write model file, card and description into a folder for the Hugging Face Hub; send it only with --upload."""
    from lamina.cli import opening
    from lamina.models import publishing

    written = publishing.write_folder(opening.model_file(path), folder, title=title)
    typer.echo(f"{written}: {publishing.MODEL}, {publishing.CARD}, {publishing.CONFIG}")
    if upload is None:
        typer.echo(f"Look at {written / publishing.CARD}; send it with --upload USER/NAME.")
    else:
        typer.echo(publishing.upload(written, upload, private=private))
