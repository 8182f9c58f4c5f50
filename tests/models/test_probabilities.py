"""Networks that end in probabilities which no closing layer gives: losses do not take them for logits."""

import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers, models

RNG = np.random.default_rng(0)
X = RNG.random((64, 8), dtype=np.float32)
Y = RNG.integers(0, 3, 64)


class Functional(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.layer, self.last = nn.Linear(8, 4), last

    def forward(self, x):
        return self.last(self.layer(x))


def sigmoids():
    inputs = layers.Input((8,))
    reshaped = layers.Reshape((2, 2))(layers.Dense(4, activation="sigmoid")(inputs))
    average = layers.Average()([layers.Dense(4, activation="sigmoid")(inputs) for _ in range(2)])
    yield from (models.Model(inputs, reshaped), models.Model(inputs, average))
    yield from (models.Model(Functional(last)) for last in (torch.sigmoid, lambda x: torch.sigmoid(x)[:, :2], clamped))


def clamped(x):
    return torch.sigmoid(x).clamp(1e-6, 1 - 1e-6)


class ByNumpy(Functional):
    def forward(self, x):
        out = super().forward(x)
        return out if self.training else torch.from_numpy(out.numpy())


def test_a_network_that_evaluates_without_gradients_is_taken():
    model = models.Model(ByNumpy(lambda x: x))
    model.compile("adam", "sparse_categorical_crossentropy")
    assert np.isfinite(model.evaluate(X, Y)["loss"])
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"][0])


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("index", range(5))
def test_a_sigmoid_that_is_no_closing_layer_is_not_taken_for_logits(index, frozen):
    model = list(sigmoids())[index]
    model.net.requires_grad_(not frozen)
    model.compile("adam", "binary_crossentropy", ["accuracy"])
    probs = model.predict(X)
    targets = (np.arange(probs.size).reshape(probs.shape) % 3 == 0).astype("float32")
    figures = model.evaluate(X, targets)
    expected = -(targets * np.log(probs) + (1 - targets) * np.log(1 - probs)).mean()
    assert figures["loss"] == pytest.approx(expected, rel=1e-5)
    assert figures["accuracy"] == pytest.approx(((probs > 0.5) == targets).mean())
    assert np.array_equal(model.predict(X), probs)


@pytest.mark.parametrize(
    "last", [lambda x: x, lambda x: torch.sigmoid(x) + x, lambda x: x.clamp(0, 1), torch.nn.functional.silu]
)
def test_what_is_no_sigmoid_is_taken_for_logits(last):
    model = models.Model(Functional(last))
    model.compile("adam", "binary_crossentropy")
    logits = model(X).detach()
    targets = torch.ones_like(logits)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, targets).item()
    assert model.evaluate(X, targets)["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_softmax_of_sequences_that_is_no_closing_layer_is_not_taken_for_logits():
    model = models.Model(Functional(lambda x: x.unflatten(1, (2, 2)).softmax(-1)))
    model.compile("adam", "sparse_categorical_crossentropy")
    probs = model.predict(X)
    targets = np.arange(128).reshape(64, 2) % 2
    expected = -np.log(np.take_along_axis(probs, targets[..., None], -1)).mean()
    assert model.evaluate(X, targets)["loss"] == pytest.approx(expected, rel=1e-5)
