import pytest
import torch
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.probe import run

IMAGES = torch.randn(4, 6, 3, 5) * 2 + 1


def made(layer, shape, data_format=None):
    symbol = layer(layers.Input(shape, data_format=data_format))
    return symbol, lambda x: run(symbol.call.plan, layer.modules, [x]).detach()


def normal(x, axes, eps=1e-3):
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, unbiased=False, keepdim=True) + eps).sqrt()


def test_batch_norm_has_keras_momentum_and_epsilon():
    layer = layers.BatchNormalization()
    _, function = made(layer, (6, 3, 5))
    torch.testing.assert_close(function(IMAGES), normal(IMAGES, (0, 2, 3)), atol=1e-5, rtol=1e-4)
    norm = layer.modules[""]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, 0.01 * IMAGES.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.99 + 0.01 * IMAGES.var((0, 2, 3), unbiased=False))


@pytest.mark.parametrize(("shape", "data_format", "axis"), [((6, 3, 5), None, 1), ((3, 5, 6), "channels_last", -1)])
def test_batch_norm_takes_the_channel_axis_of_either_layout(shape, data_format, axis):
    _, function = made(layers.BatchNormalization(axis=axis), shape, data_format)
    torch.testing.assert_close(function(IMAGES), normal(IMAGES, (0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_batch_norm_over_columns_is_refused_with_both_remedies():
    with pytest.raises(ShapeError, match=r"rows or columns.*axis 1 here.*channels_last"):
        made(layers.BatchNormalization(axis=-1), (6, 3, 5))


def test_batch_norm_of_vectors_and_sequences_normalises_features():
    vectors, sequences = torch.randn(8, 5), torch.randn(4, 7, 5)
    for x, axes in ((vectors, 0), (sequences, (0, 1))):
        _, function = made(layers.BatchNormalization(), tuple(x.shape[1:]))
        torch.testing.assert_close(function(x), normal(x, axes), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization])
def test_center_and_scale_switch_offset_and_scale_off(kind):
    for center, scale in ((False, True), (True, False), (False, False)):
        extra = {"groups": 3} if kind is layers.GroupNormalization else {}
        layer = kind(center=center, scale=scale, gamma_initializer="ones", **extra)
        _, function = made(layer, (6, 3, 5))
        keys = [name for name, _ in layer.modules[""].named_parameters()] if "" in layer.modules else []
        assert keys == ["weight"] * scale + ["bias"] * center
        assert function(IMAGES).shape == IMAGES.shape


def test_layer_norm_normalises_the_channels_of_either_layout():
    for shape, data_format in (((6, 3, 5), None), ((3, 5, 6), "channels_last")):
        _, function = made(layers.LayerNormalization(), shape, data_format)
        torch.testing.assert_close(function(IMAGES), normal(IMAGES, 1), atol=1e-5, rtol=1e-4)


def test_layer_norm_takes_any_axes():
    for axis, axes in ((-1, 3), ((1, 2, 3), (1, 2, 3)), ([1, 3], (1, 3))):
        _, function = made(layers.LayerNormalization(axis=axis), (6, 3, 5))
        torch.testing.assert_close(function(IMAGES), normal(IMAGES, axes), atol=1e-5, rtol=1e-4)
    plain = layers.LayerNormalization()
    made(plain, (7,))
    assert [type(module) for module in plain.modules.values()] == [nn.LayerNorm]


def test_group_norm_normalises_each_group_of_channels():
    _, function = made(layers.GroupNormalization(groups=3), (6, 3, 5))
    grouped = IMAGES.reshape(4, 3, 2, 3, 5)
    torch.testing.assert_close(function(IMAGES), normal(grouped, (2, 3, 4)).reshape(IMAGES.shape), atol=1e-5, rtol=1e-4)
    _, each = made(layers.GroupNormalization(groups=-1), (6, 3, 5))
    torch.testing.assert_close(each(IMAGES), normal(IMAGES, (2, 3)), atol=1e-5, rtol=1e-4)
    with pytest.raises(ShapeError, match="must divide the 6 channels"):
        made(layers.GroupNormalization(), (6, 3, 5))


def test_local_response_norm_divides_by_neighbouring_channels():
    _, function = made(layers.LocalResponseNormalization(3, alpha=0.5, beta=0.75, k=2.0), (6, 3, 5))
    squares = torch.nn.functional.pad(IMAGES.square(), (0, 0, 0, 0, 1, 1))
    sums = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    torch.testing.assert_close(function(IMAGES), IMAGES / (2.0 + 0.5 / 3 * sums) ** 0.75)


def test_initial_values_are_the_ones_asked_for():
    layer = layers.BatchNormalization(
        gamma_initializer="zeros", moving_variance_initializer=layers.initializers.Constant(4.0)
    )
    made(layer, (6, 3, 5))
    assert layer.modules[""].weight.eq(0).all()
    assert layer.modules[""].running_var.eq(4).all()


def test_nonsense_is_refused():
    with pytest.raises(LaminaError, match=r"momentum=1\.5"):
        layers.BatchNormalization(momentum=1.5)
    with pytest.raises(ShapeError, match="known size"):
        made(layers.LayerNormalization(), (None,))
