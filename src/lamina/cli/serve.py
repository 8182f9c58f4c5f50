"""`lamina serve`: a model behind HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamina.cli.commands import Function, ModelFile, app
from lamina.cli.helping import ByTopic

if TYPE_CHECKING:
    from fastapi import FastAPI

_WHERE, _LIMITS, _WORK = "Where", "What a client may ask", "How it works"


def _in(topic: str, text: str) -> dict[str, str]:
    return {"help": text, "rich_help_panel": topic}


@dataclass(frozen=True)
class ServeOptions:
    """What was typed. Each worker is sent it, and makes its own application by calling it.

    It stands here, where nothing heavy is imported: a worker must answer its parent before it has imported torch.
    """

    path: Path
    model: str | None
    host: str
    port: int
    workers: int
    engine: str
    precision: str
    data: str | None
    token: str | None = field(repr=False)
    limits: Mapping[str, Any]

    def __call__(self) -> FastAPI:
        """The application, with its own model, in a worker."""
        from lamina.cli import serving

        return serving.opened(self)


@app.command(cls=ByTopic, short_help="Answer pictures over HTTP, with a page to try it.")
def serve(
    path: ModelFile,
    host: Annotated[str, typer.Option(**_in(_WHERE, "Address to listen at; 0.0.0.0 for all networks."))] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, **_in(_WHERE, "Port; 0 takes a free one."))] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(**_in(_WHERE, "Answer only who sends the token in this file. [environment: LAMINA_TOKEN]")),
    ] = None,
    max_pictures: Annotated[int, typer.Option(min=1, **_in(_LIMITS, "Pictures in a request."))] = 32,
    max_mb: Annotated[float, typer.Option(min=0.001, **_in(_LIMITS, "Megabytes of a request."))] = 20.0,
    max_megapixels: Annotated[float, typer.Option(min=0.001, **_in(_LIMITS, "Megapixels of a picture."))] = 50.0,
    queue: Annotated[int, typer.Option(min=1, **_in(_LIMITS, "Pictures that may wait; others get a 503."))] = 256,
    timeout: Annotated[float, typer.Option(min=0.1, **_in(_LIMITS, "Seconds that a request may take."))] = 30.0,
    workers: Annotated[
        int, typer.Option(min=1, **_in(_WORK, "Processes, each with the model; they share the cores."))
    ] = 1,
    engine: Annotated[
        str, typer.Option(**_in(_WORK, "torch, compiled, onnxruntime, openvino; auto measures which is fastest."))
    ] = "auto",
    precision: Annotated[
        str, typer.Option(**_in(_WORK, "float32; bfloat16 or int8 where 99 % of the classes stay, which is told."))
    ] = "float32",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            **_in(_WORK, "Pictures to compare engines on, which int8 needs. [default: the run's own, below float32]"),
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, **_in(_WORK, "Pictures that are computed at once, at most."))] = 32,
    wait_ms: Annotated[float, typer.Option(min=0.0, **_in(_WORK, "Milliseconds in which a batch is gathered."))] = 4.0,
    model: Function = None,
) -> None:
    """Answer pictures over HTTP: POST /predict, a page at /, and /health, /ready, /metrics, /model, /openapi.json.

    It listens to this machine alone, unless --host says otherwise. Ctrl-C or SIGTERM finish what was accepted.
    """
    from lamina.cli import early

    early.check_name("engine", engine, ("auto", *(early.keys("export/made_engines.py", "ENGINES") or [engine])))
    early.check_name("precision", precision, early.keys("export/fastest.py", "PRECISIONS") or [precision])
    from lamina.cli import serving

    options = ServeOptions(
        path=path,
        model=model,
        host=host,
        port=port,
        workers=workers,
        engine=engine,
        precision=precision,
        data=data,
        token=serving.token(token_file, os.environ.get("LAMINA_TOKEN")),
        limits={
            "max_pictures": max_pictures,
            "max_mb": max_mb,
            "max_megapixels": max_megapixels,
            "queue": queue,
            "timeout_s": timeout,
            "batch": batch,
            "wait_ms": wait_ms,
        },
    )
    code = serving.serve(options)
    if code:
        raise typer.Exit(code)
