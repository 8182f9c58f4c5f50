"""`lamina predict` and `report`: what a model says of pictures, and the page about it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.commands import Format, Function, Json, ModelFile, app


@app.command(short_help="What a model says of pictures or a video.")
def predict(
    path: ModelFile,
    images: Annotated[list[str], typer.Argument(help="Pictures, or folders of pictures; videos.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            help='Below this probability the answer is "none of these". [for several labels, and of boxes: 0.5]'
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            min=1,
            help="Show a segmenter overlapping tiles of so many pixels a side of each picture, which may be larger than memory, "
            "where it sees the whole picture scaled else.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER|VIDEO",
            help="Draw what a detector or segmenter finds into pictures of this folder; of a video into this one: .mp4 plays in "
            "browsers, .mov and .avi are written faster.",
        ),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What to write into the folder, with commas between: drawn; of boxes yolo, coco; of maps maps (PNG, a pixel's value "
            "is its class), coco. [drawn]",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="torch, compiled, onnxruntime, openvino; auto takes the fastest where it pays. [auto]"),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32; bfloat16 or int8 where an engine keeps 99 % of the classes with it, which is told. [float32]"
        ),
    ] = None,
    model: Function = None,
    as_json: Json = False,
) -> None:
    """The class of each picture, with its probability and the next most probable ones of at least 1 %, a line a picture.

    MODEL may be an ensemble, tell several labels or numbers of a picture, or be a detector or segmenter, which takes videos too, a line
    a frame. --json tells the five most probable classes, boxes in pixels, or areas. A picture that cannot be read is named on
    stderr, the others are answered, and the exit code is 1.
    """
    from lamina.cli import early

    early.check_name("engine", engine, ("auto", *(early.keys("export/made_engines.py", "ENGINES") or [str(engine)])))
    early.check_name("precision", precision, early.keys("export/fastest.py", "PRECISIONS") or [str(precision)])
    from lamina.cli import answering

    how = {name: value for name, value in (("engine", engine), ("precision", precision)) if value is not None}
    listed, broken = [], 0
    forms = None if write is None else tuple(name.strip() for name in write.split(","))
    with _told() if output is not None else contextlib.nullcontext():
        for source, answer in answering.predict(
            path, images, model=model, threshold=threshold, tile=tile, output=output, forms=forms, how=how
        ):
            failed = isinstance(answer, Exception)
            broken += failed or answer is None
            if answer is None:
                continue
            if as_json:
                listed.append({"path": source, "error": str(answer)} if failed else answer.to_dict())
            elif failed:
                typer.echo(str(answer), err=True)
            else:
                typer.echo(str(answer))
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
    if broken:
        raise typer.Exit(1)


@app.command(short_help="Write a page on a run or model: mistakes, scores.")
def report(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a model file.")],
    data: Annotated[
        str | None,
        typer.Argument(help="Other data than the run's own, or the model file's; of a regressor a CSV: file, numbers."),
    ] = None,
    format: Format = None,
    model: Function = None,
) -> None:
    """Write report.html into a run's folder, or of a model file NAME-report.html into this one: mistakes, confusion, scores, curves."""
    from lamina.cli import patience

    with patience.told():
        from lamina.cli import work

        written = work.report(path, data, format=format, model=model)
    typer.echo(written)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Says in a terminal what is being done, in a line that is gone at the end."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    from lamina.core import progress

    with Console(stderr=True).status("...") as status, progress.listening(status.update):
        yield
