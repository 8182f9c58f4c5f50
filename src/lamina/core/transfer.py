"""One file from one of several addresses into a part that is kept, whatever the network does."""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

TIMEOUT_S = 30.0  # without a connection, or with hardly a byte, before an address is given up for now
WAITS_S = (1.0, 4.0)  # before the second and the third round over the addresses
LONGEST_WAIT_S = 30.0  # that a server may ask for
_LEAST_BYTES = 1 << 10  # in TIMEOUT_S; whoever sends less has stalled
PROGRESS_BYTES = 1 << 20  # a try that brought so much is no failure: the next one follows at once
_BLOCK = 1 << 18
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP answers that may be others a little later


class TransferError(Exception):
    """Why a try ended. `final`: another one at this address would end alike; `wait_s`: the server asked for that."""

    def __init__(self, text: str, *, final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.final, self.wait_s = final, wait_s


def is_genuine(path: Path, digest: str) -> bool:
    """Whether the file has the hash ("sha256:..." or "md5:..."), of which only the first digits may be known."""
    algorithm, _, digits = digest.partition(":")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return found.startswith(digits.lower())


class Transfer:
    """Brings the file with the hash `digest` into `part`; bytes that are there already are gone on from.

    The bytes of a file with one hash are the same wherever they come from, so a part may be of several addresses.
    """

    def __init__(self, part: Path, digest: str, *, size: int | None, teller: Teller) -> None:
        self.part, self.digest, self.size, self.teller = part, digest, size, teller
        self._tags: dict[str, str] = {}  # what each server calls the version that it sent
        self._from: set[str] = {"an earlier run"} if self.have() else set()  # whose bytes the part is made of

    def have(self) -> int:
        """Bytes in the part."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, urls: Sequence[str]) -> dict[str, str]:
        """Tries the addresses in turn, several times with growing waits. Empty where the part is whole, else what came of each."""
        if self.have() and is_genuine(self.part, self.digest):
            return {}
        told, left, asked_s = dict.fromkeys(urls, ""), list(urls), 0.0
        for wait_s in (0.0, *WAITS_S):
            if not left:
                break
            time.sleep(max(wait_s, min(asked_s, LONGEST_WAIT_S)))
            asked_s = 0.0
            for url in list(left):
                failure = self._while_it_helps(url)
                if failure is None:
                    return {}
                told[url], asked_s = str(failure), max(asked_s, failure.wait_s)
                if failure.final:
                    left.remove(url)
        return told

    def _while_it_helps(self, url: str) -> TransferError | None:
        """Tries as long as each try brings the file on; None when it is whole."""
        while True:
            before = self.have()
            try:
                self._try(url)
                self._check(url)
                return None
            except TransferError as failure:
                if failure.final or self.have() < before + PROGRESS_BYTES:
                    return failure
            finally:
                self.teller.close()

    def _try(self, url: str) -> None:
        """Appends what is missing. Raises TransferError for whatever the network or the server does, OSError of the disk."""
        have = self.have()
        headers = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if url in self._tags:
                headers["If-Range"] = self._tags[url]
        try:
            answer = opened(url, headers)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, have)
        else:
            with answer:
                self._receive(answer, url, have)

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        """Returns where the answer means that nothing is missing. Raises TransferError for all others."""
        if error.code == 416 and have:
            if error.headers.get("Content-Range", "") == f"bytes */{have}":
                return
            self._throw_away()
            raise TransferError("has fewer bytes than were fetched before")
        raise refusal(error)

    def _receive(self, answer: Any, url: str, have: int) -> None:
        if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise TransferError("sent another part than was asked for", final=True)
        start = have if answer.status == 206 else 0  # a server that knows no ranges sends all of it
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if total is not None and self.size is not None and total != self.size:
            raise TransferError(f"has a file of {total:,} bytes, not of {self.size:,}", final=True)
        tag = answer.headers.get("ETag", "")
        if tag and not tag.startswith("W/"):
            self._tags[url] = tag
        _check_room(self.part, (total or 0) - start)
        if start == 0:
            self._from.clear()
        self._from.add(url)
        self.teller.begin(url, start, total)
        with self.part.open("ab" if start else "wb") as stream:
            for block in blocks(answer):
                stream.write(block)
                self.teller.step(len(block))
        if (
            total is not None and self.have() < total and not is_genuine(self.part, self.digest)
        ):  # a length may be wrong
            raise TransferError(f"broke off after {self.have():,} of {total:,} bytes")

    def _check(self, url: str) -> None:
        if is_genuine(self.part, self.digest):
            return
        with self.part.open("rb") as stream:
            page = stream.read(64).lstrip().lower().startswith((b"<!doctype html", b"<html"))
        what = f"{'a web page' if page else 'other bytes'} ({self.have():,})"
        mixed = self._from != {url}  # then this address has not had a try of its own
        self._throw_away()
        raise TransferError(f"sent {what}: its hash is wrong, it was thrown away", final=not mixed)

    def _throw_away(self) -> None:
        self.part.unlink(missing_ok=True)
        self._from.clear()


class Teller:
    """What a person sees: a bar on a terminal, one line elsewhere; both with address, size and licence."""

    def __init__(self, name: str, licence: str, console: Console | None) -> None:
        from rich.console import Console

        self._name, self._licence, self._console = name, licence, console or Console(stderr=True)
        self._bar: Any = None
        self._told: set[str] = set()

    def say(self, text: str) -> None:
        """A line about the file."""
        self._console.print(f"{self._name}: {text}", highlight=False, markup=False, soft_wrap=True)

    def begin(self, url: str, start: int, total: int | None) -> None:
        """Bytes are about to come from an address; `start` of `total` are here."""
        if url not in self._told:
            self._told.add(url)
            size = "of unknown size" if total is None else f"{total / 1e6:,.1f} MB"
            here = f" ({start / 1e6:,.1f} MB are here)" if start else ""
            self.say(f"{size}{here} from {url}{f'  ({self._licence})' if self._licence else ''}")
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich import progress

            columns = (progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
            self._bar = progress.Progress(
                *columns, progress.TimeRemainingColumn(), console=self._console, transient=True
            )
            self._bar.add_task("", total=total, completed=start)
            self._bar.start()

    def step(self, count: int) -> None:
        """So many bytes have come."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], count)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other web addresses only, and from an encrypted one to encrypted ones."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://" if req.full_url.startswith("https://") else ("http://", "https://")):
            raise urllib.error.HTTPError(req.full_url, code, f"redirect to {newurl}, not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    # urllib refuses some schemes by itself, in an error without the address.
    def http_error_302(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any) -> Any:
        target = headers.get("location", headers.get("uri", ""))
        if "://" in target and not target.startswith(("http://", "https://")):
            self.redirect_request(req, fp, code, msg, headers, target)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def opened(url: str, headers: Mapping[str, str]) -> Any:
    """A server's answer, from the web alone. Raises HTTPError for a refusal, and TransferError for whatever else went wrong."""
    opener = urllib.request.OpenerDirector()  # not build_opener's, which would open file:// and ftp:// too
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    try:
        request = urllib.request.Request(
            url, headers={"User-Agent": "lamina", "Accept-Encoding": "identity", **headers}
        )
        return opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        untrusted = isinstance(error.reason, ssl.SSLCertVerificationError)
        raise TransferError(_plain(error.reason), final=untrusted) from error
    except (http.client.HTTPException, OSError, ValueError) as error:  # ValueError: an address that is none
        raise TransferError(_plain(error), final=isinstance(error, ValueError)) from error


def refusal(error: urllib.error.HTTPError) -> TransferError:
    """What a server's refusal means for another try."""
    asked = error.headers.get("Retry-After", "")
    return TransferError(
        f"answered {error.code} {error.reason}",
        final=error.code not in _PASSING,
        wait_s=float(asked) if asked.isdigit() else 0.0,
    )


def blocks(answer: Any) -> Iterator[bytes]:
    """The bytes as they come. A socket's timeout ends silence; this ends a trickle too."""
    since, got = time.monotonic(), 0
    while True:
        try:
            block = answer.read1(_BLOCK)
        except (http.client.HTTPException, OSError) as error:
            raise TransferError(_plain(error)) from error
        if not block:
            return
        yield block
        got += len(block)
        seconds = time.monotonic() - since
        if seconds > TIMEOUT_S:
            if got < _LEAST_BYTES:
                raise TransferError(f"stalled: only {got:,} bytes came in {seconds:.0f} s")
            since, got = time.monotonic(), 0


def _plain(error: Any) -> str:
    """A network's error in words."""
    if isinstance(error, TimeoutError):
        return f"stalled: nothing came for {TIMEOUT_S:g} s"
    if isinstance(error, socket.gaierror):
        return f"was not found: no network, or no such host ({error.strerror})"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "closed the connection"
    if isinstance(error, http.client.IncompleteRead):
        return "broke off"
    if isinstance(error, OSError) and error.strerror:
        return f"failed: {error.strerror}"
    return f"failed: {type(error).__name__}{f': {error}' if str(error) else ''}"


def _check_room(part: Path, missing: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise OSError(errno.ENOSPC, f"{missing / 1e6:,.0f} MB are to come, {free / 1e6:,.0f} MB are free")
