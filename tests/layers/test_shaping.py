import pytest
import torch

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers.probe import run

IMAGES = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
KERAS = IMAGES.permute(0, 2, 3, 1)


def made(layer, shape, data_format=None):
    symbol = layer(layers.Input(shape, data_format=data_format))

    def function(x):
        y = run(symbol.call.plan, layer.modules, [x])
        return y.permute(0, 2, 3, 1) if symbol.permuted else y

    return symbol, function


def first(layer):
    return made(layer, (3, 4, 5))[1](IMAGES)


def last(layer):
    return made(layer, (4, 5, 3), "channels_last")[1](IMAGES)


def test_flatten_goes_in_the_users_order():
    assert torch.equal(first(layers.Flatten()), IMAGES.flatten(1))
    assert torch.equal(last(layers.Flatten()), KERAS.flatten(1))


def test_reshape_goes_in_the_users_order():
    assert torch.equal(first(layers.Reshape((5, -1))), IMAGES.reshape(2, 5, 12))
    assert torch.equal(last(layers.Reshape((10, 6))), KERAS.reshape(2, 10, 6))
    assert torch.equal(last(layers.Reshape((2, 10, 3))), KERAS.reshape(2, 2, 10, 3))
    vector, images = torch.arange(24.0).reshape(2, 12), layers.Reshape((2, 2, 3))
    assert torch.equal(made(images, (12,), "channels_last")[1](vector), vector.reshape(2, 2, 2, 3))


def test_reshape_refuses_what_cannot_be():
    with pytest.raises(ShapeError, match=r"It has 60 entries"):
        first(layers.Reshape((7, -1)))
    with pytest.raises(ShapeError, match="looks like"):
        made(layers.Reshape((28, 28, 1)), (784,))
    with pytest.raises(LaminaError, match="at most one"):
        layers.Reshape((-1, -1))


def test_permute_counts_axes_from_one_in_the_users_order():
    assert torch.equal(first(layers.Permute((2, 3, 1))), IMAGES.permute(0, 2, 3, 1))
    assert torch.equal(last(layers.Permute((3, 1, 2))), KERAS.permute(0, 3, 1, 2))
    assert torch.equal(last(layers.Permute((2, 1, 3))), KERAS.permute(0, 2, 1, 3))
    assert made(layers.Permute((3, 1, 2)), (4, 5, 3), "channels_last")[0].shape == (3, 4, 5)
    with pytest.raises(LaminaError, match="dims"):
        layers.Permute((0, 1))
    with pytest.raises(ShapeError, match="orders 2 axes"):
        first(layers.Permute((2, 1)))


@pytest.mark.parametrize(
    ("padding", "sides"),
    [(1, (1, 1, 1, 1)), ((1, 2), (1, 1, 2, 2)), (((1, 2), (3, 4)), (1, 2, 3, 4)), ([[0, 1], [2, 0]], (0, 1, 2, 0))],
)
def test_padding_and_cropping_undo_each_other(padding, sides):
    top, bottom, left, right = sides
    padded = first(layers.ZeroPadding2D(padding))
    assert padded.shape == (2, 3, 4 + top + bottom, 5 + left + right)
    assert padded.sum() == IMAGES.sum()
    assert torch.equal(padded[:, :, top : top + 4, left : left + 5], IMAGES)
    cut = made(layers.Cropping2D(padding), (3, *padded.shape[2:]))[1](padded)
    assert torch.equal(cut, IMAGES)


def test_cropping_must_leave_a_pixel():
    with pytest.raises(ShapeError, match="leaves no pixel"):
        first(layers.Cropping2D(2))


def test_upsampling_repeats_or_interpolates_between_pixel_centres():
    nearest = first(layers.UpSampling2D((2, 3)))
    assert torch.equal(nearest, IMAGES.repeat_interleave(2, 2).repeat_interleave(3, 3))
    row = torch.tensor([[[[0.0, 4.0]]]])
    bilinear = made(layers.UpSampling2D((1, 2), interpolation="bilinear"), (1, 1, 2))[1](row)
    assert bilinear.flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    with pytest.raises(LaminaError, match="interpolation"):
        layers.UpSampling2D(2, "lanczos")
