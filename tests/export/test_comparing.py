"""In what an exported file is compared, and what is told meanwhile."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import lamina
from lamina.core import progress
from lamina.core.errors import LaminaError
from lamina.export import checking, fastest, writing
from lamina.export.checking import Reference
from lamina.export.engines import OnnxEngine
from lamina.export.samples import Samples

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


@pytest.fixture
def maps():
    """A network that gives each pixel of 100 x 100 one of three classes, and what it answers to four pictures."""
    torch.manual_seed(0)
    x = torch.randint(0, 256, (4, 3, 100, 100), dtype=torch.uint8)
    segmenter = lamina.Segmenter(
        nn.Conv2d(3, 3, 1), classes=["a", "b", "c"], preprocess=lamina.Preprocess(size=100, resize="pad")
    )
    segmenter.fit(x, torch.zeros(4, 100, 100, dtype=torch.uint8), epochs=0, verbose=0, validation_split=0.0)
    return Reference(segmenter.deployable(), Samples((x.numpy(),), "pictures"))


class Instead:
    """An engine that gives these answers, whatever it is asked."""

    name, precision = "openvino", "float32"

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, *inputs):
        return (self.answers[: len(inputs[0])],)


@pytest.mark.parametrize(("pixels", "refused"), [(90, False), (110, True)])
def test_of_maps_a_hundredth_of_the_pixels_may_lie_farther_apart(maps, pixels, refused):
    answers = maps.answers[0].copy()
    answers.reshape(4, 3, -1)[:, :, :pixels] += (
        0.01  # as where a pooling takes another of two that are nearly equal: classes stay
    )
    told = fastest.judged(Instead(answers), "float32", maps)
    assert told.agreement == 1.0
    assert bool(told.reason) == refused


@pytest.mark.parametrize(("pixels", "refused"), [(9, False), (11, True)])
def test_of_maps_a_thousandth_of_the_pixels_may_be_of_another_class(maps, pixels, refused):
    answers = maps.answers[0].copy()
    answers[:, :, 0, :pixels] = np.roll(answers[:, :, 0, :pixels], 1, axis=1)
    told = fastest.judged(Instead(answers), "float32", maps)
    assert told.agreement == pytest.approx(1 - pixels / 10_000)
    assert ("of the classes are those of torch" in told.reason) == refused
    assert not fastest.judged(Instead(answers), "bfloat16", maps).reason


def test_one_map_that_is_all_wrong_is_too_much_among_hundreds(maps):
    answers, wanted = (np.repeat(maps.answers[0], 50, axis=0) for _ in range(2))
    answers[7] += 0.05
    assert maps.difference((wanted,), (answers,)) == pytest.approx(0.05, abs=1e-6)


def test_wrong_classes_along_an_edge_of_larger_pictures_are_found(maps):
    class Edge(Instead):
        def __call__(self, *inputs):
            answers = maps.engine(*inputs)[0]
            if answers.shape[2] > 100:
                answers[:, :, 0] = np.roll(answers[:, :, 0], 1, axis=1)
            return (answers,)

    assert maps.takes_other_sizes(maps.engine, "float32")
    assert not maps.takes_other_sizes(Edge(None), "float32")
    assert maps.check(Edge(None), other_size=True).agreement < 0.999


def test_one_number_in_a_map_that_is_none_is_too_many(maps):
    answers = maps.answers[0].copy()
    answers[0, 0, 0, 0] = np.nan
    assert "not finite" in fastest.judged(Instead(answers), "float32", maps).reason


def test_a_thousand_classes_that_are_nearly_as_probable_are_not_all_the_same():
    wanted = np.full((4, 1000), 0.001) + np.linspace(0, 5e-4, 1000)
    wanted /= wanted.sum(axis=1, keepdims=True)
    assert checking._same_classes(wanted, wanted) == 1.0
    assert checking._same_classes(wanted, np.roll(wanted, 1, axis=1)) == 0.0, (
        "the least probable is none of the largest"
    )
    near = wanted.copy()
    near[:, [998, 999]] = near[:, [999, 998]]  # which differ by 0.0003 of themselves
    assert checking._same_classes(wanted, near) == 1.0
