"""Fewer bits on a network that has learnt: small digits, whose classes stay."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

import lamina
from lamina.export import int8
from lamina.export.samples import Samples

pytestmark = pytest.mark.usefixtures("untimed")


@pytest.fixture(scope="module")
def digits():
    return lamina.data.load("mnist")


@pytest.fixture(scope="module")
def trained(digits):
    torch.manual_seed(0)
    classifier = lamina.Classifier("fastconvnet")
    train = digits.train.subset(range(3000))
    classifier.fit(train.images, train.labels, epochs=2, batch_size=64, verbose=0, validation_split=0.0)
    return classifier


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_the_classes_of_digits_stay_in_fewer_bits(trained, digits, tmp_path, precision):
    made = trained.export(tmp_path / "digits.onnx", precision=precision, data=digits.test)
    assert made.agreement >= 0.99
    assert made.tried_on.startswith("128 pictures of ")
    if precision == "int8":
        model = onnx.load(made.path)
        kinds = [node.op_type for node in model.graph.node]
        assert kinds.count("DequantizeLinear") > kinds.count("Conv") > 0
        by_channel = [t for t in model.graph.initializer if t.name.endswith("_scale") and list(t.dims)]
        assert by_channel, "weights have a scale for each channel"


def test_few_samples_serve_twice_and_many_are_halved():
    few, many = Samples((np.zeros((40, 1)),), "x"), Samples((np.arange(256)[:, None],), "x")
    assert few.halves() == (few, few)
    first, second = many.halves()
    assert not set(first.inputs[0].ravel()) & set(second.inputs[0].ravel())
    assert len(first) == len(second) == 128


def test_ranges_that_agree_better_are_taken(monkeypatch):
    tried = []
    monkeypatch.setattr(
        int8, "_quantised", lambda model, samples, method, outside: tried.append(method.name) or method.name
    )
    monkeypatch.setattr(int8, "_outside", lambda model, *, blocks=1: [])
    merits = {"MinMax": (0.9, -0.1), "Entropy": (0.95, -0.3)}
    monkeypatch.setattr(int8, "_merit", lambda made, reference: merits[made])
    few = Samples((np.zeros((4, 1)),), "x")
    assert int8.quantise(None, None, few) == "Entropy"
    merits["MinMax"] = (0.95, -0.1)
    assert int8.quantise(None, None, few) == "MinMax"
    tried.clear()
    merits["MinMax"] = (1.0, -0.4)
    assert int8.quantise(None, None, few) == "MinMax"
    assert tried == ["MinMax"], "what is dear is not tried where the cheap is good"


def node(kind, given, made, **attributes):
    return onnx.helper.make_node(kind, given, [made], name=made, **attributes)


def model_of(*nodes):
    return onnx.helper.make_model(onnx.helper.make_graph(list(nodes), "net", [], []))


def test_a_first_convolution_and_the_depthwise_one_behind_it_keep_their_digits():
    last = [
        node("Conv", ["clip3", "w"], "point2"),
        node("Conv", ["point2", "w"], "end"),
        node("Softmax", ["end"], "out"),
    ]
    entry = [
        node("Sub", ["x", "mean"], "centred"),
        node("Conv", ["centred", "w"], "first"),
        node("Clip", ["first"], "clip1"),
        node("Conv", ["clip1", "w"], "depthwise", group=8),
        node("Clip", ["depthwise"], "clip2"),
        node("Conv", ["clip2", "w"], "point"),
        node("Conv", ["point", "w"], "depthwise2", group=8),
        node("Clip", ["depthwise2"], "clip3"),
    ]
    model = model_of(*entry, *last)
    ends = ["centred", "out"]
    assert int8._outside(model) == [*ends, "first", "clip1", "depthwise"]
    assert int8._outside(model, blocks=2) == [
        *ends, *["first", "clip1", "depthwise", "clip2", "point", "depthwise2"]
    ]  # fmt: skip


def test_other_networks_have_all_layers_but_the_last_in_8_bits():
    plain = model_of(
        node("Conv", ["x", "w"], "first"), node("Relu", ["first"], "relu"), node("Conv", ["relu", "w"], "end")
    )
    assert int8._outside(plain) == int8._outside(plain, blocks=2) == []
    pooled = model_of(
        node("Conv", ["x", "w"], "first"),
        node("MaxPool", ["first"], "pool"),
        node("Conv", ["pool", "w"], "apart", group=4),
        node("Conv", ["apart", "w"], "end"),
    )
    assert int8._outside(pooled) == []
    assert int8._outside(model_of(node("MatMul", ["x", "w"], "end"))) == []
