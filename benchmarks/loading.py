"""A server in a process of its own, and clients of every kind, over bare sockets: good ones, and those that a server must survive."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from PIL import Image

PROFILED = """
import cProfile, sys
from lamina.cli import main
profile = cProfile.Profile()
try:
    profile.runcall(main)
except SystemExit:
    pass
finally:
    profile.dump_stats({path!r})
"""


class Server:
    """`lamina serve` at a free port, ready when it is entered; asked to stop when it is left."""

    def __init__(self, model: Path, *options: str, profile: str | None = None) -> None:
        start = ["-m", "lamina"] if profile is None else ["-c", PROFILED.format(path=profile)]
        command = [sys.executable, *start, "serve", str(model), "--port", "0", *options]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        assert self._process.stderr is not None
        told = ""
        for line in self._process.stderr:
            told += line
            if line.startswith("Listening at "):
                self.url = urlsplit(line.split()[2].rstrip(","))
            if " is ready with " in line:
                print(line.strip(), file=sys.stderr, flush=True)
                self._listener = threading.Thread(
                    target=self._listen
                )  # or it would wait for somebody to read what it says
                self._listener.start()
                return self
        raise RuntimeError(told)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)
        self._listener.join()
        if self._process.returncode:
            raise RuntimeError(f"The server ended with {self._process.returncode}.")

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as said:
            for line in said:
                print(line, end="", file=sys.stderr)

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """User and system time of the process."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection(self.url.hostname, self.url.port)

    async def answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)

    async def ask(self, content: bytes) -> tuple[int, Any]:
        """Sends a request on a connection of its own; status and JSON of the answer."""
        reader, writer = await self.connect()
        try:
            writer.write(content)
            status, body = await asyncio.wait_for(self.answer(reader), 60)
            return status, json.loads(body)
        finally:
            writer.close()


def picture_files(folder: Path, *, count: int = 96) -> list[Path]:
    """JPEG files of photo-like noise (500 x 375, some 45 kB), in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        dice = random.Random(number)
        small = Image.frombytes("RGB", (50, 38), dice.randbytes(50 * 38 * 3))
        files.append(folder / f"{number:03d}.jpg")
        small.resize((500, 375), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    return files


def request(path: str, body: bytes, kind: str, *, length: int | None = None) -> bytes:
    """A POST request; `length` is what it claims, where that is a lie."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body) if length is None else length}"
        "\r\n\r\n"
    ).encode() + body


def post(form: str, pictures: list[bytes]) -> tuple[bytes, str]:
    """A body of pictures and its content type: "raw" (one alone), "form" or "json"."""
    if form == "raw":
        return pictures[0], "image/jpeg"
    if form == "json":
        return json.dumps(
            {"images": [base64.b64encode(picture).decode() for picture in pictures]}
        ).encode(), "application/json"
    head = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    return b"".join(
        head + picture + b"\r\n" for picture in pictures
    ) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few hundred bytes whose header claims 3,600 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def turned_gif(content: bytes) -> bytes:
    """The picture as a GIF of two frames, the second black."""
    first, written = Image.open(io.BytesIO(content)).convert("RGB"), io.BytesIO()
    first.save(written, "GIF", save_all=True, append_images=[Image.new("RGB", first.size)])
    return written.getvalue()


async def mixed(
    server: Server, files: list[Path], expected: Mapping[Path, str], dice: random.Random
) -> tuple[str, str]:
    """One request of a kind that is drawn: the kind, and what was wrong with its answer ("" for nothing).

    The server's limits are 4 MB, 10 s and 50 megapixels.
    """
    kind = dice.choices(("raw", "form", "json", *FAULTS, "abort", "stall"), (6, 6, 6, *[1] * len(FAULTS), 2, 0.05))[0]
    chosen = dice.sample(files, 1 if kind == "raw" else dice.randint(1, 4))
    content = [file.read_bytes() for file in chosen]
    if kind in ("raw", "form", "json"):
        status, told = await server.ask(request("/predict", *post(kind, content)))
        if status == 503:
            return "busy", ""
        labels = [result.get("label") for result in told.get("results", ())]
        good = status == 200 and labels == [expected[file] for file in chosen]
        return kind, "" if good else f"{status} {str(told)[:200]}"
    if kind in ("abort", "stall"):
        await _leave_or_stall(server, request("/predict", *post("form", content)), dice, stalls=kind == "stall")
        return kind, ""
    body, type_, codes = FAULTS[kind](content[0])
    status, told = await server.ask(request("/predict", body, type_))
    got = told.get("error", {}).get("code")
    return kind, "" if got in (*codes, "busy") else f"{status} {str(told)[:200]}"


async def _leave_or_stall(server: Server, content: bytes, dice: random.Random, *, stalls: bool) -> None:
    """Goes away in the middle, or after all was sent; or sends a byte a second until it is cut."""
    reader, writer = await server.connect()
    try:
        if not stalls:
            writer.write(content[: dice.choice((40, len(content) // 2, len(content)))])
            await writer.drain()
            await asyncio.sleep(dice.random() * 0.1)
            return
        for byte in content[:30]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)
        await reader.read(1)
    except OSError:
        return
    finally:
        writer.transport.abort()


# What is wrong with a request: its body and content type, made of a good picture, and the codes of errors it may meet.
FAULTS: dict[str, Any] = {
    "truncated": lambda good: (good[: len(good) // 3], "image/jpeg", ("unreadable",)),
    "no picture": lambda _: (b"hello" * 100, "image/png", ("unreadable",)),
    "empty": lambda _: (b"", "image/png", ("empty",)),
    "huge": lambda _: (bytes(6_000_000), "image/jpeg", ("too_large",)),
    "bomb": lambda _: (bomb(), "image/png", ("too_many_pixels",)),
    "bad json": lambda _: (b'{"images": [1, 2]}', "application/json", ("invalid",)),
    "bad base64": lambda _: (b'{"images": ["???"]}', "application/json", ("invalid",)),
    "broken json": lambda _: (b'{"images": [', "application/json", ("malformed",)),
    "broken form": lambda good: (good, "multipart/form-data; boundary=x", ("malformed",)),
    "text": lambda _: (b"hello", "text/plain", ("unsupported_type",)),
}
