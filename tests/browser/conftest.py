"""A real browser on a real server. These tests run where they are asked for, by `make browser` or `pytest tests/browser`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
TOKEN = "sesame"
PATIENCE_MS = 15_000
START_S = 60  # a second, where nothing else runs
REFUSED = "Failed to load resource: the server responded with a status of 4"  # what Chromium says of each 4xx


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves these tests out of a run that does not name them: a browser is no dependency of `make test`."""
    asked = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path == HERE or HERE in path.parents for path in asked) else True


@dataclass
class Watch:
    """What a page did that it should not: messages on the console, errors, requests to other hosts."""

    address: str
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def follow(self, page: Any) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            self.faults.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.faults.append(f"asked for {request.url}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "There is no chromium: run `make browser`."
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def classifiers() -> dict[str, Any]:
    """A model of digits that has seen some of MNIST, and one that tells three colours apart."""
    import torch

    import lamina
    from lamina import layers, models, optimizers

    torch.manual_seed(1)

    def small(channels: int, side: int, classes: int) -> Any:
        first, second = (
            layers.Conv2D(count, size, strides=2, padding="same", activation="relu")
            for count, size in ((12, 5), (24, 3))
        )
        return models.Sequential(
            [layers.Input(shape=(channels, side, side)), first, second, layers.Flatten(), layers.Dense(classes)]
        )

    train = lamina.data.load("mnist").train
    digits = lamina.Classifier(
        small(1, 28, 10), classes=list("0123456789"), preprocess=lamina.Preprocess(channels=1, size=(28, 28))
    )
    digits.compile(optimizer=optimizers.AdamW(learning_rate=0.005))
    digits.fit(train.images[:12000], train.labels[:12000], batch_size=64, verbose=0, validation_split=0.0)

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    images = rng.integers(0, 90, (240, 3, 32, 32)).astype(np.uint8)
    images[np.arange(240), labels] += 150
    colours = lamina.Classifier(
        small(3, 32, 3), classes=["red", "green", "blue"], preprocess=lamina.Preprocess(channels=3, size=(32, 32))
    )
    colours.compile(optimizer=optimizers.AdamW(learning_rate=0.005))
    colours.fit(images, labels, batch_size=32, epochs=3, verbose=0, validation_split=0.0)
    return {"digits": digits, "colours": colours}


@pytest.fixture(scope="session")
def locating() -> Any:
    """The models of tests/serve that say where things are, and a picture for them."""
    spec = importlib.util.spec_from_file_location("locating", HERE.parent / "serve" / "locating.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def servers(classifiers: dict[str, Any], locating: Any) -> Iterator[dict[str, str]]:
    """Addresses of four servers: "colours" wants a token, the others are open to all; all take 2 MB.

    They run in threads of this process, which has all modules loaded; that `lamina serve` starts is tests/serve's.
    """
    from lamina import serve

    tokens, limits = {"colours": TOKEN}, serve.Limits(max_mb=2)
    with contextlib.ExitStack() as running:
        yield {
            name: running.enter_context(
                _serving(serve.app(model, name=name, limits=limits, engine="torch", threads=1, token=tokens.get(name)))
            )
            for name, model in {**classifiers, "blocks": locating.Detecting(), "fields": locating.segmenter()}.items()
        }


@contextlib.contextmanager
def _serving(app: Any) -> Iterator[str]:
    """The application's address, once its model is ready."""
    import uvicorn

    from lamina.serve.server import bound

    config = uvicorn.Config(app, http="lamina.serve.patience:Patient", ws="none", log_level="error")
    server = uvicorn.Server(config)
    with bound("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until = time.monotonic() + START_S
            while not app.state.service.ready:
                assert app.state.service.failure is None
                assert time.monotonic() < until, "The server is not ready."
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(timeout=20)


@pytest.fixture
def visit(chromium: Any, servers: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """`visit("digits", **context)` opens the page in a browser window of its own. No page may do what a Watch forbids."""
    contexts, watches = [], []

    def open_page(
        server: str, *, known: bool = True, prepare: Callable[[Any], None] | None = None, **settings: Any
    ) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        watches.append(Watch(servers[server]))
        watches[-1].follow(page)
        page.watch = watches[-1]
        page.on(
            "filechooser", lambda chooser: None
        )  # from now on they come to the test; asked for late, one may be missed
        if known:
            page.add_init_script(f"sessionStorage.setItem('token', '{TOKEN}')")
        if prepare is not None:
            prepare(page)
        page.goto(servers[server])
        if known:
            page.locator("#about").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for watch in watches for fault in watch.faults] == []


@pytest.fixture
def shot(tmp_path: Path) -> Callable[[Any, str], None]:
    """`shot(page, name)` keeps a picture of the whole page in the folder that LAMINA_SCREENSHOTS names."""
    folder = Path(os.environ.get("LAMINA_SCREENSHOTS") or tmp_path)

    def take(page: Any, name: str) -> None:
        page.screenshot(path=folder / f"page-{name}.png", full_page=True)

    return take
