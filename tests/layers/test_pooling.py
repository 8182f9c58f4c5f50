import math

import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.probe import run
from lamina.nn import MaxPool2d


def made(layer, shape):
    symbol = layer(layers.Input(shape))
    return symbol, lambda x: run(symbol.call.plan, layer.modules, [x])


def pooled(image, size, stride, padding, reduce):
    """Windows of an (H, W) array as Keras documents; pixels outside the image take no part."""
    out, begin = [], []
    for length in image.shape:
        if padding == "same":
            count = math.ceil(length / stride)
            begin.append(max((count - 1) * stride + size - length, 0) // 2)
        else:
            count = (length - size) // stride + 1
            begin.append(0)
        out.append(count)
    result = np.zeros(out, np.float32)
    for r in range(out[0]):
        for c in range(out[1]):
            y, x = r * stride - begin[0], c * stride - begin[1]
            result[r, c] = reduce(image[max(y, 0) : y + size, max(x, 0) : x + size])
    return result


@pytest.mark.parametrize(("size", "stride"), [(2, None), (2, 1), (3, 1), (3, 2), (3, None), (4, 3), (1, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("pixels", [(7, 8), (9, 5)])
@pytest.mark.parametrize(("kind", "reduce"), [(layers.MaxPooling2D, np.max), (layers.AveragePooling2D, np.mean)])
def test_pools_as_keras_documents(kind, reduce, size, stride, padding, pixels):
    image = torch.randn(1, 1, *pixels) - 5  # all negative: a zero of the padding would win the maximum
    symbol, function = made(kind(size, stride, padding), (1, *pixels))
    expected = pooled(image[0, 0].numpy(), size, stride or size, padding, reduce)
    assert symbol.shape[1:] == expected.shape
    np.testing.assert_allclose(function(image)[0, 0], expected, atol=1e-5)


def test_builds_one_pooling_wherever_torchs_arguments_say_it():
    for layer in (layers.MaxPooling2D(), layers.MaxPooling2D(padding="same"), layers.MaxPooling2D(3, 1, "same")):
        made(layer, (1, 9, 9))
        assert [type(module) for module in layer.modules.values()] == [MaxPool2d]


def test_a_number_pads_as_torch_does():
    images = torch.randn(1, 2, 8, 8) - 5
    for kind, module in ((layers.MaxPooling2D, nn.MaxPool2d), (layers.AveragePooling2D, nn.AvgPool2d)):
        assert torch.equal(made(kind(3, 2, 1), (2, 8, 8))[1](images), module(3, 2, 1)(images))


def test_global_pools_leave_one_number_per_channel():
    images = torch.randn(2, 3, 4, 5)
    assert torch.equal(made(layers.GlobalAveragePooling2D(), (3, 4, 5))[1](images), images.mean((2, 3)))
    assert torch.equal(made(layers.GlobalMaxPooling2D(), (3, 4, 5))[1](images), images.amax((2, 3)))
    assert made(layers.GlobalMaxPooling2D(keepdims=True), (3, 4, 5))[0].shape == (3, 1, 1)


def test_nonsense_and_flat_tensors_are_refused():
    with pytest.raises(LaminaError, match="MaxPooling2D got pool_size=0"):
        layers.MaxPooling2D(0)
    with pytest.raises(ShapeError, match="image is expected"):
        made(layers.GlobalAveragePooling2D(), (7,))
