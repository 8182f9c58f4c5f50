"""What a command is at, for who waits."""

from __future__ import annotations

import time

from lamina.cli import patience
from lamina.core import progress


def test_what_is_quick_says_nothing(capsys):
    with patience.told():
        progress.step("a step")
    assert capsys.readouterr().err == ""


def test_what_takes_long_says_what_it_is_at_and_what_follows(capsys, monkeypatch):
    monkeypatch.setattr(patience, "_QUIET_S", 0.05)
    with patience.told("opening the model"):
        time.sleep(0.3)
        progress.step("writing ONNX")
        for _ in progress.counted("looking", range(3), 3):
            pass
    progress.step("after the end")
    lines = [line.split("s  ")[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["opening the model", "writing ONNX", "looking: 1 of 3"], (
        "of the same kind a line every two seconds"
    )


def test_a_step_that_lasts_is_told_while_it_does(capsys, monkeypatch):
    monkeypatch.setattr(patience, "_QUIET_S", 0.05)
    with patience.told("opening the model"):
        progress.step("comparing")
        time.sleep(0.4)
        assert "comparing" in capsys.readouterr().err
