"""What networks have in common: errors that say what fits, heads that can be exchanged, and torch's own tools."""

import copy

import pytest
import torch
from torch import fx, nn

from lamina import networks
from lamina.core.errors import LaminaError, ShapeError
from lamina.networks.airbench import Airbench
from lamina.networks.cifar_resnet import CifarResNet
from lamina.networks.fastconvnet import FastConvNet
from lamina.networks.lenet5 import LeNet5
from lamina.networks.nin import CifarNIN
from lamina.networks.squeezenet import SqueezeNet

SMALL = [LeNet5, CifarNIN, FastConvNet, Airbench, CifarResNet]


# Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*SMALL, SqueezeNet])
@pytest.mark.parametrize("shape", ["C 64 64", "2 N", "1 1 C 64 64"])
def test_what_is_no_batch_of_pictures_is_told(make, shape):
    net = make().eval()
    sizes = {"C": net.in_channels, "N": net.in_channels * 64 * 64}
    images = torch.zeros([sizes.get(part) or int(part) for part in shape.split()])
    with pytest.raises(ShapeError, match=r"was given a tensor of the shape .*\(B C H W\)"):
        net(images)


def test_wrong_channels_are_told_whichever_way_the_pictures_are_passed():
    net = CifarResNet(8)
    for passed in (lambda: net(torch.zeros(2, 1, 32, 32)), lambda: net(images=torch.zeros(2, 1, 32, 32))):
        with pytest.raises(ShapeError, match=r"1 channels\. It was built for 3\. Build it with in_channels=1"):
            passed()


# The figures of the files' docstrings; other files have theirs in their own tests.
@pytest.mark.parametrize(
    ("name", "px"),
    [
        ("airbench", 9),
        ("alexnet_2012", 63),
        ("fastconvnet", 24),
        ("nin", 39),
        ("nin_cifar", 4),
        ("resnet18", 1),
        ("squeezenet1_0", 21),
        ("squeezenet1_1", 17),
    ],
)
def test_the_smallest_picture_is_the_one_that_the_file_tells(name, px):
    with torch.device("meta"):
        net = networks.create(name)
    assert net.smallest_px() == px
    net.check_size((px, px + 1))
    if px > 1:
        with pytest.raises(ShapeError, match=f"of {px - 1} x {px} px.*smallest .* {px} x {px} px"):
            net.check_size((px - 1, px))


def test_an_error_that_is_not_the_shape_s_stays_torch_s_own():
    net = CifarResNet(8)
    with pytest.raises(RuntimeError, match="type"):
        net(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.zeros(1, 3, 2, 2))  # BatchNorm in train mode: one place of one picture has no variance
    assert net.training


def test_a_fault_of_one_s_own_network_is_told_in_torch_s_words():
    class Own(CifarResNet):
        def forward(self, images):
            return self.linear(images.flatten(1))

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Own(8)(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ShapeError, match="Something else than the size is wrong"):
        Own(8).check_size((32, 32))


def test_asking_for_the_size_leaves_modes_and_weights_alone():
    net = CifarResNet(8)
    net.layer1.eval()
    modes, state = [m.training for m in net.modules()], copy.deepcopy(net.state_dict())
    with pytest.raises(ShapeError):
        net.check_size((0, 4))
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


# Heads ------------------------------------------------------------------------------------------------------------


def test_a_new_head_has_the_old_one_s_type_and_is_recorded():
    net = networks.create("nin_cifar").to(torch.float64)
    net.replace_head(3)
    assert net.classifier.weight.dtype == torch.float64
    assert net.classifier.weight.shape == (3, 192, 1, 1)
    assert networks.architecture(net)["arguments"]["num_classes"] == 3
    again = networks.create("nin_cifar", arguments=networks.architecture(net)["arguments"]).double()
    again.load_state_dict(net.state_dict())


@pytest.mark.parametrize("count", [0, -1])
def test_no_classes_are_refused(count):
    with pytest.raises(LaminaError, match=f"num_classes is {count}"):
        CifarResNet(8).replace_head(count)


# Torch's tools ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[*SMALL, SqueezeNet], ids=lambda make: make.__name__)
def net(request):
    torch.manual_seed(0)
    return request.param(num_classes=4).eval()


@pytest.mark.parametrize(
    "through",
    [
        copy.deepcopy,
        fx.symbolic_trace,
        lambda net: torch.export.export(net, (torch.randn(2, net.in_channels, 64, 64),)).module(),
    ],
    ids=["deepcopy", "fx", "export"],
)
@torch.no_grad()
def test_copied_traced_and_exported_networks_answer_the_same(net, through):
    images = torch.randn(2, net.in_channels, 64, 64)
    torch.testing.assert_close(through(net)(images), net(images))


@torch.no_grad()
def test_a_compiled_network_answers_the_same_in_one_graph_and_tells_of_shapes():
    net = CifarResNet(8).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(compiled(images), net(images))
    exported = torch.export.export(net, (images,), strict=True).module()
    torch.testing.assert_close(exported(images), net(images))
    with pytest.raises(ShapeError, match="1 channels"):
        torch.compile(net, backend="eager")(torch.zeros(2, 1, 32, 32))


def test_a_network_within_another_module_keeps_its_keys():
    outer = nn.Sequential(nn.Identity(), CifarResNet(8))
    assert all(key.startswith("1.") for key in outer.state_dict())
    assert "1.linear.weight" in outer.state_dict()
