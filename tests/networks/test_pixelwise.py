"""Networks that give a class to every pixel: what all of them keep, whatever they stand on."""

import copy

import pytest
import torch

from lamina import networks
from lamina.core.errors import LaminaError, ShapeError

NAMES = ["unet", "segnet", "fcn8s", "fcn16s", "fcn32s", "deeplabv3"]
SMALL = {"backbone": "mobilenet_v2", "backbone_arguments": {"width": 0.1}}
ARGUMENTS = {"unet": {"width": 2}, "deeplabv3": {"width": 8}}


def small(name, classes=3, **more):
    torch.manual_seed(0)
    return networks.create(name, num_classes=classes, arguments=SMALL | ARGUMENTS.get(name, {}) | more)


def test_all_are_among_the_names():
    assert {*NAMES, "unet_2015"} <= {*networks.names("segmentation")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (45, 70), (1, 1), (1, 100)])
def test_logits_have_the_pictures_own_size(name, size):
    net = small(name).eval()
    with torch.no_grad():
        assert net(torch.randn(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    net = small(name).train()
    net(torch.randn(2, 3, 70, 64)).square().mean().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_a_batch_do_not_see_each_other(name):
    net = small(name).eval()
    images = torch.randn(3, 3, 50, 64)
    with torch.no_grad():
        alone = torch.cat([net(each[None]) for each in images])
        torch.testing.assert_close(net(images), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_and_one_made_again_from_its_description_answer_alike(name):
    net = small(name).eval()
    told = networks.architecture(net)
    again = networks.recreate(told["name"], told["arguments"]).eval()
    again.load_state_dict(net.state_dict())
    images = torch.randn(1, 3, 40, 64)
    with torch.no_grad():
        expected = net(images)
        assert torch.equal(copy.deepcopy(net)(images), expected)
        assert torch.equal(again(images), expected)


@pytest.mark.parametrize("name", ["unet", "segnet", "fcn8s"])
@pytest.mark.parametrize("backbone", ["squeezenet1_1", "densenet121", "vgg11_bn"])
def test_they_stand_on_networks_whose_maps_are_not_half_as_large_each_time(name, backbone):
    arguments = {"backbone": backbone, **({"hidden": 8} if name == "fcn8s" else {})}
    net = networks.create(name, num_classes=2, arguments=arguments).eval()
    with torch.no_grad():
        for size in [(64, 96), (37, 50), (1, 1)]:
            assert net(torch.randn(1, 3, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_padded_changes_nothing_of_an_even_size(name):
    """Of 64 px nothing is padded, so a network without this step answers the same."""
    net = small(name).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        bare = net.logits(net.trunk(images), (64, 64))
        assert torch.equal(net(images), bare)


def test_pictures_of_other_channels_and_a_picture_without_a_batch_are_refused():
    net = small("unet")
    with pytest.raises(ShapeError, match="with 3 channels"):
        net(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ShapeError, match="images\\[None\\]"):
        net(torch.zeros(3, 32, 32))


def test_the_mode_of_a_trunk_stays_as_it_was():
    under = networks.create("mobilenet_v2", arguments={"width": 0.1})
    under.features[3].eval()
    net = networks.create_on("unet", under, arguments={"num_classes": 2})
    assert net.trunk.net.training
    assert not net.trunk.net.features[3].training


def test_arguments_that_are_none_are_refused():
    with pytest.raises(LaminaError, match="finest is 4"):
        networks.fcn.FCN(networks.Trunk(networks.create("cifar_resnet20")), 2, finest=4)
    with pytest.raises(LaminaError, match="output_stride is 4"):
        small("deeplabv3", output_stride=4)
