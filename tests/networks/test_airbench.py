"""The airbench network: its table, its whitening, and that it can be trained."""

import pytest
import torch

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.airbench import Airbench


def test_the_parameters_are_those_of_the_table():
    net = networks.create("airbench")
    by_hand = 24 * 12 + 24 + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) + 2 * 2 * (64 + 256 + 256) + 2560
    assert sum(p.numel() for p in net.parameters()) == by_hand == 1_972_792


@pytest.mark.parametrize("side", [32, 40])
def test_any_size_gives_logits_and_every_free_parameter_a_gradient(side):
    net = Airbench(5, in_channels=1, width=0.25)
    logits = net(torch.randn(4, 1, side, side))
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.requires_grad)


def test_rows_do_not_see_each_other_in_eval_mode():
    net = Airbench(width=0.25).eval()
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


def test_convolutions_start_as_identities_in_their_first_channels():
    weight = Airbench(width=0.25).block1[4].weight
    torch.testing.assert_close(weight[:, :, 1, 1], torch.eye(16))
    assert weight.sum() == 16


def test_whitened_patches_have_unit_variance_and_the_kernels_are_fixed():
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(64, 3, 36, 36), 5, stride=1)
    net = Airbench()
    net.whiten(smooth, epsilon=0.0)
    out = torch.nn.functional.conv2d(smooth, net.whiten_conv.weight)
    torch.testing.assert_close(out.pow(2).mean((0, 2, 3)), torch.ones(24), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(out[:, 12:], -out[:, :12])
    assert not net.whiten_conv.weight.requires_grad


def test_a_width_that_leaves_no_channels_is_refused():
    for width in (0, -1, 0.001):
        with pytest.raises(LaminaError, match=f"width is {width}"):
            Airbench(width=width)
