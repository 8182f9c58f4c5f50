"""Running the application: one process or several, a port, a stop that finishes what was accepted, clients that are too slow.

On SIGTERM or Ctrl-C, which is said in a line, `/ready` turns 503 and new pictures are refused, while accepted requests are finished,
for as long as the time limit of a request. Then the processes end, and the exit code is 0. A second Ctrl-C ends them at once.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import ipaddress
import logging
import math
import multiprocessing
import os
import re
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from PIL import Image

from lamina.core.errors import LaminaError, MissingExtraError
from lamina.serve.limits import Limits
from lamina.serve.metrics import SHARED
from lamina.serve.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOOK_S = 0.05  # between looks whether accepted requests are done
_NO_ENGINE = 3  # the exit code of a worker that its supervisor does not start again (uvicorn.config.STARTUP_FAILURE)


def run(make: Callable[[], FastAPI], listening: socket.socket, *, where: str, workers: int, limits: Limits) -> int:
    """Serves what `make` gives on a socket until a signal comes; returns the exit code. `make` is pickled for several workers.

    `where` is the address that is told.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("Serving", "serve") from None

    config = uvicorn.Config(
        make,
        factory=True,
        http="lamina.serve.patience:Patient",
        ws="none",
        lifespan="on",
        loop="auto",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        workers=workers,
        timeout_keep_alive=15,
        timeout_worker_healthcheck=30,
        timeout_graceful_shutdown=math.ceil(limits.timeout_s),
    )
    print(f"Listening at {where}" + (f", {workers} workers" if workers > 1 else ""), file=sys.stderr, flush=True)
    if workers == 1:
        server = uvicorn.Server(config)
        with _quiet_signals():
            server.run(sockets=[listening])
        return _ending(int(not server.started or failed()))
    with tempfile.TemporaryDirectory(prefix="lamina-metrics-") as folder:
        os.environ[SHARED] = folder
        try:
            several = _workers(config, listening)
            several.run()
        finally:
            del os.environ[SHARED]
        good = (0, None, -signal.SIGTERM, -signal.SIGINT)
        return _ending(int(any(process.exitcode not in good for process in several.processes)))


def _ending(code: int) -> int:
    """The exit code, with which the process will end at once: all is answered, and to take torch apart costs seconds of work."""

    def end() -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    atexit.register(end)
    return code


def _workers(config: Any, listening: socket.socket) -> Any:
    """uvicorn's supervisor of several processes, which says that one died before another takes its place."""
    from prometheus_client.multiprocess import mark_process_dead
    from uvicorn.supervisors import Multiprocess

    class Workers(Multiprocess):
        def terminate_all(self) -> None:
            print("Stopping; what was accepted is finished first.", file=sys.stderr, flush=True)
            super().terminate_all()

        def keep_subprocess_alive(self) -> None:
            for process in self.processes:
                if process.exitcode not in (None, _NO_ENGINE) and process.pid is not None:
                    mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
                    print(
                        f"Worker {process.pid} died (exit code {process.exitcode}); another takes its place.",
                        file=sys.stderr,
                        flush=True,
                    )
            super().keep_subprocess_alive()

    return Workers(config, sockets=[listening])


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there; port 0 is any free one. Raises LaminaError where it cannot."""
    if re.fullmatch(r"[0-9.]*\.[0-9.]*", host) and not _is_address(
        host
    ):  # for seconds a name server would be asked for it
        raise LaminaError(
            f"{host} cannot be listened at (it is no address).",
            "Four numbers from 0 to 255 were expected, or a name.",
            "Leave --host out, or pass 0.0.0.0 for all networks.",
        )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise _unbound(host, port, error) from None
    with made:
        made.set_inheritable(True)
        yield made


def _unbound(host: str, port: int, error: OSError) -> LaminaError:
    if error.errno == errno.EADDRINUSE:
        return LaminaError(
            f"Port {port} of {host} is in use: another program listens there, maybe another lamina serve.",
            "A free port was expected.",
            f"Stop the other program, or choose another port: --port {port + 1 if port < 65535 else 8000}.",
        )
    why = error.strerror or str(error)
    remedy = "Ports below 1024 are the system's: choose --port 8000." if port < 1024 else "Check --host and --port."
    return LaminaError(
        f"{host}:{port} cannot be listened at ({why}).", "An address of this machine was expected.", remedy
    )


def address(host: str, listening: socket.socket) -> str:
    """The URL of a socket, as a person on this machine opens it."""
    port = listening.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def is_local(host: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_FAILED: list[bool] = []  # in this process, whether its engine could not be made


def failed() -> bool:
    """Whether this process ended because its engine could not be made."""
    return bool(_FAILED)


def prepare(service: Service) -> None:
    """Once the event loop runs: signals finish what was accepted first, and an engine that cannot be made ends the server."""
    loop = asyncio.get_running_loop()
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # or strangers' broken forms fill the log
    warnings.filterwarnings(
        "ignore", category=Image.DecompressionBombWarning
    )  # so would large pictures: Limits judges them
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    stopping: list[asyncio.Task[None]] = []
    told = service.when_ready

    def stop(number: int, frame: Any) -> None:
        if service.stopping and number == signal.SIGINT and stopping:
            loop.call_soon_threadsafe(stopping[0].cancel)
            for _ in range(2):  # uvicorn's first Ctrl-C asks, also where SIGTERM came before it, and its second insists
                _call(before[number], number, frame)
            return
        loop.call_soon_threadsafe(begin, number)

    def begin(number: int) -> None:
        if not stopping:
            service.stopping = True
            if multiprocessing.parent_process() is None and service.failure is None:
                print(_stopping(service), file=sys.stderr, flush=True)
            stopping.append(loop.create_task(finish(number)))

    async def finish(number: int) -> None:
        try:
            async with asyncio.timeout(service.limits.timeout_s):
                while service.requests:
                    await asyncio.sleep(_LOOK_S)
        except (TimeoutError, asyncio.CancelledError):
            pass
        _call(before[number], number, None)

    def ended() -> None:
        if service.failure is not None:
            _FAILED.append(True)
            print(service.failure, file=sys.stderr, flush=True)
            if multiprocessing.parent_process() is not None:
                os._exit(_NO_ENGINE)  # a worker: another would fail as this one did, and no request can be answered
            begin(signal.SIGTERM)

    def when_ready(_: Service) -> None:
        told(service)
        with contextlib.suppress(RuntimeError):  # the loop is closed: it was stopped while it started
            loop.call_soon_threadsafe(ended)

    for number in _SIGNALS:
        signal.signal(number, stop)
    service.when_ready = when_ready


def _stopping(service: Service) -> str:
    count = service.requests
    if not count:
        return "Stopping."
    accepted = f"{count} accepted request{'s' * (count != 1)}"
    return f"Stopping; {accepted} may take {service.limits.timeout_s:g} s more. Ctrl-C again ends at once."


def _call(handler: Any, number: int, frame: Any) -> None:
    if callable(handler):
        handler(number, frame)


@contextlib.contextmanager
def _quiet_signals() -> Iterator[None]:
    """uvicorn raises the signals that it was stopped by again; a stop that was asked for is no failure."""
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
