"""Folding: what a BatchNorm does to a convolution's output is done to its weights, where nothing else sees that output."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lamina import networks
from lamina.export.folding import fold


def alive(net):
    """With statistics that are not those of a fresh BatchNorm."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_()
    return net.eval()


def norms(net):
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (nn.Conv2d, {"bias": False}),
        (nn.Conv2d, {"bias": True, "padding_mode": "reflect", "padding": 1}),
        (nn.Conv2d, {"groups": 2}),
        (nn.ConvTranspose2d, {"stride": 2}),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
def test_a_convolution_takes_its_batch_norm_in(kind, arguments, affine):
    torch.manual_seed(0)
    net = alive(nn.Sequential(kind(4, 6, 3, **arguments), nn.BatchNorm2d(6, affine=affine), nn.ReLU()))
    images = torch.randn(2, 4, 8, 8)
    folded = fold(net, (images,))
    assert (norms(net), norms(folded)) == (1, 0)
    torch.testing.assert_close(folded(images), net(images), rtol=1e-4, atol=1e-5)


class Odd(nn.Module):
    """A convolution and a BatchNorm whose way from one to the other is written by the test."""

    def __init__(self, way):
        super().__init__()
        self.conv, self.norm, self.way = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), way

    def forward(self, images):
        return self.way(self, images)


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net.norm(net.conv(x).relu_()),
        lambda net, x: (lambda y: net.norm(y) + y)(net.conv(x)),
        lambda net, x: net.norm(net.conv(net.conv(x))),
        lambda net, x: net.norm(net.norm(net.conv(x))),
        lambda net, x: net.conv(net.norm(x)),
        lambda net, x: net.norm(net.conv(x)) * net.norm.weight[0],
    ],
    ids=["in place", "used twice", "called twice", "norm twice", "norm first", "looked into"],
)
def test_what_anything_else_sees_stays_as_it_is(way):
    torch.manual_seed(0)
    net, images = alive(Odd(way)), torch.randn(2, 3, 8, 8)
    folded = fold(net, (images,))
    assert norms(folded) == 1
    torch.testing.assert_close(folded(images), net(images))


@pytest.mark.parametrize(("name", "left"), [("cifar_resnet20", 0), ("airbench", 3), ("fastconvnet", 2)])
def test_networks_keep_only_the_batch_norms_that_follow_something_else(name, left):
    net = alive(networks.create(name))
    images = torch.randn(2, net.in_channels, *((28, 28) if name == "fastconvnet" else (32, 32)))
    folded = fold(net, (images,))
    assert norms(folded) == left
    torch.testing.assert_close(folded(images), net(images), rtol=1e-3, atol=1e-3)


def test_the_module_itself_is_left_as_it_was():
    net = alive(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fold(net, (torch.randn(2, 3, 8, 8),))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert norms(net) == 1
