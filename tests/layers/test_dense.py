import pytest
import torch
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.probe import run


def made(layer, shape, data_format=None, dtype="float32"):
    symbol = layer(layers.Input(shape, dtype, data_format=data_format))
    return symbol, lambda x: run(symbol.call.plan, layer.modules, [x])


def test_is_a_plain_linear_with_bias_zero():
    dense = layers.Dense(3)
    symbol, function = made(dense, (4,))
    assert type(dense.modules[""]) is nn.Linear
    assert dense.modules[""].bias.eq(0).all()
    x = torch.randn(2, 4)
    torch.testing.assert_close(function(x), x @ dense.modules[""].weight.T)
    assert symbol.shape == (3,)


def test_acts_on_the_last_axis_as_the_user_sees_it():
    assert made(layers.Dense(3), (7, 4))[0].shape == (7, 3)
    dense = layers.Dense(5, activation="softmax")
    symbol, function = made(dense, (8, 9, 3), "channels_last")
    assert (symbol.shape, symbol.sizes) == ((8, 9, 5), (5, 8, 9))
    images = torch.randn(2, 3, 8, 9)
    expected = (images.permute(0, 2, 3, 1) @ dense.modules[""].weight.T).softmax(-1).permute(0, 3, 1, 2)
    torch.testing.assert_close(function(images), expected)


def test_an_open_last_axis_is_refused():
    with pytest.raises(ShapeError, match=r"\(None,\).*must be known"):
        made(layers.Dense(3), (None,))


@pytest.mark.parametrize("units", [0, -1, 2.5, "3", True, None])
def test_units_are_a_positive_integer(units):
    with pytest.raises(LaminaError, match=r"Dense got units=.* positive integer"):
        layers.Dense(units)


def test_embedding_looks_vectors_up():
    table = layers.Embedding(10, 4)
    symbol, function = made(table, (7,), dtype="int64")
    assert symbol.shape == (7, 4)
    assert symbol.dtype == torch.float32
    weight = table.modules[""].weight
    assert torch.equal(function(torch.tensor([[3, 9]])), weight[[3, 9]][None])
    assert weight.abs().max() <= 0.05


def test_embedding_refuses_floats_and_says_how_to_declare_integers():
    with pytest.raises(LaminaError, match='dtype="int64"'):
        layers.Embedding(10, 4)(layers.Input((7,)))
