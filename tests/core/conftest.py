"""A local server that does what servers do: cuts, stalls, lies, refuses, sends something else."""

from __future__ import annotations

import http.server
import threading
from collections import deque

import pytest

from lamina.core import transfer

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes


class Server:
    """Answers each request by the next of `plan`, and whole once that is empty; `asked` are the requests' headers."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.plan: deque[str] = deque()
        self.asked: list[dict[str, str]] = []
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(dict(self.headers))
                self.close_connection = True
                outer.answer(self, outer.plan.popleft() if outer.plan else "whole")

            def log_message(self, *_: object) -> None: ...

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/file"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, to: http.server.BaseHTTPRequestHandler, what: str) -> None:
        kind, _, told = what.partition(" ")
        if kind == "status":
            to.send_response(int(told))
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        if kind == "redirect":
            to.send_response(302)
            to.send_header("Location", told)
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        content = {"wrong": b"x" * 400_000, "page": b"<!DOCTYPE html><p>Log in", "empty": b""}.get(kind, CONTENT)
        asked, start = to.headers.get("Range", ""), 0
        if asked and kind not in ("ranges-ignored", "longer", "wrong", "page", "changed"):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                to.send_response(416)
                to.send_header("Content-Range", f"bytes */{len(content)}")
                to.send_header("Content-Length", "0")
                to.end_headers()
                return
            to.send_response(206)
            moved = 7 if kind == "another-part" else 0
            to.send_header("Content-Range", f"bytes {start + moved}-{len(content) - 1}/{len(content)}")
        else:
            to.send_response(200)
        length = len(content) - start
        length += {"longer": 1000, "shorter": -1000}.get(kind, 0)
        if kind != "no-length":
            to.send_header("Content-Length", str(length))
        if kind != "no-tag":
            to.send_header("ETag", '"2"' if kind == "changed" else '"1"')
        to.end_headers()
        end = start + int(told) if kind in ("cut", "stall", "no-tag") and told else start + length
        to.wfile.write(content[start:end])
        to.wfile.flush()
        if kind == "stall":
            self.released.wait(20)

    def close(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def second():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(transfer, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(transfer, "TIMEOUT_S", 2.0)  # a loaded machine may pause for a second
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"
