"""Class layers and maps of networks of any origin."""

import pytest
import torch
import torchvision
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError


@pytest.mark.parametrize(
    ("name", "head", "dims"),
    [
        ("resnet18", "fc", {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}),
        ("squeezenet1_1", "classifier.1", {2: 64, 4: 128, 8: 256, 16: 512}),
        ("mobilenet_v2", "classifier.1", {2: 96, 4: 144, 8: 192, 16: 576, 32: 1280}),
        ("densenet121", "classifier", {2: 64, 4: 128, 8: 256, 16: 512, 32: 1024}),
    ],
)
def test_torchvision_s_networks_are_asked_as_ours_are(name, head, dims):
    net = torchvision.models.get_model(name, weights=None)
    modes = [module.training for module in net.modules()]
    assert networks.class_layers(net) == (head,)
    assert dict(networks.feature_dims(net)) == dims
    assert [module.training for module in net.modules()] == modes
    net.eval()
    images = torch.randn(1, 3, 64, 96)
    before = networks.features(net, images)
    assert [tuple(value.shape[2:]) for value in before.values()] == [
        tuple(s // d for s in (64, 96)) for d in dims
    ] or name == "squeezenet1_1"
    networks.replace_head(net, 5)
    assert net(images).shape == (1, 5)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), networks.features(net, images).values(), strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_maps_of_torchvision_s_resnet_are_those_of_its_stages():
    theirs, ours = torchvision.models.resnet18(), networks.create("resnet18")
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    for (stride, a), (other, b) in zip(
        networks.features(theirs.eval(), images).items(), networks.features(ours.eval(), images).items(), strict=True
    ):
        assert stride == other
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_timm_s_networks_are_asked_as_ours_are():
    pytest.importorskip("timm")
    net = networks.create("timm/resnet18", num_classes=4).eval()
    assert networks.class_layers(net) == ("fc",)
    maps = networks.features(net, torch.randn(1, 3, 64, 64))
    assert {stride: value.shape[1] for stride, value in maps.items()} == dict(networks.feature_dims(net))
    assert [value.shape[2] for value in maps.values()] == [32, 16, 8, 4, 2]
    networks.replace_head(net, 6)
    assert net(torch.randn(1, 3, 64, 64)).shape == (1, 6)


def test_what_has_no_class_layer_or_no_maps_is_told():
    with pytest.raises(LaminaError, match="has no layer that gives classes"):
        networks.class_layers(nn.Sequential(nn.Conv2d(3, 3, 3)))
    with pytest.raises(LaminaError, match="gives no maps"):
        networks.feature_dims(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)))
    with pytest.raises(LaminaError, match="num_classes is 0"):
        networks.replace_head(nn.Sequential(nn.Linear(3, 3)), 0)


@pytest.mark.parametrize(
    ("name", "side"), [("squeezenet1_0", 32), ("squeezenet1_1", 32), ("nin", 64), ("nin_cifar", 32)]
)
def test_the_relu_behind_the_class_layer_goes_where_numbers_may_be_negative(name, side):
    net = networks.create(name, num_classes=6).eval()
    keys, images = list(net.state_dict()), torch.randn(2, 3, side, side)
    rectified = net(images)
    networks.contract.drop_final_relu(net)
    assert rectified.min() >= 0 > net(images).min()
    assert list(net.state_dict()) == keys
    made_from = networks.architecture(net)
    again = networks.recreate(made_from["name"], made_from["arguments"]).eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(images), net(images))


def test_networks_without_such_a_relu_stay_as_they_are():
    net, own = networks.create("resnet18", num_classes=2), nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    before = networks.architecture(net)
    for each in (net, own):
        networks.contract.drop_final_relu(each)
    assert networks.architecture(net) == before
    assert isinstance(own[1], nn.ReLU)
