"""SegNet: counts by hand, and values that go back to where they were the maximum."""

import pytest
import torch
import torch.nn.functional as F

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.segnet import SegNet


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_the_parameters_on_vgg16_are_counted_by_hand():
    blocks = 0
    for before, *after in ((512, 512, 512, 512), (512, 512, 512, 256), (256, 256, 256, 128), (128, 128, 64), (64, 64)):
        for wide in after:
            blocks += 9 * before * wide + 2 * wide
            before = wide
    net = networks.create("segnet", num_classes=11)
    assert count(net.blocks) == blocks == 14_716_160
    assert count(net) == 14_723_136 + blocks + 9 * 64 * 11 + 11 == 29_445_643
    assert count(net.narrow) == 0


def test_the_decoder_mirrors_the_encoder_of_any_vgg():
    with torch.device("meta"):
        sizes = networks.create("vgg13_bn").features
    assert networks.segnet._convolutions(type("Net", (), {"features": sizes})) == [2, 2, 2, 2, 2]


def test_answers_are_those_of_torch_s_pooling_indices():
    torch.manual_seed(0)
    net = networks.create("segnet", num_classes=3, arguments={"backbone": "vgg11_bn"}).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x, places = images, []
        for layer in net.trunk.net.features:
            if isinstance(layer, torch.nn.MaxPool2d):
                x, found = F.max_pool2d(x, 2, return_indices=True)
                places.append(found)
            else:
                x = layer(x)
        for block in net.blocks.values():
            x = block(F.max_unpool2d(x, places.pop(), 2))
        torch.testing.assert_close(net(images), net.head(x))


def test_it_stands_on_networks_that_do_not_pool():
    net = networks.create("segnet", num_classes=2, arguments={"backbone": "resnet18"})
    assert list(net.narrow) == ["16"]  # 512 channels to the 256 of the finer map
    assert net.finest == 2


def test_networks_whose_strides_do_not_double_are_refused():
    trunk = networks.Trunk(networks.create("cifar_resnet20"))
    trunk.dims = {1: 16, 4: 64}
    with pytest.raises(LaminaError, match="strides 1, 4"):
        SegNet(trunk, 2)
