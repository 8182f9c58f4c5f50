"""The fastest engine: measured, compared with torch, remembered by architecture, machine and versions."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess
from lamina.core.errors import MissingExtraError, UnknownNameError
from lamina.export import fastest as module
from lamina.export import remembered
from lamina.export.engines import TorchEngine
from lamina.export.fastest import fastest, measured
from lamina.export.made_engines import Maker

TORCH_S, FAST_S, SLOW_S = 0.04, 0.01, 0.06


def net(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


def deployable(width=4):
    return Classifier(net(width), classes=list("abc"), preprocess=Preprocess(size=(8, 8))).deployable()


class Fake:
    """Torch's answers, changed by `bend`, in a time of its own on the clock of the stage."""

    def __init__(self, name, precision, answers, seconds, bend):
        self.name, self.precision, self.answers, self.seconds, self.bend = name, precision, answers, seconds, bend

    def __call__(self, *inputs):
        return tuple(self.bend(value) for value in self.answers(*inputs))


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """Engines as a test wants them: `stage.play(name, seconds, bend or error)`; `stage.made` are those that were built."""
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_MOST", 3)
    monkeypatch.setattr(
        module, "_seconds", lambda engine, inputs: (engine(*inputs), getattr(engine, "seconds", TORCH_S))[1]
    )

    class Stage:
        def __init__(self):
            self.made, self.parts = [], {}

        def play(self, name, seconds, bend=lambda value: value, precision="float32"):
            self.parts[name, precision] = (seconds, bend)

    told = Stage()

    def make(self, name, precision="float32"):
        told.made.append((name, precision))
        seconds, bend = told.parts[name, precision]
        if isinstance(bend, Exception):
            raise bend
        return Fake(name, precision, TorchEngine(self.deployable), seconds, bend)

    monkeypatch.setattr(Maker, "make", make)
    monkeypatch.setattr(module, "usual_engines", lambda: ("torch", "onnxruntime", "openvino"))
    told.play("torch", TORCH_S)
    told.play("onnxruntime", FAST_S)
    told.play("openvino", SLOW_S)
    return told


def test_takes_the_fastest_and_says_what_the_others_do(stage):
    lines = []
    engine = fastest(deployable(), told=lines.append)
    assert engine.name == "onnxruntime"
    assert len(lines) == 1
    assert lines[0].startswith("onnxruntime answers: ")
    for text in ("batches of 32", "torch ", "openvino ", "100 % of the classes"):
        assert text in lines[0]


def test_measures_every_engine_at_every_batch_size(stage):
    timings = measured(deployable(), (1, 16))
    assert [(timing.engine, timing.batch) for timing in timings] == [
        (name, batch) for batch in (1, 16) for name in ("torch", "onnxruntime", "openvino")
    ]
    assert all(timing.agreement == 1.0 and timing.difference < 1e-5 and not timing.reason for timing in timings)
    rates = {timing.engine: timing.per_s for timing in timings if timing.batch == 16}
    assert rates == pytest.approx({"torch": 16 / TORCH_S, "onnxruntime": 16 / FAST_S, "openvino": 16 / SLOW_S})


@pytest.mark.parametrize(
    ("bend", "told"),
    [
        (lambda probs: probs[:, ::-1], "of the classes"),
        (lambda probs: probs + 0.01, "answers lie up to 0.01"),
        (lambda probs: probs * np.float32("nan"), "not finite"),
        (lambda probs: probs[:, :2], "another shape"),
    ],
)
def test_an_engine_that_answers_otherwise_is_never_chosen(stage, bend, told):
    stage.play("onnxruntime", FAST_S, bend)
    lines = []
    assert fastest(deployable(), told=lines.append).name == "torch"
    (timing,) = [timing for timing in measured(deployable(), (4,)) if timing.engine == "onnxruntime"]
    assert told in timing.reason
    assert "onnxruntime: " in lines[0]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MissingExtraError("ONNX Runtime", "export"), "onnxruntime: not installed"),
        (RuntimeError("no such operator\nat all"), "onnxruntime: RuntimeError: no such operator"),
    ],
)
def test_an_engine_that_does_not_run_is_left_out_with_its_reason(stage, error, told):
    stage.play("onnxruntime", FAST_S, error)
    lines = []
    assert fastest(deployable(), told=lines.append).name == "torch"
    assert told in lines[0]
    assert "at all" not in lines[0]
    assert told in [str(timing) for timing in measured(deployable(), (4,))]


def test_a_second_call_builds_the_chosen_engine_alone(stage):
    fastest(deployable(), told=lambda text: None)
    stage.made.clear()
    lines = []
    assert fastest(deployable(), told=lines.append).name == "onnxruntime"
    assert stage.made == [("onnxruntime", "float32")]
    assert "the fastest here when it was measured" in lines[0]


def test_a_choice_is_measured_anew_where_its_file_is_removed(stage):
    fastest(deployable(), told=lambda text: None)
    stage.play("openvino", FAST_S)
    stage.play("onnxruntime", SLOW_S)
    lines = []
    assert fastest(deployable(), told=lines.append).name == "onnxruntime"
    Path(lines[0].rpartition("remove ")[2].rstrip(".")).unlink()
    assert fastest(deployable(), told=lines.append).name == "openvino"


