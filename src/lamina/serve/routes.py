"""The routes.

What a request is answered with, where it has several pictures: 200 as soon as one of them could be answered, and each other has
its error in its place; where none could, the status of the first one's error. So a single broken picture is a 4xx.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lamina.core.errors import LaminaError
from lamina.serve import describing, incoming
from lamina.serve.answers import Answer, refusal
from lamina.serve.batching import Group
from lamina.serve.incoming import Upload
from lamina.serve.refusals import Refused
from lamina.serve.service import Service


def add_to(made: FastAPI, service: Service) -> None:
    """Adds the routes of a service."""
    tell = describing.routes()

    @made.get("/health", **tell["health"])
    async def health() -> Response:
        return Answer({"status": "alive"})

    @made.get("/ready", **tell["ready"])
    async def ready() -> Response:
        refused = service.not_ready()
        return Answer({"status": "ready"}) if refused is None else refusal(refused)

    @made.get("/model", **tell["model"])
    async def model() -> Response:
        return Answer(service.card())

    @made.get("/metrics", **tell["metrics"])
    async def metrics() -> Response:
        text, kind = service.figures.text()
        return Response(text, headers={"content-type": kind})

    @made.post("/predict", **tell["predict"])
    async def predict(request: Request) -> Response:
        return await _answered(request, service, _predicted)

    @made.post("/explain", **tell["explain"])
    async def explain(request: Request) -> Response:
        return await _answered(request, service, _explained)

    async def in_shape(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known = {404: "not_found", 405: "method_not_allowed"}
        code = known.get(error.status_code, "malformed")
        here = ", ".join(describing.PATHS)
        return refusal(Refused(code, f"{error.detail}.", f"The server has {here}.", "See /openapi.json."), unread=True)

    made.add_exception_handler(HTTPException, in_shape)


async def _answered(
    request: Request, service: Service, answer: Callable[[Request, Service, list[Upload], float], Awaitable[Answer]]
) -> Answer:
    """The request read within its limits, and its answer; whatever is refused has the shape of all errors."""
    began = time.monotonic()
    until = began + service.limits.timeout_s
    service.start()  # where it is mounted in another application, nothing else does
    if service.failure is not None or service.stopping:
        refused = service.not_ready()
        assert refused is not None
        return _refused(service, refused, unread=True)
    service.requests += 1
    held, read = 0, False
    try:
        loop = asyncio.get_running_loop()
        service.batcher.arriving += 1
        try:
            body = await incoming.read(request, service.limits, service.ledger, until=loop.time() + until - began)
        finally:
            service.batcher.arriving -= 1
        held, read = len(body), True
        pictures = incoming.uploads(body, request.headers.get("content-type", ""), service.limits)
        del body
        return await answer(request, service, pictures, until)
    except ClientDisconnect:
        return _refused(service, _gone())
    except Refused as refused:
        return _refused(service, refused, unread=not read)
    except LaminaError as error:
        return _refused(service, Refused("invalid", error.came, error.expected, error.remedy), unread=not read)
    finally:
        service.ledger.give(held)
        service.requests -= 1
        service.figures.latency.observe(time.monotonic() - began)


def _refused(service: Service, refused: Refused, **more: Any) -> Answer:
    service.figures.rejected.labels(refused.code).inc()
    return refusal(refused, **more)


async def _predicted(request: Request, service: Service, uploads: list[Upload], until: float) -> Answer:
    """The answer to /predict."""
    began = request.scope.get("lamina.began", time.monotonic())
    draws = request.query_params.get("draw", "0").lower() not in ("", "0", "false", "no")
    early = service.too_early(until)
    if early is not None:
        raise early
    group = Group(uploads, until=until, after=service.drawn if draws else None)
    service.batcher.submit(group)
    await _waited(group, request, until, service)
    results, refusals = [], []
    for answer in group.answers:
        if isinstance(answer, Refused):
            refusals.append(answer)
            service.figures.rejected.labels(answer.code).inc()
        results.append(answer.to_dict() if isinstance(answer, Refused) else answer)
    service.figures.answered.inc(len(results) - len(refusals))
    more = {
        "results": results,
        "model": service.name,
        "took_ms": round(1000 * (time.monotonic() - began), 2),
    }
    if len(refusals) == len(results):
        return refusal(refusals[0], **(more if len(results) > 1 else {}))
    return Answer(more)


async def _explained(request: Request, service: Service, uploads: list[Upload], until: float) -> Answer:
    """The answer to /explain: the heat of one picture."""
    if len(uploads) != 1:
        raise Refused(
            "too_many_pictures", f"{len(uploads)} pictures came.", "One is explained at a time.", "Send it alone."
        )
    refused = service.without_heat()
    if refused is not None:
        raise refused
    began = time.monotonic()
    (upload,) = uploads
    asked = request.query_params
    label = asked.get("label") or None
    draws = asked.get("draw", "0").lower() not in ("", "0", "false", "no")
    try:
        heat = await service.explainer.heat(service, upload, until=until, label=label, draws=draws)
    except TimeoutError:
        raise service.late() from None
    return Answer({**heat, "model": service.name, "took_ms": round(1000 * (time.monotonic() - began), 2)})


async def _waited(group: Group, request: Request, until: float, service: Service) -> None:
    """Waits for the answers. Raises Refused where they take too long; a client that goes away ends its work."""
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((group.done, gone), timeout=max(until - time.monotonic(), 0), return_when="FIRST_COMPLETED")
        if group.done.done():
            return
        group.gone = True
        if not gone.done():
            raise service.late()
        raise _gone()
    finally:
        gone.cancel()


def _gone() -> Refused:
    """For the metrics: nobody sees it."""
    return Refused("client_gone", "The client went away.", "It is to wait for its answer.", "Ask again.")
