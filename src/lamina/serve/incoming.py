"""The body of a request, read within its bounds and taken apart into pictures: multipart, JSON with base64, or one bare file."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamina.serve.limits import Limits
from lamina.serve.refusals import Refused

if TYPE_CHECKING:
    from starlette.requests import Request

_FIELDS = 32  # parts of a form that are no pictures
_BARE = ("application/octet-stream",)  # beside image/*
_GRACE_S = 2.0  # no body is cut before: an honest photo has come by then, also over a slow line
_PARTS = 100_000  # commas and brackets of a JSON; base64 has none
TYPES = "multipart/form-data, application/json, image/* or application/octet-stream"


@dataclass(slots=True)
class Upload:
    """One picture as it came: the bytes of its file, or the base64 text of them, and what errors call it."""

    content: bytes | str
    name: str

    def data(self) -> bytes:
        """The bytes of the file. Raises Refused for text that is no base64."""
        if isinstance(self.content, bytes):
            return self.content
        text = self.content
        if text.startswith("data:"):
            head, comma, text = text.partition(",")
            if not comma or not head.endswith(";base64"):
                raise self._invalid(f"{self.name} is a data: URL without base64.")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
        try:  # broken into lines, as MIME does it
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise self._invalid(f"{self.name} is no base64.") from None

    def _invalid(self, came: str) -> Refused:
        return Refused(
            "invalid", came, "The bytes of a picture file in base64 were expected.", "Encode them, or upload the file."
        )


@dataclass(slots=True, eq=False)
class Body:
    """The body of a request while it is read: since when, what ends that early, and how many of its bytes are in the ledger."""

    since: float  # of the event loop's clock, as all times here
    patience: asyncio.Timeout
    size: int = 0
    is_cut: bool = False

    def cost(self, now: float) -> float:
        """The memory that it took, times how long: what a client that sends slowly on purpose has most of."""
        return self.size * (now - self.since)


class Ledger:
    """How many bytes of bodies lie in memory, over all requests.

    Where there is no room for more, the body whose reading has cost most memory for longest is cut, or a handful of clients that
    send all but the last bytes would keep out everybody else. (A share for each address would not do: behind a proxy all have one.)
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self.arriving: set[Body] = set()

    def take(self, count: int, body: Body) -> None:
        """Notes bytes of a body that arrived. Raises Refused where it was cut, or all together hold too many and none can be cut."""
        now = asyncio.get_running_loop().time()
        if self.held + count > self.most:
            slow = self._slow(now)
            room = self.most - self.held + sum(each.size for each in slow if each is not body)
            while (
                count <= room and not body.is_cut and self.held + count > self.most
            ):  # with less room all were cut in vain
                self._cut(slow, now)
        if body.is_cut:
            raise Refused(
                "busy",
                f"The request was still being sent after {now - body.since:.1f} s, and others waited for its memory.",
                f"The requests that are being read may hold {self.most / 1e6:,.0f} MB together.",
                "Try again in a moment, send smaller pictures, or use a faster connection.",
            )
        if self.held + count > self.most:
            raise Refused(
                "busy",
                f"The requests that are being read hold {self.held / 1e6:,.0f} MB.",
                f"At most {self.most / 1e6:,.0f} MB are kept.",
                "Try again in a moment.",
            )
        self.held += count
        body.size += count

    def give(self, count: int) -> None:
        """Notes bytes that are gone."""
        self.held -= count

    def _slow(self, now: float) -> list[Body]:
        """The bodies that may be cut: those that are not new."""
        return [
            body for body in self.arriving if body.size and now - body.since > _GRACE_S and not body.patience.expired()
        ]

    def _cut(self, slow: list[Body], now: float) -> None:
        """Ends the reading of the costliest body."""
        body = max(slow, key=lambda each: each.cost(now))
        self.give(body.size)
        body.size, body.is_cut = 0, True
        body.patience.reschedule(now)


