"""The benchmark's soak in short: good, broken, huge, slow and aborted requests, all at once."""

from __future__ import annotations

import asyncio
import importlib
import os
from pathlib import Path

import pytest


@pytest.mark.slow
def test_in_three_minutes_of_everything_nothing_breaks_leaks_or_is_answered_wrong(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    serving, loading = importlib.import_module("serving"), importlib.import_module("loading")
    model, files = (
        serving.mobilenet(tmp_path / "mobilenet_v2.safetensors"),
        loading.picture_files(tmp_path / "pictures"),
    )
    seconds = float(os.environ.get("LAMINA_SOAK_S", "180"))
    with loading.Server(model, "--engine", "onnxruntime", "--timeout", "10", "--max-mb", "4") as server:
        told = asyncio.run(serving.soak(server, model, files, seconds=seconds))
        assert server.is_alive()
    assert told["wrong"] == 0, told
    assert told["growth"] < 0.05, told
    kinds = {"raw", "form", "json", "abort", *loading.FAULTS}
    assert kinds <= set(told["requests"]), told
