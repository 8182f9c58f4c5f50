"""NIN: the paper's CIFAR form, and the authors' ImageNet form."""

import pytest
import torch
import torch.nn.functional as F

from lamina import networks
from lamina.networks.nin import NIN, CifarNIN


def count(net):
    return sum(p.numel() for p in net.parameters())


# Channels before and behind, and the side of the kernel.
CIFAR_LAYERS = [
    (3, 192, 5), (192, 160, 1), (160, 96, 1),
    (96, 192, 5), (192, 192, 1), (192, 192, 1),
    (192, 192, 3), (192, 192, 1), (192, 10, 1),
]  # fmt: skip
IMAGENET_LAYERS = [
    (3, 96, 11), (96, 96, 1), (96, 96, 1),
    (96, 256, 5), (256, 256, 1), (256, 256, 1),
    (256, 384, 3), (384, 384, 1), (384, 384, 1),
    (384, 1024, 3), (1024, 1024, 1), (1024, 1000, 1),
]  # fmt: skip


# The second: the authors' file of float32 values has 29 MB.
@pytest.mark.parametrize(
    ("name", "layers", "parameters"), [("nin_cifar", CIFAR_LAYERS, 966_986), ("nin", IMAGENET_LAYERS, 7_595_176)]
)
def test_the_parameters_are_those_of_the_authors_nets(name, layers, parameters):
    net = networks.create(name)
    found = [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert found == layers
    assert count(net) == sum((fan * side**2 + 1) * width for fan, width, side in layers) == parameters


@pytest.mark.parametrize(
    ("net", "side", "sides"),
    [(NIN(5), 224, [54, 27, 13, 6]), (CifarNIN(), 32, [32, 16, 8]), (CifarNIN(), 45, [45, 22, 11])],
)
def test_features_have_the_sides_of_the_tables(net, side, sides):
    with torch.no_grad():
        maps = net.eval().features(torch.randn(2, 3, side, side))
    assert {stride: m.shape[1] for stride, m in maps.items()} == dict(net.feature_dims)
    assert [m.shape[-1] for m in maps.values()] == sides


def test_a_logit_is_the_mean_of_its_class_map():
    net = CifarNIN(4, in_channels=1).eval()
    images = torch.randn(3, 1, 32, 32)
    class_maps = net.classifier(net.features(images)[4]).relu()
    torch.testing.assert_close(net(images), F.adaptive_avg_pool2d(class_maps, 1).flatten(1))


def test_an_mlpconv_is_a_small_perceptron_at_each_place():
    net = CifarNIN().eval()
    images = torch.randn(1, 3, 32, 32)
    first, second, third = (layer for layer in net.features.mlpconv1 if isinstance(layer, torch.nn.Conv2d))
    patch = images[0, :, 10:15, 4:9].flatten()  # around row 12, column 6
    x = (first.weight.flatten(1) @ patch + first.bias).relu()
    for layer in (second, third):
        x = (layer.weight[:, :, 0, 0] @ x + layer.bias).relu()
    torch.testing.assert_close(net.features(images)[1][0, :, 12, 6], x, rtol=1e-4, atol=1e-5)


def test_pools_keep_the_rim_and_do_not_count_what_lies_beyond_it():
    net = CifarNIN(dropout=0.0)
    ones = torch.ones(1, 192, 16, 16)
    assert torch.equal(net.features.pool2(ones), torch.ones(1, 192, 8, 8))
    assert net.features.pool1(torch.randn(1, 96, 32, 32)).shape[-1] == 16


@pytest.mark.parametrize(("net", "share"), [(CifarNIN(dropout=0.75), 0.75), (CifarNIN(), 0.5)])
def test_dropout_acts_behind_the_pools_in_training_only(net, share):
    ones = torch.ones(1, 192, 64, 64)
    for pool in (net.features.pool1, net.features.pool2):
        silent = float((pool.train()(ones) == 0).float().mean())
        assert silent == pytest.approx(share, abs=0.02)
        assert torch.equal(pool.eval()(ones), torch.ones(1, 192, 32, 32))


def test_initial_values_are_he_s():
    torch.manual_seed(0)
    net = NIN(10)
    assert net.features.mlpconv4[0].weight.std().item() == pytest.approx((2 / (384 * 9)) ** 0.5, rel=0.02)
    assert not net.features.mlpconv4[0].bias.any()
