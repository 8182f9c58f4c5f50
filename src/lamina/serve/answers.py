"""Answers as JSON, and errors as answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lamina.serve.refusals import Refused

_AGAIN_S = {"busy": 1, "stopping": 5, "not_ready": 2}  # after so long a client may try again
_LINGER_S, _LINGER_BYTES = 2.0, 64_000_000


class Answer(Response):
    """JSON. Where a body is unread, it is read on for a moment and dropped: a client that is still sending would otherwise
    meet a closed connection, and never see why."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, *, headers: dict[str, str] | None = None, unread: bool = False
    ) -> None:
        self.unread = unread
        more = {"x-content-type-options": "nosniff", **({"connection": "close"} if unread else {}), **(headers or {})}
        super().__init__(content, status_code, more)

    def render(self, content: Any) -> bytes:
        """The JSON's bytes. Raises ValueError for numbers that JSON has not: NaN, infinities."""
        return json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": self.unread})
        if self.unread:
            await _drop(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def refusal(refused: Refused, *, unread: bool = False, **more: Any) -> Answer:
    """The answer to a request that is refused; `unread` says that a part of its body may still be on its way."""
    headers = {"retry-after": str(_AGAIN_S[refused.code])} if refused.code in _AGAIN_S else {}
    if refused.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    return Answer({**refused.to_dict(), **more}, refused.status, headers=headers, unread=unread)


async def _drop(receive: Receive) -> None:
    """Reads what is still coming, up to a bound in bytes and seconds."""
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
