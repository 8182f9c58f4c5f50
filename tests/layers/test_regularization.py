import pytest
import torch
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError


def built(layer, shape):
    layer(layers.Input(shape))
    return layer.modules[""]


def test_dropout_drops_its_rate_and_keeps_the_mean():
    torch.manual_seed(0)
    module = built(layers.Dropout(0.3), (4,))
    assert type(module) is nn.Dropout
    dropped = module(torch.ones(100_000))
    assert dropped.eq(0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)


def test_spatial_dropout_drops_whole_channels():
    torch.manual_seed(0)
    dropped = built(layers.SpatialDropout2D(0.5), (8, 3, 3))(torch.ones(16, 8, 3, 3)).flatten(2)
    assert dropped.eq(dropped[:, :, :1]).all()
    assert 0.3 < dropped.eq(0).float().mean() < 0.7


def test_noise_and_rescaling_build_their_modules():
    assert built(layers.GaussianNoise(0.2), (4,)).stddev == 0.2
    assert built(layers.Rescaling(2.0, 1.0), (4,))(torch.tensor([3.0])).item() == 7.0


def test_rescaling_makes_floats_of_uint8_images():
    assert layers.Rescaling(1 / 255)(layers.Input((1, 8, 8), "uint8")).dtype == torch.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dropout(1.5),
        lambda: layers.Dropout("a"),
        lambda: layers.SpatialDropout2D(-0.1),
        lambda: layers.GaussianNoise(-1),
        lambda: layers.Rescaling("1/255"),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(LaminaError, match=r"got \w+="):
        make()
