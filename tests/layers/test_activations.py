import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError
from lamina.layers.activations import ACTIVATIONS
from lamina.layers.probe import run

X = torch.linspace(-4, 4, 21).reshape(3, 7)
N = X.double().numpy()
SIGMOID = 1 / (1 + np.exp(-N))
SOFTPLUS = np.log1p(np.exp(N))
FORMULAS = {
    "elu": np.where(N > 0, N, np.exp(N) - 1),
    "exponential": np.exp(N),
    "gelu": N * np.vectorize(lambda v: 0.5 * (1 + math.erf(v / 2**0.5)))(N),
    "hard_sigmoid": np.clip(N / 6 + 0.5, 0, 1),
    "hard_silu": N * np.clip(N / 6 + 0.5, 0, 1),
    "hard_swish": N * np.clip(N / 6 + 0.5, 0, 1),
    "leaky_relu": np.where(N > 0, N, 0.2 * N),
    "linear": N,
    "log_softmax": N - np.log(np.exp(N).sum(1, keepdims=True)),
    "mish": N * np.tanh(SOFTPLUS),
    "relu": np.maximum(N, 0),
    "relu6": np.clip(N, 0, 6),
    "selu": 1.0507009873554805 * np.where(N > 0, N, 1.6732632423543772 * (np.exp(N) - 1)),
    "sigmoid": SIGMOID,
    "silu": N * SIGMOID,
    "softmax": np.exp(N) / np.exp(N).sum(1, keepdims=True),
    "softplus": SOFTPLUS,
    "softsign": N / (1 + np.abs(N)),
    "swish": N * SIGMOID,
    "tanh": np.tanh(N),
}


def test_every_name_has_its_formula_here():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_computes_the_documented_formula(name):
    layer = layers.Activation(name)
    symbol = layer(layers.Input((7,)))
    np.testing.assert_allclose(run(symbol.call.plan, layer.modules, [X]).numpy(), FORMULAS[name], atol=2e-6)


def made(layer, shape, data_format=None):
    symbol = layer(layers.Input(shape, data_format=data_format))
    return symbol, lambda x: run(symbol.call.plan, layer.modules, [x])


def test_softmax_runs_over_the_channels_of_images_whatever_the_layout():
    image = torch.randn(2, 3, 5, 4)
    for shape, data_format in (((3, 5, 4), None), ((5, 4, 3), "channels_last")):
        for layer in (layers.Activation("softmax"), layers.Softmax()):
            _, function = made(layer, shape, data_format)
            torch.testing.assert_close(function(image), image.softmax(1))


def test_softmax_takes_an_axis_as_the_user_counts_it():
    image = torch.randn(2, 3, 5, 4)
    assert torch.equal(made(layers.Softmax(axis=2), (3, 5, 4))[1](image), image.softmax(2))
    assert torch.equal(made(layers.Softmax(axis=1), (5, 4, 3), "channels_last")[1](image), image.softmax(2))


def test_an_activation_argument_becomes_a_sibling_module():
    dense = layers.Dense(3, activation=F.relu)
    dense(layers.Input((4,)))
    assert {suffix: type(module) for suffix, module in dense.modules.items()} == {"": nn.Linear, "_relu": nn.ReLU}
    assert dense.activation == "relu"
    linear = layers.Dense(3, activation="linear")
    linear(layers.Input((4,)))
    assert list(linear.modules) == [""]


@pytest.mark.parametrize("activation", ["rleu", lambda x: x, nn.ReLU(), 3])
def test_refuses_what_is_not_in_the_list(activation):
    with pytest.raises(LaminaError, match=r"activation"):
        layers.Dense(3, activation=activation)


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (layers.ReLU(), lambda x: x.clamp(min=0)),
        (layers.ReLU(max_value=6.0), lambda x: x.clamp(0, 6)),
        (layers.ReLU(max_value=2.0), lambda x: x.clamp(0, 2)),
        (layers.ReLU(negative_slope=0.1), lambda x: torch.where(x > 0, x, 0.1 * x)),
        (layers.ReLU(1.0, 0.1), lambda x: torch.where(x > 0, x, 0.1 * x).clamp(max=1)),
        (layers.LeakyReLU(), lambda x: torch.where(x > 0, x, 0.3 * x)),
    ],
)
def test_rectifiers_compute_what_keras_documents(layer, formula):
    assert torch.allclose(made(layer, (7,))[1](X), formula(X))


def test_prelu_has_a_slope_per_entry_unless_axes_share_it():
    per_entry = layers.PReLU()
    made(per_entry, (3, 4, 5))
    assert per_entry.modules[""].weight.shape == (3, 4, 5)
    assert per_entry.modules[""].weight.eq(0).all()
    per_channel = layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones")
    made(per_channel, (8, 9, 3), "channels_last")
    assert type(per_channel.modules[""]) is nn.PReLU
    assert per_channel.modules[""].weight.tolist() == [1, 1, 1]
    with pytest.raises(LaminaError, match="shared_axes"):
        made(layers.PReLU(), (3, None, None))