async def read(request: Request, limits: Limits, ledger: Ledger, *, until: float) -> bytes:
    """The body, whose bytes are in the ledger until they are given back. `until` is a time of the event loop's clock.

    Raises Refused as soon as it is too long or too late, and for a packed one; no more than the limit is ever held.
    """
    packed = request.headers.get("content-encoding", "identity").strip().lower()
    if packed != "identity":
        raise Refused(
            "unsupported_type",
            f"The body is packed (Content-Encoding: {packed[:40]}).",
            "A body as it is was expected: picture files are packed already.",
            "Send it without Content-Encoding.",
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise _too_large(int(declared), limits)
    parts: list[bytes] = []
    body = Body(asyncio.get_running_loop().time(), asyncio.timeout_at(until))
    ledger.arriving.add(body)
    try:
        async with body.patience:
            async for part in request.stream():
                if body.size + len(part) > limits.body_bytes:
                    raise _too_large(None, limits)
                ledger.take(len(part), body)
                parts.append(part)
    except BaseException as error:  # late, cut, refused, or the client is gone
        ledger.give(body.size)
        if not isinstance(error, TimeoutError):
            raise
        ledger.take(0, body)  # which says so, where it was cut
        raise Refused(
            "slow_client",
            f"{body.size:,} bytes of the request came in {limits.timeout_s:g} s.",
            "All of it was expected in that time.",
            "Send smaller pictures, or use a faster connection.",
        ) from None
    finally:
        ledger.arriving.discard(body)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def uploads(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """The pictures of a body. Raises Refused for other types, broken ones, none and too many pictures."""
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in (*_BARE, "application/json", "multipart/form-data"):
        raise Refused(
            "unsupported_type",
            f"The request has the content type {kind[:80]!r}." if kind else "The request has no content type.",
            f"Pictures come as {TYPES}.",
            "Set the header Content-Type.",
        )
    if not body:
        raise _empty("The request has no body.")
    if kind == "multipart/form-data":
        found = _from_form(body, content_type, limits)
    elif kind == "application/json":
        found = _from_json(body, limits)
    else:
        found = [Upload(body, "The picture")]
    if not found:
        raise _empty("The request has no picture.")
    return found


def _from_json(body: bytes, limits: Limits) -> list[Upload]:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _PARTS:
        raise Refused(  # before seconds are spent on millions of empty lists, and fifty times the body's bytes
            "invalid",
            "The JSON has far more parts than a list of pictures has.",
            f'Expected: {{"images": ["BASE64", ...]}}, at most {limits.max_pictures} of them.',
            "Send the pictures alone.",
        )
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(
            "malformed",
            f"The body is no JSON ({str(error)[:120]}).",
            'Expected: {"images": ["BASE64", ...]}.',
            "Check how it is written.",
        ) from None
    images = told.get("images") if isinstance(told, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Refused(
            "invalid",
            f"The JSON {_shape(told, images)}.",
            'Expected: {"images": ["BASE64", ...]}, a list of texts.',
            "Encode the bytes of each picture file as base64.",
        )
    _check_count(len(images), limits)
    # One wide character would make four bytes of each; what is no base64 anyway is not kept.
    return [Upload(image if image.isascii() else "?", _numbered(index)) for index, image in enumerate(images)]


def _shape(told: Any, images: Any) -> str:
    if not isinstance(told, dict):
        return f"is a {type(told).__name__}"
    if "images" not in told:
        return "has no images"
    return (
        f"has images of the type {type(images).__name__}"
        if not isinstance(images, list)
        else "has images that are no text"
    )


def _from_form(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """The files of a form, whatever their fields are called; other fields are passed by."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise _malformed_form("the header Content-Type tells no boundary")
    found: list[Upload] = []
    parts, complete = 0, False
    header: dict[str, bytes] = {"field": b"", "value": b""}
    headers: dict[bytes, bytes] = {}
    content: list[bytes] = []

    def begin() -> None:
        nonlocal parts
        parts += 1
        if parts > limits.max_pictures + _FIELDS:
            _check_count(parts, limits)
        headers.clear()
        content.clear()

    def part_of_header(kind: str) -> Any:
        def keep(data: bytes, start: int, end: int) -> None:
            header[kind] += data[start:end]

        return keep

    def header_end() -> None:
        headers[header["field"].lower()] = header["value"]
        header.update(field=b"", value=b"")

    def end() -> None:
        _, told = parse_options_header(headers.get(b"content-disposition", b""))
        name = told.get(b"filename")
        if name is None or (not name and not content):  # a field of text, or a file that nobody chose
            return
        found.append(Upload(b"".join(content), name.decode("utf-8", "replace")[:200] or _numbered(len(found))))
        _check_count(len(found), limits)

    def ended() -> None:
        nonlocal complete
        complete = True

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin,
                "on_part_data": lambda data, start, end: content.append(data[start:end]),
                "on_part_end": end,
                "on_header_field": part_of_header("field"),
                "on_header_value": part_of_header("value"),
                "on_header_end": header_end,
                "on_end": ended,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise _malformed_form(str(error)) from None
    if not complete:
        raise _malformed_form("it ends before its last part does")
    return found


def _malformed_form(why: str) -> Refused:
    return Refused(
        "malformed",
        f"The form cannot be read ({why[:120]}).",
        "A complete multipart/form-data was expected.",
        "Let the library that sends it write the header Content-Type.",
    )


def _numbered(index: int) -> str:
    return f"Picture {index + 1}"


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.max_pictures:
        raise Refused(
            "too_many_pictures",
            f"The request has {count} pictures or more.",
            f"At most {limits.max_pictures} are taken at once.",
            "Send them in several requests.",
        )


def _empty(came: str) -> Refused:
    return Refused("empty", came, f"One picture or more was expected, as {TYPES}.", "Add a picture.")


def _too_large(size: int | None, limits: Limits) -> Refused:
    has = "more" if size is None else f"{size / 1e6:,.1f} MB"
    came = f"The request has {has} than {limits.max_mb:g} MB." if size is None else f"The request has {has}."
    return Refused(
        "too_large", came, f"At most {limits.max_mb:g} MB are taken.", "Send fewer or smaller pictures at once."
    )
