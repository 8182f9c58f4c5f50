"""The way in: the token, the counts, and an answer where all else fails."""

from __future__ import annotations

import hmac
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamina.serve import describing
from lamina.serve.answers import refusal
from lamina.serve.metrics import Figures
from lamina.serve.refusals import Refused

log = logging.getLogger("lamina.serve")
OPEN = ("/health", "/ready")  # without a token, beside the page


class Door:
    """The way in: without the token none but the open paths are reached, and every answer is counted."""

    def __init__(self, inner: ASGIApp, *, figures: Figures, token: str | None, open_paths: set[str]) -> None:
        self._inner, self._figures = inner, figures
        self._token = None if token is None else token.encode()
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        scope["lamina.began"] = time.monotonic()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        known = path if path in describing.PATHS else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._figures.count(known, message["status"])
            await send(message)

        if self._token is not None and path not in self._open and not self._knows(scope):
            refused = Refused(
                "unauthorized",
                "The request brought no token, or a wrong one.",
                "This server answers who knows its token.",
                "Send the header Authorization: Bearer TOKEN.",
            )
            self._figures.rejected.labels(refused.code).inc()
            await refusal(refused, unread=scope["method"] == "POST")(scope, receive, counted)
            return
        names = [name for name, _ in scope["headers"]]
        if b"transfer-encoding" in names and b"content-length" in names:  # RFC 9112, 6.3: how requests are smuggled in
            refused = Refused(
                "malformed",
                "The request tells its length twice, by Content-Length and by Transfer-Encoding.",
                "One of them was expected.",
                "Leave one out.",
            )
            self._figures.rejected.labels(refused.code).inc()
            await refusal(refused, unread=True)(scope, receive, counted)
            return
        try:
            await self._inner(scope, receive, counted)
        except Exception as error:
            log.exception("a request failed")
            refused = Refused(
                "failed",
                f"The server failed ({type(error).__name__}).",
                "An answer was expected.",
                "Its log has the reason.",
            )
            await refusal(refused, unread=True)(scope, receive, counted)

    def _knows(self, scope: Scope) -> bool:
        assert self._token is not None
        given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        kind, _, token = given.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)
