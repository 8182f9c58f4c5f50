"""A small classifier behind the application, and a client in the same process."""

from __future__ import annotations

import asyncio
import io
import threading
import time

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from lamina import Classifier, Preprocess, layers, models, serve
from lamina.cli import main
from lamina.serve import Limits, server


def classifier():
    """Three classes of colour, answered from the mean of each channel."""
    torch.manual_seed(0)
    net = models.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=(3, 32, 32)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    with torch.no_grad():
        list(net.net.parameters())[-2].mul_(20)
    return Classifier(
        net, classes=["red", "green", "blue"], preprocess=Preprocess(size=(32, 32), mean=(0.5,), std=(0.2,))
    )


def _picture(seed=0, *, size=(40, 50), kind="JPEG", mode="RGB", **more):
    """The bytes of a picture file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).resize(size).convert(mode).save(written, kind, **more)
    return written.getvalue()


class InProcess:
    """An application on an event loop of its own thread, with its lifespan, and a client."""

    def __init__(self, app):
        self.app = app
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._life = app.router.lifespan_context(app)
        self.run(self._life.__aenter__())
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def ready(self):
        until = time.monotonic() + 60
        while self.get("/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.01)
        return self

    def get(self, path, **more):
        return self.run(self._client.get(path, **more))

    def post(self, path, **more):
        return self.run(self._client.post(path, **more))

    def send(self, content, kind="image/jpeg", path="/predict", **more):
        return self.post(path, content=content, headers={"content-type": kind, **more})

    def ask(self, scope_more, messages, path="/predict"):
        """A bare ASGI request whose messages are given, awaitable ones awaited: what the application sent."""
        sent, left = [], iter(messages)

        async def receive():
            message = next(left, None)
            if message is None:
                await asyncio.sleep(60)
            return await message if asyncio.iscoroutine(message) else message

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
        }
        scope |= {
            "http_version": "1.1",
            "scheme": "http",
            "server": ("here", 80),
            "client": ("there", 1),
            "root_path": "",
        }
        self.run(self.app({**scope, **scope_more}, receive, send))
        return sent

    def close(self):
        self.run(self._client.aclose())
        self.run(self._life.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(scope="session")
def picture():
    """Makes the bytes of a picture file."""
    return _picture


@pytest.fixture(scope="session")
def model():
    return classifier()


@pytest.fixture
def started(model):
    """Starts an application with these limits and options; all are closed behind the test."""
    running = []

    def start(*, model=model, token=None, **limits):
        made = serve.app(model, name="colours", limits=Limits(**limits), engine="torch", threads=1, token=token)
        running.append(InProcess(made))
        return running[-1]

    yield start
    for client in running:
        client.close()


@pytest.fixture(scope="module")
def client():
    """One application with the usual limits, for a whole file."""
    made = serve.app(classifier(), name="colours", limits=Limits(max_mb=1.0, max_pictures=4), engine="torch", threads=1)
    inside = InProcess(made).ready()
    yield inside
    inside.close()


@pytest.fixture(scope="session")
def model_file(model, tmp_path_factory):
    """The classifier as a file."""
    return model.save(tmp_path_factory.mktemp("served") / "colours.safetensors")


@pytest.fixture
def typed(monkeypatch, capsys):
    """Types `lamina serve ...`: (exit code, stderr)."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["lamina", "serve", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr().err

    return run


@pytest.fixture
def unrun(monkeypatch):
    """What would be run: (make, where, workers)."""
    runs = []

    def run(make, listening, *, where, workers, limits):
        runs.append((make, where, workers))
        return 0

    monkeypatch.setattr(server, "run", run)
    return runs
