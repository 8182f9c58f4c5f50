"""The work of `lamina serve`: the model opened and checked, and one process or several that answer with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.cli import opening
from lamina.cli.serve import ServeOptions
from lamina.core.errors import LaminaError
from lamina.export import fastest
from lamina.serve import Limits, engines, server
from lamina.serve.application import app, name_of
from lamina.serve.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI


def application(options: ServeOptions, model: Any) -> FastAPI:
    """The application of one process."""
    made = app(
        model,
        name=name_of(opening.model_file(options.path).absolute()),
        limits=Limits(**options.limits),
        engine=options.engine,
        precision=options.precision,
        data=_data(options),
        threads=max(engines.cores() // options.workers, 1),  # the workers share them
        token=options.token,
        prepared=server.prepare,
    )
    service: Service = made.state.service
    service.say, service.when_ready = _said, _ready
    return made


def opened(options: ServeOptions) -> FastAPI:
    """The application of one process, with a model of its own."""
    return application(options, opening.open_model(options.path, options.model))


def serve(options: ServeOptions) -> int:
    """Serves until it is stopped; returns the exit code. What is wrong with the model is told before anything is answered."""
    limits = Limits(**options.limits)
    fastest.check(options.engine, options.precision)
    if options.precision == "int8" and options.data is None and opening.run_of(options.path) is None:
        error = LaminaError(
            f"--precision int8 came with {options.path}, which is not in a run, and without --data.",
            "The ranges of 8-bit numbers are taken from real pictures, some 256 of them.",
            "Add --data DATA: a folder, or a data set's name.",
        )
        print(error, file=sys.stderr)
        return 2
    with server.bound(options.host, options.port) as listening:  # a port in use is told before a model is opened
        if options.token is None and not server.is_local(options.host):
            print(
                f"Warning: {options.host} can be reached from other machines, and there is no token: whoever reaches it may use "
                "the model. Pass --token-file FILE, or leave --host out.",
                file=sys.stderr,
            )
        made = opened(options)
        make: Any = options  # which makes a model for each worker
        if options.workers == 1:
            make = lambda: made  # noqa: E731
        else:
            del made  # it was a trial
        where = server.address(options.host, listening)
        return server.run(make, listening, where=where, workers=options.workers, limits=limits)


def _data(options: ServeOptions) -> Any:
    """The pictures that engines are compared on: those named, in lower precision else the run's own."""
    if options.data is not None or options.precision == "float32":
        return options.data
    return opening.data_of(options.path, command="serve", needed=options.precision == "int8")


def token(path: Path | None, told: str | None) -> str | None:
    """The token of a file, else that of the environment, else None. Raises LaminaError for an empty one."""
    if path is None:
        found, where = told, "LAMINA_TOKEN"
    else:
        try:
            found, where = path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise LaminaError(
                f"The token in {path} cannot be read ({getattr(error, 'strerror', None) or error}).",
                "A text file with one line was expected.",
                "Check the path.",
            ) from None
    if found is None:
        return None
    if not found.strip() or not found.strip().isascii() or len(found.split()) != 1:
        raise LaminaError(
            f"{where} holds no token.", "One word of ASCII was expected.", "Make one: openssl rand -hex 32."
        )
    return found.strip()


def _said(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _ready(service: Service) -> None:
    if service.engine is not None:
        classes = f", {len(service.model.classes)} classes" if getattr(service.model, "classes", None) else ""
        print(
            f"{service.name} ({type(service.model).__name__}{classes}) is ready with "
            f"{engines.described(service.engine, service.threads)}: {service.limits.batch} pictures in "
            f"{1000 * service.batch_s:.0f} ms",
            file=sys.stderr,
            flush=True,
        )
