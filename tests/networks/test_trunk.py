"""What stands on a network uses its maps, and nothing that only classifies is left in it."""

import pytest
import torch
from torch import nn

from lamina import networks
from lamina.core.errors import FileFormatError, LaminaError, UnknownNameError
from lamina.networks import Trunk, contract


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "vgg11_bn", "densenet121"])
def test_gives_the_maps_of_the_network_and_every_parameter_takes_part(name):
    torch.manual_seed(0)
    net = networks.create(name, num_classes=5).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = contract.features(net, images)
    trunk = Trunk(net)
    maps = trunk(images)
    assert {stride: value.shape[1] for stride, value in maps.items()} == dict(trunk.dims)
    for stride, value in maps.items():
        assert torch.equal(value, wanted[stride])
    sum(value.square().mean() for value in maps.values()).backward()
    assert [name for name, parameter in trunk.named_parameters() if parameter.grad is None] == []


def test_modes_stay_as_they_were():
    net = networks.create("resnet18")
    net.layer1.eval()
    trunk = Trunk(net)
    assert trunk.net.training
    assert not trunk.net.layer1.training


def test_a_stride_that_is_missing_is_named_with_those_that_are_there():
    trunk = Trunk(networks.create("cifar_resnet20"))
    with pytest.raises(LaminaError, match="no map of stride 64"):
        trunk.channels(64)


class Head(nn.Module):
    def __init__(self, trunk, num_classes, *, width=4):
        super().__init__()
        self.trunk = trunk
        self.last = nn.Conv2d(trunk.channels(4), num_classes * width, 1)

    def forward(self, images):
        return self.last(self.trunk(images)[4])


@pytest.fixture
def standing(monkeypatch):
    monkeypatch.setitem(networks._STANDING["segmentation"], "head", (Head, "squeezenet1_1"))


def test_a_standing_network_is_made_by_name_and_made_again_from_what_it_was_made_from(standing):
    assert "head" in networks.names("segmentation")
    assert "head" not in networks.names()
    assert networks.backbone("head") == "squeezenet1_1"
    net = networks.create("head", num_classes=3, in_channels=1, arguments={"width": 2})
    told = networks.architecture(net)
    again = networks.recreate(told["name"], told["arguments"])
    assert again(torch.zeros(1, 1, 64, 64)).shape == net(torch.zeros(1, 1, 64, 64)).shape
    again.load_state_dict(net.state_dict())
    other = networks.create("head", num_classes=3, arguments={"backbone": "cifar_resnet20"})
    assert networks.architecture(other)["arguments"]["backbone"] == "cifar_resnet20"


def test_a_standing_network_on_somebody_s_own_module_names_no_code(standing):
    made = networks.create_on("head", networks.create("cifar_resnet20"), arguments={"num_classes": 2})
    assert networks.architecture(made)["arguments"]["backbone"] == "cifar_resnet20"
    own = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    assert networks.architecture(networks.create_on("head", own, arguments={"num_classes": 2})) is None


def test_wrong_names_and_arguments_are_told(standing):
    with pytest.raises(UnknownNameError, match="'head'"):
        networks.check_name("haed", "segmentation")
    with pytest.raises(LaminaError, match="height"):
        networks.create("head", num_classes=2, arguments={"height": 3})
    with pytest.raises(LaminaError, match="num_classes is needed"):
        networks.create("head")
    with pytest.raises((FileFormatError, UnknownNameError)):
        networks.recreate("nothing", {})
    with pytest.raises(UnknownNameError, match="segmentation"):
        networks.names("segmentatoin")
