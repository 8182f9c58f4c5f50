"""What a command is at, for who waits."""

from __future__ import annotations

import time

import pytest

from lamina.cli import patience
from lamina.core import progress


@pytest.fixture
def said(capsys):
    """`said(words)`: all that stderr has got, once the words are among it; waits for them 20 s."""
    text = ""

    def until(words=""):
        nonlocal text
        deadline = time.monotonic() + 20
        while True:
            text += capsys.readouterr().err
            if words in text or time.monotonic() > deadline:
                return text
            time.sleep(0.01)

    return until


def test_what_is_quick_says_nothing(capsys, monkeypatch):
    monkeypatch.setattr(patience, "_QUIET_S", 600.0)
    with patience.told():
        progress.step("a step")
    assert capsys.readouterr().err == ""


def test_what_takes_long_says_what_it_is_at_and_what_follows(said, monkeypatch):
    monkeypatch.setattr(patience, "_QUIET_S", 0.05)
    monkeypatch.setattr(patience, "_BETWEEN_S", 600.0)
    with patience.told("opening the model"):
        said("opening the model")
        progress.step("writing ONNX")
        for _ in progress.counted("looking", range(3), 3):
            pass
    progress.step("after the end")
    lines = [line.split("s  ")[1] for line in said().splitlines()]
    assert lines == ["opening the model", "writing ONNX", "looking: 1 of 3"], (
        "of the same kind a line every two seconds"
    )


def test_a_step_that_lasts_is_told_while_it_does(said, monkeypatch):
    monkeypatch.setattr(patience, "_QUIET_S", 0.05)
    with patience.told("opening the model"):
        progress.step("comparing")
        assert "comparing" in said("comparing")
