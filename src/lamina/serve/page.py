"""The page at `/`: plain files that ask this server, and by their own policy nobody else.

What it asks of the server (`page.js`): GET `model` for the card, POST `predict` with a picture as the body, and POST `explain` where
the card says that there are maps. Addresses are relative, so that it works below any path of a proxy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

# No inline script or style, no frame around the page, and no request to another host: a browser refuses what the files must not do.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-cache",  # asked again each time, answered by 304: a new version is seen at once
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page_ask.js": ("page_ask.js", "text/javascript; charset=utf-8"),
    "/page_answer.js": ("page_answer.js", "text/javascript; charset=utf-8"),
    "/page_found.js": ("page_found.js", "text/javascript; charset=utf-8"),
    "/page_draw.js": ("page_draw.js", "text/javascript; charset=utf-8"),
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page: where it is asked for, what it holds, and the tag by which a browser knows its copy."""

    path: str
    content: bytes
    media_type: str

    @property
    def tag(self) -> str:
        """The value of its ETag: a hash of the content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


def files() -> list[PageFile]:
    """The files of the page, the page itself first."""
    folder = resources.files(__package__)
    return [PageFile(path, folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()]


def add_to(app: FastAPI) -> None:
    """Adds the page's routes (GET and HEAD) to a server; they are open to all and stand in no API description."""
    for file in files():
        _add(app, file)


def _add(app: FastAPI, file: PageFile) -> None:
    from starlette.requests import Request
    from starlette.responses import Response

    headers = {**HEADERS, "ETag": file.tag}

    async def answer(request: Request) -> Response:
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    app.add_route(file.path, answer, methods=["GET"], include_in_schema=False)
