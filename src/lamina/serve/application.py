"""The ASGI application that answers with a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.core.errors import MissingExtraError
from lamina.serve.limits import Limits
from lamina.serve.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI


def app(
    model: Any,
    *,
    name: str = "",
    limits: Limits | None = None,
    engine: str = "auto",
    precision: str = "float32",
    data: Any = None,
    threads: int | None = None,
    token: str | None = None,
    prepared: Callable[[Service], Any] | None = None,
) -> FastAPI:
    """An ASGI application (FastAPI) that answers with this model; one worker of `lamina serve` runs it.

    The engine is made and warmed once the application starts, or at its first request where it is mounted in another one. `threads`
    are the engine's (None: a core each). `precision` may be "bfloat16" or "int8", of engines that keep 99 % of the classes; they are
    compared on pictures of `data` (whatever `predict` takes, or a data set), which int8 needs. `prepared` is called with the
    Service when the event loop starts; `app.state.service` is it.
    Raises LaminaError for a model that answers no pictures, MissingExtraError where the extra `serve` is not installed.
    """
    try:
        import fastapi
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
    except ImportError:
        raise MissingExtraError("Serving", "serve") from None
    from lamina.serve import describing, page, routes
    from lamina.serve.door import OPEN, Door

    told = name or str(getattr(model, "name", "")) or type(model).__name__.lower()
    service = Service(
        model, name=told, limits=limits or Limits(), engine=engine, precision=precision, data=data, threads=threads
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if prepared is not None:
            prepared(service)
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    made = fastapi.FastAPI(
        title=f"Lamina: {told}", version=describing.version(), lifespan=lifespan, docs_url=None, redoc_url=None
    )
    made.state.service = service
    service.has_token = token is not None
    routes.add_to(made, service)
    page.add_to(made)
    open_paths = {*OPEN, *(file.path for file in page.files())}
    made.openapi = lambda: describing.openapi(made, service)  # type: ignore[method-assign]
    made.add_middleware(Door, figures=service.figures, token=token, open_paths=open_paths)
    return made


def name_of(path: Path) -> str:
    """What a model is called by its file: the file's name, or of a run's best model the run's."""
    return path.parent.name if path.stem in ("best", "last") and path.parent.name else path.stem
