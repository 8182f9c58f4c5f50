"""In what an exported file is compared, and what is told meanwhile."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from lamina.core import progress
from lamina.core.errors import LaminaError
from lamina.export import writing
from lamina.export.engines import OnnxEngine

pytestmark = pytest.mark.usefixtures("untimed")


class Otherwise:
    """OpenVINO that rounds so that other classes come out."""

    name, precision = "openvino", "float32"

    def __init__(self, content):
        self.engine = OnnxEngine(content)

    def __call__(self, *inputs):
        return tuple(np.roll(value, 1, axis=1) for value in self.engine(*inputs))


def test_an_engine_that_answers_otherwise_can_be_left_out(classifier, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_has_openvino", lambda: True)
    monkeypatch.setattr(writing, "OpenVinoEngine", Otherwise)
    with pytest.raises(LaminaError, match=r"[Ll]eave openvino out.*engines=\['onnxruntime'\] \(--engine onnxruntime\)"):
        classifier.export(tmp_path / "pets.onnx", data=photos())
    assert list(tmp_path.iterdir()) == []
    made = classifier.export(tmp_path / "pets.onnx", data=photos(), engines=["onnxruntime"])
    assert [check.engine for check in made.checks] == ["onnxruntime"]


def test_long_work_tells_what_it_is_at(classifier, photos, tmp_path):
    steps = []
    with progress.listening(steps.append):
        classifier.export(tmp_path / "pets.safetensors", data=photos())
    assert steps[0] == "reading pictures"
    assert steps[-1] == "comparing in plain torch on 6 pictures of the data"
    classifier.export(tmp_path / "pets.safetensors", data=photos())
    assert steps[-1] == "comparing in plain torch on 6 pictures of the data"


@pytest.mark.usefixtures("without_openvino")
def test_open_axes_have_names_that_a_person_knows(classifier, photos, tmp_path):
    model = onnx.load(classifier.export(tmp_path / "pets.onnx", data=photos()).path)
    axes = [
        [length.dim_param or length.dim_value for length in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    ]
    assert axes == [["batch", 3, "height", "width"]]
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    inside = {length.dim_param for value in model.graph.value_info for length in value.type.tensor_type.shape.dim}
    assert not re.search(r"\bs\d+\b", " ".join(inside))
