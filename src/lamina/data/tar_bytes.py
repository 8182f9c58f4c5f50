"""The bytes of a shard from its front to its back, from a disk or from a web server that may break off at any of them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import urllib.error
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

from lamina.core import transfer
from lamina.core.errors import DownloadError
from lamina.core.transfer import TransferError

WAITS_S = (1.0, 4.0, 15.0)  # before another try; one that brought much is no failure (see core.transfer)
_BUFFER = 1 << 18


class StoppedError(Exception):
    """Nobody waits for the bytes any more."""


class Bytes(Protocol):
    """What is read front to back; fewer bytes than were asked for come at its end alone."""

    def read(self, count: int, /) -> bytes: ...

    def skip(self, count: int, /) -> bool:
        """Passes over so many bytes; whether they were there."""

    def close(self) -> None: ...


class Stop:
    """Ends, from another thread, a reading that may be waiting for a server."""

    def __init__(self) -> None:
        self._asked, self._lock = threading.Event(), threading.Lock()
        self._twin: socket.socket | None = None

    def __bool__(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        """Wakes whoever waits, who then raises StoppedError."""
        self._asked.set()
        with self._lock:
            if self._twin is not None:
                with contextlib.suppress(OSError):
                    self._twin.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raises StoppedError if that was asked for."""
        if self._asked.is_set():
            raise StoppedError

    def wait(self, seconds: float) -> None:
        """As `check`, so much later, or as soon as it is asked for."""
        self._asked.wait(seconds)
        self.check()

    @contextlib.contextmanager
    def watching(self, answer: Any) -> Iterator[None]:
        """While a server's answer is read."""
        # A twin of its socket: shutting it down ends the connection, and no other file can have come by its number.
        twin = socket.fromfd(answer.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        with self._lock:
            self._twin = twin
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._twin = None
            twin.close()


def is_web(place: str) -> bool:
    """Whether a place is an address of the web."""
    return place.lower().startswith(("http://", "https://"))


def opened(place: str, stop: Stop) -> Bytes:
    """A file or an address. Raises OSError for a file that cannot be opened; an address is asked at the first read."""
    return Remote(place, stop) if is_web(place) else Local(place, stop)


def fetched(url: str) -> bytes | None:
    """A small file of the web; None where there is none. Raises DownloadError for whatever else went wrong."""
    try:
        return b"".join(_received(url, Stop(), transfer.WAITS_S))
    except TransferError as failure:
        if isinstance(failure.__cause__, urllib.error.HTTPError) and failure.__cause__.code in (403, 404, 410):
            return None
        raise unreachable(url, failure) from failure


def unreachable(url: str, failure: TransferError, beside: str = "") -> DownloadError:
    """The error for an address that could not be read."""
    return DownloadError(
        f"{url} {failure}{beside}.", "A file of a web server was expected.", "Check the address and the network."
    )


class Local:
    """A file of this machine."""

    def __init__(self, path: str, stop: Stop) -> None:
        self._stop = stop
        self._stream = open(path, "rb", buffering=_BUFFER)  # noqa: SIM115 -- `close` closes it

    def read(self, count: int) -> bytes:
        """So many bytes."""
        self._stop.check()
        return self._stream.read(count)

    def skip(self, count: int) -> bool:
        """Jumps, where the file is one that can."""
        self._stop.check()
        if not self._stream.seekable():
            return _read_over(self, count)
        if count:
            self._stream.seek(count - 1, os.SEEK_CUR)
        return not count or len(self._stream.read(1)) == 1

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


class Remote:
    """What a web address gives."""

    def __init__(self, url: str, stop: Stop) -> None:
        self._blocks = _received(url, stop, WAITS_S)
        self._stop, self._ahead, self._at = stop, b"", 0

    def read(self, count: int) -> bytes:
        """So many bytes. Raises TransferError where the server does not give them after several tries."""
        parts, missing = [], count
        while missing:
            if self._at == len(self._ahead):
                self._ahead, self._at = next(self._blocks, b""), 0
                if not self._ahead:
                    break
            part = self._ahead[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, count: int) -> bool:
        """Reads over them: asking for what lies behind would take a connection of its own."""
        return _read_over(self, count)

    def close(self) -> None:
        """Ends the connection."""
        self._blocks.close()


def _read_over(stream: Bytes, count: int) -> bool:
    while count:
        got = len(stream.read(min(count, _BUFFER)))
        if not got:
            return False
        count -= got
    return True


def _received(url: str, stop: Stop, waits_s: Sequence[float]) -> Generator[bytes, None, None]:
    """Blocks of an address's bytes; where the connection breaks, another one goes on at that byte."""
    part, tries = _Part(url), 0
    while True:
        before = part.have
        try:
            yield from part.blocks(stop)
            return
        except TransferError as failure:
            stop.check()
            tries = 0 if part.have >= before + transfer.PROGRESS_BYTES else tries + 1
            if failure.final or tries > len(waits_s):
                raise
            wait_s = waits_s[tries - 1] if tries else 0.0
            stop.wait(max(wait_s, min(failure.wait_s, transfer.LONGEST_WAIT_S)))


class _Part:
    """What has come of an address, and which version of the file that was."""

    def __init__(self, url: str) -> None:
        self.url, self.have = url, 0
        self._version = ""  # what the server calls it: a tag or a time
        self._total: int | None = None

    def blocks(self, stop: Stop) -> Iterator[bytes]:
        """What is missing. Raises TransferError for whatever the network or the server does."""
        headers = {"Range": f"bytes={self.have}-"} if self.have else {}
        if self.have and self._version:
            headers["If-Range"] = self._version
        stop.check()
        try:
            answer = transfer.opened(self.url, headers)
        except urllib.error.HTTPError as error:
            with error:
                raise transfer.refusal(error) from error
        with answer, stop.watching(answer):
            known = self._check(answer)
            for block in transfer.blocks(answer):
                new = block[known:]  # of a server that knows no ranges
                known -= len(block) - len(new)
                if new:
                    self.have += len(new)
                    yield new
        stop.check()
        if self._total is not None and self.have < self._total:
            raise TransferError(f"broke off after {self.have:,} of {self._total:,} bytes")

    def _check(self, answer: Any) -> int:
        """How many of the bytes to come are known."""
        told, length = answer.headers.get("Content-Range", ""), answer.headers.get("Content-Length", "")
        start = self.have if answer.status == 206 else 0
        if answer.status == 206 and not told.startswith(f"bytes {self.have}-"):
            raise TransferError("sent another part than was asked for", final=True)
        total = start + int(length) if length.isdigit() else None
        tag = answer.headers.get("ETag", "")
        version = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
        if self.have and (version, total) != (self._version, self._total):
            raise TransferError("was changed while it was read", final=True)
        self._version, self._total = version, total
        return self.have - start
