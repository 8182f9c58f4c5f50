"""The HTTP protocol of uvicorn, with an end to its patience: a client that sends its headers a byte a second, or never reads its
answer, is cut. (The body's time is counted where it is read.)"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lamina.serve.refusals import Refused


class Patient(H11Protocol):
    """One connection. Its header may take as long as `timeout_graceful_shutdown`, and a request with its answer twice that."""

    _since: float | None = None  # when the request that is under way began to come; None between requests
    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begins to watch."""
        super().connection_made(transport)
        self._patience_s = float(self.config.timeout_graceful_shutdown or 30)
        self._since = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends watching."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what came; the first of it after an answer begins a request."""
        if self._since is None:
            self._since = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """The request is over."""
        self._since = None
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Says that no HTTP came, or a header without end, in the shape of all errors; where an answer has begun, nothing."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        refused = Refused(
            "malformed", msg, "HTTP/1.1 with headers of at most 64 kB was expected.", "Check what sends the request."
        )
        body = json.dumps(refused.to_dict()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        self._check = self.loop.call_later(self._patience_s / 4, self._look)

    def _look(self) -> None:
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        unread = self.transport.get_write_buffer_size() > 0
        if self._since is None and unread:  # answered, and not taken
            self._since = self.loop.time()
        limit = self._patience_s * (2 if answering or unread else 1)
        if self._since is not None and self.loop.time() - self._since > limit:
            self.transport.abort()
            return
        self._watch()