def test_the_choice_is_by_architecture_not_by_weights(stage):
    fastest(deployable(), told=lambda text: None)
    stage.made.clear()
    other = deployable()
    with torch.no_grad():
        other.net[0].weight.mul_(-1)
    fastest(other, told=lambda text: None)
    assert len(stage.made) == 1
    fastest(deployable(width=5), told=lambda text: None)
    assert len(stage.made) == 1 + 3
    fastest(deployable(), 1, told=lambda text: None)
    assert len(stage.made) == 1 + 3 + 3


def test_a_remembered_engine_that_answers_these_weights_otherwise_is_not_taken(stage):
    fastest(deployable(), told=lambda text: None)
    stage.play("onnxruntime", FAST_S, lambda probs: probs + 0.01)
    assert fastest(deployable(), told=lambda text: None).name == "torch"


def test_is_measured_anew_when_a_version_changes(stage, monkeypatch):
    fastest(deployable(), told=lambda text: None)
    stage.play("openvino", FAST_S)
    stage.play("onnxruntime", SLOW_S)
    assert fastest(deployable(), told=lambda text: None).name == "onnxruntime"
    monkeypatch.setattr(remembered, "versions", lambda: {"torch": "99.0"})
    assert fastest(deployable(), told=lambda text: None).name == "openvino"


def kept(folder):
    (path,) = (folder / "engines").glob("*.json")
    return path


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\x00\xff", b'{"engine": 3}', b'{"engine": "openvino"}']
)
def test_a_broken_file_is_measured_anew_and_mended(stage, tmp_path, content):
    shipped = deployable()
    fastest(shipped, told=lambda text: None)
    kept(tmp_path).write_bytes(content)
    assert module.expected_s(shipped) is None
    assert fastest(shipped, told=lambda text: None).name == "onnxruntime"
    assert module.expected_s(shipped) >= 0
    assert json.loads(kept(tmp_path).read_text())["engine"] == "onnxruntime"


def test_an_unknown_engine_in_the_file_is_measured_anew(stage, tmp_path):
    shipped = deployable()
    fastest(shipped, told=lambda text: None)
    path = kept(tmp_path)
    path.write_text(path.read_text().replace('"engine": "onnxruntime"', '"engine": "abacus"'))
    assert fastest(shipped, told=lambda text: None).name == "onnxruntime"


def test_a_cache_that_cannot_be_written_costs_only_the_memory(stage, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "file" / "below"))
    assert fastest(deployable(), told=lambda text: None).name == "onnxruntime"


def test_many_may_remember_one_choice_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))

    def use(number):
        remembered.keep("key", {"engine": "torch" * 1000, "precision": "float32", "build_s": number})
        return remembered.recall("key")

    with ThreadPoolExecutor(8) as pool:
        assert all(told["engine"] == "torch" * 1000 for told in pool.map(use, range(40)))


def test_lower_precisions_are_chosen_only_where_asked_for_and_where_the_classes_stay(stage):
    stage.play("torch", SLOW_S, precision="bfloat16")
    stage.play("openvino", FAST_S, lambda probs: probs + 0.002, precision="bfloat16")
    stage.play("onnxruntime", 2 * FAST_S)
    assert fastest(deployable(), told=lambda text: None).precision == "float32"
    engine = fastest(deployable(), precision="bfloat16", told=lambda text: None)
    assert (engine.name, engine.precision) == ("openvino", "bfloat16")
    stage.play("openvino", FAST_S, lambda probs: probs[:, ::-1], precision="bfloat16")
    engine = fastest(deployable(), precision="bfloat16", told=lambda text: None)
    assert (engine.name, engine.precision) == ("onnxruntime", "float32")


def test_a_precision_that_is_only_emulated_is_not_waited_for(stage):
    stage.play("torch", 20 * TORCH_S, precision="bfloat16")
    stage.play("openvino", FAST_S, precision="bfloat16")
    (timing,) = [
        each for each in measured(deployable(), (4,), precision="bfloat16") if each.name == "torch in bfloat16"
    ]
    assert "slower" in timing.reason
    assert not timing.per_s


def test_unknown_names_are_refused(stage):
    with pytest.raises(UnknownNameError, match="abacus"):
        fastest(deployable(), engines=("abacus",))
    with pytest.raises(UnknownNameError, match="float8"):
        measured(deployable(), precision="float8")


def test_real_engines_are_measured_and_agree(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_ROUND_S", 0.05)
    timings = measured(deployable(), (1, 4), engines=("torch", "onnxruntime", "openvino"))
    assert len(timings) == 6
    assert all(timing.per_s > 0 and timing.agreement == 1.0 and timing.difference < 1e-5 for timing in timings)
    assert all(timing.build_s > 0 for timing in timings)


def test_nothing_is_compiled_where_another_runtime_is_installed(monkeypatch):
    assert module.usual_engines() == ("torch", "onnxruntime", "openvino")
    monkeypatch.setattr(remembered, "versions", lambda: {"torch": "2.0"})
    assert module.usual_engines() == ("torch", "compiled")
