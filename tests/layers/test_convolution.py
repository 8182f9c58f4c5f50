"""Against loops in numpy over the formulas that Keras and TensorFlow document."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.probe import run


def made(layer, shape, data_format=None):
    symbol = layer(layers.Input(shape, data_format=data_format))
    return symbol, lambda x: run(symbol.call.plan, layer.modules, [x]).detach()


def pads(size, kernel, stride, dilation, padding):
    if padding == "valid":
        return 0, 0
    total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def convolved(image, weight, stride, dilation, padding):
    """(C, H, W) with (O, C, k, k) by its definition."""
    kernel = weight.shape[2]
    sides = [pads(size, kernel, stride, dilation, padding) for size in image.shape[1:]]
    image = np.pad(image, [(0, 0), *sides])
    span = (kernel - 1) * dilation + 1
    rows, columns = ((size - span) // stride + 1 for size in image.shape[1:])
    out = np.zeros((weight.shape[0], rows, columns))
    for r in range(rows):
        for c in range(columns):
            y, x = r * stride, c * stride
            out[:, r, c] = np.einsum("oijk,ijk->o", weight, image[:, y : y + span : dilation, x : x + span : dilation])
    return out


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(3, 1, 1), (2, 1, 1), (3, 2, 1), (4, 2, 1), (5, 3, 1), (3, 1, 2), (2, 1, 3), (1, 2, 1)],
)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(9, 12), (8, 7)])
def test_computes_keras_convolution(kernel, stride, dilation, padding, size):
    conv = layers.Conv2D(2, kernel, stride, padding, dilation_rate=dilation)
    symbol, function = made(conv, (3, *size))
    image = torch.randn(1, 3, *size)
    expected = convolved(image[0].numpy(), conv.modules[""].weight.detach().numpy(), stride, dilation, padding)
    assert symbol.shape == expected.shape
    np.testing.assert_allclose(function(image)[0], expected, atol=1e-5)


def test_same_is_torchs_own_padding_wherever_that_says_it():
    conv = layers.Conv2D(4, (3, 5), padding="same", dilation_rate=(2, 1))
    made(conv, (3, 9, 9))
    assert list(conv.modules) == [""]
    assert isinstance(conv.modules[""], nn.Conv2d)
    assert conv.modules[""].padding == (2, 2)
    strided = layers.Conv2D(4, 3, strides=2, padding="same")
    made(strided, (3, 9, 9))
    assert list(strided.modules) == ["_pad", ""]


def test_a_number_is_the_pixels_on_each_side():
    assert made(layers.Conv2D(4, 3, padding=2), (1, 8, 8))[0].shape == (4, 10, 10)
    assert made(layers.Conv2D(4, 3, padding=(0, 1)), (1, 8, 8))[0].shape == (4, 6, 8)


def test_groups_and_bias_are_torchs():
    conv = layers.Conv2D(4, 3, groups=2, use_bias=False, activation="relu")
    made(conv, (6, 8, 8))
    assert conv.modules[""].weight.shape == (4, 3, 3, 3)
    assert conv.modules[""].bias is None
    assert list(conv.modules) == ["", "_relu"]
    with pytest.raises(ShapeError, match="groups=4 must divide"):
        made(layers.Conv2D(4, 3, groups=4), (6, 8, 8))


def test_keras_layout_gives_the_same_numbers():
    conv = layers.Conv2D(4, 3, strides=2, padding="same")
    symbol, function = made(conv, (8, 9, 3), "channels_last")
    assert symbol.shape == (4, 5, 4)
    assert function(torch.zeros(1, 3, 8, 9)).shape == (1, 4, 4, 5)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2), (4, 2), (5, 2), (2, 3), (1, 2), (5, 3), (4, 3)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_transposed_is_the_gradient_of_the_convolution(kernel, stride, padding):
    """Keras: the transposed convolution of size n is the gradient of the convolution that takes its output to n."""
    size = 5
    layer = layers.Conv2DTranspose(2, kernel, stride, padding, use_bias=False)
    symbol, function = made(layer, (3, size, size))
    expected = size * stride if padding == "same" else size * stride + max(kernel - stride, 0)
    assert symbol.shape == (2, expected, expected)
    weight = layer.modules[""].weight.detach()
    inputs = torch.randn(1, 3, size, size)
    image = torch.zeros(1, 2, expected, expected, requires_grad=True)
    before, after = pads(expected, kernel, stride, 1, padding)
    convolution = nn.functional.conv2d(nn.functional.pad(image, (before, after) * 2), weight, stride=stride)
    (gradient,) = torch.autograd.grad((convolution[..., :size, :size] * inputs).sum(), image)
    torch.testing.assert_close(function(inputs), gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("padding", "extra", "size"), [("same", 1, 10), ("same", 0, 9), ("valid", 1, 12), (1, None, 9)]
)
def test_transposed_size_with_output_padding_or_a_number(padding, extra, size):
    layer = layers.Conv2DTranspose(2, 3, 2, padding, output_padding=extra)
    assert made(layer, (3, 5, 5))[0].shape == (2, size, size)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_filters_each_channel_on_its_own(multiplier):
    layer = layers.DepthwiseConv2D(3, 2, "same", multiplier, use_bias=False)
    _, function = made(layer, (3, 8, 8))
    weight, image = layer.modules[""].weight.detach().numpy(), torch.randn(1, 3, 8, 8)
    for channel in range(3):
        kernels = weight[channel * multiplier : (channel + 1) * multiplier]
        expected = convolved(image[0, channel : channel + 1].numpy(), kernels, 2, 1, "same")
        ours = function(image)[0, channel * multiplier : (channel + 1) * multiplier]
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_separable_is_depthwise_then_one_by_one():
    layer = layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, activation="relu")
    symbol, function = made(layer, (3, 8, 8))
    assert list(layer.modules) == ["_depthwise", "_pointwise", "_relu"]
    first, second = layer.modules["_depthwise"], layer.modules["_pointwise"]
    image = torch.randn(1, 3, 8, 8)
    by_hand = nn.functional.conv2d(image, first.weight, padding=1, groups=3)
    expected = torch.einsum("bchw,oc->bohw", by_hand, second.weight[:, :, 0, 0]) + second.bias[:, None, None]
    torch.testing.assert_close(function(image), expected.relu().detach())
    assert symbol.shape == (5, 8, 8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Conv2D(0, 3),
        lambda: layers.Conv2D(4, 0),
        lambda: layers.Conv2D(4, (3, 3, 3)),
        lambda: layers.Conv2D(4, 3, padding="full"),
        lambda: layers.Conv2D(4, 3, padding=-1),
        lambda: layers.Conv2D(4, 3, strides=0),
        lambda: layers.Conv2D(4, 3, groups=0),
        lambda: layers.Conv2DTranspose(4, 3, output_padding=-1),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=0),
    ],
)
def test_nonsense_is_refused_where_it_is_written(make):
    with pytest.raises(LaminaError, match=r"(Conv2D|Conv2DTranspose|DepthwiseConv2D) got \w+="):
        make()


def test_a_flat_tensor_is_refused_with_the_remedy():
    with pytest.raises(ShapeError, match=r"Layer 'conv2d' .*\(784,\).*image is expected.*Reshape"):
        made(layers.Conv2D(4, 3), (784,))


def test_an_image_smaller_than_the_window_names_the_layer():
    with pytest.raises(ShapeError, match=r"Layer 'conv2d' \(Conv2D\) was called on shape \(1, 2, 2\)"):
        made(layers.Conv2D(4, 3), (1, 2, 2))


def test_penalties_name_the_parameters():
    layer = layers.SeparableConv2D(4, 3, depthwise_regularizer="l1", bias_regularizer="l2")
    assert layer.penalties == {
        "_depthwise.weight": layers.regularizers.L1(),
        "_pointwise.bias": layers.regularizers.L2(),
    }
