"""Whose weights `predict` looks at before another engine answers: those that somebody outside the model may hold."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import lamina
from lamina import Classifier, Detector, Preprocess
from lamina.export.engines import TorchEngine
from lamina.export.made_engines import Maker
from lamina.training import Callback


@pytest.fixture
def built(monkeypatch):
    """The names of the engines that were built, each of them torch in disguise."""
    names = []

    def make(self, name, precision="float32"):
        names.append(name)
        engine = TorchEngine(self.deployable)
        engine.name, engine.precision = name, precision
        return engine

    monkeypatch.setattr(Maker, "make", make)
    return names


def gray(count):
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def classifier(opened, folder):
    model = Classifier("fastconvnet", classes=list("abc"), preprocess=Preprocess(channels=1, size=(28, 28)))
    return lamina.load(model.save(folder / "model.safetensors")) if opened else model


def keep_the_network(model):
    return [model.net]


def keep_layers(model):
    return model.layers


def keep_a_layer(model):
    return [model.get_layer("conv1")]


def keep_what_is_deployed(model):
    return [model.deployable().net]


def keep_what_callbacks_see(model):
    kept = []

    class Keep(Callback):
        def on_train_begin(self, logs):
            kept.append(self.loop.step.networks["net"])

    model.fit(gray(4), torch.arange(4) % 3, epochs=1, verbose=0, validation_split=0.0, callbacks=[Keep()])
    return kept


def keep_what_optimizers_see(model):
    kept = []

    def optimizer(parameters):
        kept.append(nn.ParameterList(parameters))
        return torch.optim.SGD(kept[0], lr=0.1)

    model.compile(optimizer)
    model.evaluate(gray(4), torch.zeros(4, dtype=torch.int64))
    return kept


@pytest.mark.filterwarnings("ignore:What the model was compiled with")  # of a function, which no file tells
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(
    "keep",
    [
        keep_the_network,
        keep_layers,
        keep_a_layer,
        keep_what_is_deployed,
        keep_what_callbacks_see,
        keep_what_optimizers_see,
    ],
)
def test_weights_that_somebody_holds_are_looked_at(built, keep, opened, tmp_path):
    model = classifier(opened, tmp_path)
    held, images = keep(model), gray(4)
    model.predict_probs(images, engine="onnxruntime")
    with torch.no_grad():
        for part in held:
            for weight in part.parameters():
                weight.data.add_(1.0)
    model.predict_probs(images, engine="onnxruntime")
    assert built == ["onnxruntime"] * 2


def test_weights_of_a_copy_that_holds_the_same_network_are_looked_at(built, tmp_path):
    model = classifier(True, tmp_path)
    images, other = gray(4), copy.copy(model)
    model.predict_probs(images, engine="onnxruntime")
    for weight in other.net.parameters():
        weight.data.add_(1.0)
    model.predict_probs(images, engine="onnxruntime")
    assert built == ["onnxruntime"] * 2


def test_a_detectors_weights_are_looked_at_once_an_optimizer_of_ones_own_has_seen_them():
    detector = Detector("retinanet", classes=["cell"], preprocess=Preprocess(size=(64, 64), resize="pad"))
    assert not detector._is_shared
    detector.compile("adamw")
    assert not detector._is_shared
    detector.compile(lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    assert detector._is_shared


@pytest.mark.parametrize("opened", [False, True])
def test_weights_that_nobody_holds_are_not_looked_at(built, monkeypatch, opened, tmp_path):
    model = classifier(opened, tmp_path)
    model.predict_probs(gray(4), engine="onnxruntime")
    model.evaluate(gray(4), torch.zeros(4, dtype=torch.int64))
    model.save(tmp_path / "again.safetensors")
    repr(model), model.summary(show=False), model.card()
    monkeypatch.setattr("lamina.models.fingerprint._Values.hold", lambda self: pytest.fail("looked at the weights"))
    model.predict_probs(gray(4), engine="onnxruntime")
    assert built == ["onnxruntime"]
    model.temperature = 3.0
    model.predict_probs(gray(4), engine="onnxruntime")
    assert built == ["onnxruntime"] * 2
