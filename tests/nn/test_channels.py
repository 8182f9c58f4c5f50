"""The shortcut without parameters."""

import torch

from lamina.nn import ChannelPad2d


def test_it_is_every_stride_th_place_between_zeros():
    x = torch.randn(2, 3, 5, 7)
    y = ChannelPad2d(5, stride=2)(x)
    assert y.shape == (2, 8, 3, 4)
    assert torch.equal(y[:, 2:5], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 5:].any()
