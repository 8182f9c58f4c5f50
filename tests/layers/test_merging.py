import pytest
import torch

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.probe import run

A, B, C = (torch.randn(2, 3, 4, 5) for _ in range(3))


def joined(layer, *shapes, data_format=None):
    symbol = layer([layers.Input(shape, data_format=data_format) for shape in shapes])
    return symbol, lambda *values: run(symbol.call.plan, {}, list(values))


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (layers.Add(), A + B + C),
        (layers.Multiply(), A * B * C),
        (layers.Average(), (A + B + C) / 3),
        (layers.Maximum(), torch.stack([A, B, C]).amax(0)),
        (layers.Concatenate(), torch.cat([A, B, C], 1)),
        (layers.Concatenate(axis=-1), torch.cat([A, B, C], 3)),
    ],
)
def test_joins_three_tensors(layer, formula):
    symbol, function = joined(layer, *[(3, 4, 5)] * 3)
    torch.testing.assert_close(function(A, B, C), formula)
    assert symbol.shape == formula.shape[1:]


def test_subtract_takes_exactly_two():
    assert torch.equal(joined(layers.Subtract(), (3, 4, 5), (3, 4, 5))[1](A, B), A - B)
    with pytest.raises(LaminaError, match="exactly two"):
        joined(layers.Subtract(), (3,), (3,), (3,))


def test_concatenate_counts_axes_as_the_user_does():
    symbol, function = joined(layers.Concatenate(axis=-1), (4, 5, 3), (4, 5, 3), data_format="channels_last")
    assert symbol.shape == (4, 5, 6)
    assert torch.equal(function(A, B), torch.cat([A, B], 1))


def test_tensors_of_fewer_axes_get_them_after_the_batch_as_in_keras():
    vector = torch.randn(2, 5)
    symbol, function = joined(layers.Multiply(), (3, 4, 5), (5,))
    torch.testing.assert_close(function(A, vector), A * vector[:, None, None, :])
    per_channel = torch.randn(2, 3)
    symbol, function = joined(layers.Multiply(), (4, 5, 3), (3,), data_format="channels_last")
    torch.testing.assert_close(function(A, per_channel), A * per_channel[:, :, None, None])
    assert symbol.shape == (4, 5, 3)


@pytest.mark.parametrize("layer", [layers.Add(), layers.Maximum(), layers.Concatenate()])
def test_shapes_that_do_not_fit_are_both_named(layer):
    with pytest.raises(ShapeError, match=r"\(3, 4, 5\) and \(3, 8, 5\)"):
        joined(layer, (3, 4, 5), (3, 8, 5))


@pytest.mark.parametrize("layer", [layers.Add(), layers.Concatenate()])
def test_one_tensor_is_no_list(layer):
    with pytest.raises(LaminaError, match="two or more"):
        layer(layers.Input((3,)))


def test_open_sizes_fit_anything():
    assert joined(layers.Concatenate(), (3, None, None), (2, 8, None))[0].shape == (5, 8, None)
    assert joined(layers.Add(), (3, None, None), (3, 8, 1))[0].shape == (3, 8, None)
