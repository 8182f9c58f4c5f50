"""The engine of a server: its precision, what it is compared on, and what is said of it."""

from __future__ import annotations

import pickle
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from lamina import serve
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.export.engines import TorchEngine
from lamina.serve import engines
from lamina.training.checkpoint import CONFIG


def test_a_lower_precision_is_compared_on_what_is_brought_and_told(model):
    said = []
    images = np.random.default_rng(0).integers(0, 256, (300, 3, 32, 32), np.uint8)
    app = serve.app(model, engine="torch", precision="bfloat16", data=images, threads=1)
    service = app.state.service
    service.say = said.append
    assert len(service._samples) == 256
    service.start()
    while not service.ready:
        assert service.failure is None
        time.sleep(0.01)
    service.stop()
    assert (service.card()["engine"], service.card()["precision"]) == ("torch in bfloat16, 1 thread", "bfloat16")
    assert re.fullmatch(r"torch in bfloat16 answers, .*% of the classes as torch's, largest difference .*\.", said[0])


def test_what_keeps_too_few_classes_is_not_chosen_and_where_it_was_named_warned_of(model, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path))
    monkeypatch.setattr("lamina.export.fastest.usual_engines", lambda: ("torch",))
    whole = TorchEngine.__call__

    def turned(self, *inputs):
        answers = whole(self, *inputs)
        return answers if self.precision == "float32" else tuple(value[:, ::-1] for value in answers)

    monkeypatch.setattr(TorchEngine, "__call__", turned)
    told, more = [], {"precision": "bfloat16", "threads": 1, "batch": 4, "told": lambda line: told.append(line)}
    assert engines.make(model.deployable(), "auto", **more).precision == "float32"
    assert "torch in bfloat16: only" in told.pop()
    assert engines.make(model.deployable(), "torch", **more).precision == "bfloat16"
    assert told.pop().startswith("Warning: torch in bfloat16: only")


def test_8_bits_take_their_ranges_from_pictures_that_have_to_come(model):
    with pytest.raises(LaminaError, match="data=PICTURES"):
        serve.app(model, precision="int8")
    with pytest.raises(UnknownNameError, match=r"openvino \(float32, bfloat16, int8\)"):
        serve.app(model, engine="torch", precision="int8", data=np.zeros((2, 3, 32, 32), np.uint8))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--precision", "float8"), "The known names are: 'float32', 'bfloat16', 'int8'"),
        (("--engine", "onnxruntime", "--precision", "bfloat16"), "onnxruntime (float32, int8)"),
        (("--precision", "int8"), "Add --data DATA"),
    ],
)
def test_a_precision_that_cannot_be_is_a_usage_error(typed, model_file, unrun, words, said):
    code, told = typed(model_file, *words)
    assert (code, unrun) == (2, [])
    assert said in told


@pytest.mark.parametrize("named", [True, False])
def test_a_lower_precision_is_compared_on_the_runs_own_pictures_or_those_named(
    typed, model_file, picture, tmp_path, unrun, named
):
    for name in ("red", "green", "blue"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "pictures" / name / "1.jpg").write_bytes(picture(len(name)))
    path, words = model_file, ["--data", tmp_path / "pictures"] if named else []
    if not named:
        (tmp_path / "run").mkdir()
        path = Path(shutil.copy(path, tmp_path / "run" / "best.safetensors"))
        (tmp_path / "run" / CONFIG).write_text(f"data: {tmp_path / 'pictures'}\n")
    assert typed(path, "--port", 0, "--workers", 2, "--precision", "int8", *words)[0] == 0
    ((make, _, _),) = unrun
    samples = pickle.loads(pickle.dumps(make))().state.service._samples
    assert len(samples) >= 1
    assert typed(path, "--port", 0, "--workers", 2)[0] == 0
    assert unrun[1][0]().state.service._samples is None  # in float32 nothing is read
