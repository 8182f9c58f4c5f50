"""Real data for the tests that want it, and one thread for each of several workers."""

from __future__ import annotations

import gc
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # before anything imports torch: workers of two threads each fight for the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

WHOLE_SUITE = ("", "not slow")
_FILE = pytest.StashKey[Path]()  # of the last test


def data_folder() -> Path | None:
    """The folder that LAMINA_DATA names, or None where it is not set."""
    named = os.environ.get("LAMINA_DATA")
    if not named:
        return None
    folder = Path(named).resolve()
    if not folder.is_dir():
        raise pytest.UsageError(
            f"LAMINA_DATA is {named!r}, which is no folder. Unset it, or name the folder of test data."
        )
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real test data. A test that asks for it is marked real_data, and skipped where there is none."""
    folder = data_folder()
    if folder is None:
        pytest.skip("LAMINA_DATA is not set")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the pictures that README and docs speak of, cats dark and dogs bright."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for label, name in enumerate(("cats", "dogs")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):
            pixels = random.integers(0, 128, (32, 32, 3)) + 127 * label
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name / f"{index}.png")
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(tmp_path / "cat.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[Any]]]:
    """`together(function, *arguments, size=2)` runs function(world, *arguments) in processes; returns what each of them gave."""
    import torch

    command = [sys.executable, str(Path(__file__).with_name("together.py"))]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None

    def run(function: Callable[..., Any], *arguments: Any, size: int = 2, timeout_s: float = 60.0) -> list[Any]:
        folder = tmp_path_factory.mktemp("together")
        order = {"file": inspect.getfile(function), "function": function.__name__, "arguments": arguments}
        order |= {"size": size, "timeout_s": timeout_s, "folder": str(folder)}
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        ends = json.loads(server.stdout.readline())
        told = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]
        assert not any(ends), "\n".join([f"The processes ended with {ends}.", *told])
        return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]

    yield run
    server.stdin.close()
    server.wait(timeout=10)
    server.stdout.close()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Collects without the garbage collector, which would go through a million objects again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Sets aside, before the first test of each file, what lives by then: modules and tests, which nobody will let go.

    A collection goes through what is not set aside; with every module and test of the suite that is a second each, several in a test
    that exports or searches. What a file's tests make is younger and is collected as ever.
    """
    if item.config.stash.get(_FILE, None) != item.path:
        item.config.stash[_FILE] = item.path
        gc.collect()
        gc.freeze()


def pytest_unconfigure() -> None:
    """Lets all of it go as the interpreter ends."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = data_folder() is None
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")
        if missing and item.get_closest_marker("real_data"):
            item.add_marker(pytest.mark.skip(reason="LAMINA_DATA is not set"))


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword
    whole = not chosen and config.option.markexpr in WHOLE_SUITE
    if data_folder() is not None and whole and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(RealDataMustRun())


class RealDataMustRun:
    """Fails a run of the whole suite in which no test of real data passed, though LAMINA_DATA names some."""

    def __init__(self) -> None:
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed and "real_data" in report.keywords

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.passed and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.passed:
            terminalreporter.write_line("ERROR: LAMINA_DATA is set, but no test of real data passed", red=True)
