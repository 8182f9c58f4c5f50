"""DeepLabV3: counts by hand, torchvision's whole network beside, and networks that no longer halve their maps."""

import pytest
import torch
import torchvision
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.deeplab import DeepLabV3, dilate


def count(net):
    return sum(p.numel() for p in net.parameters())


def renamed(theirs):
    """torchvision's state under our keys."""
    own = {f"classifier.0.convs.{index}.": f"branches.{index}." for index in range(4)}
    own |= {"classifier.0.convs.4.1.": "whole.0.", "classifier.0.convs.4.2.": "whole.1."}
    own |= {"classifier.0.project.0.": "project.0.0.", "classifier.0.project.1.": "project.0.1."}
    own |= {"classifier.1.": "refine.0.", "classifier.2.": "refine.1.", "classifier.4.": "head."}
    own["backbone."] = "trunk.net."
    state = {}
    for name, value in theirs.state_dict().items():
        old = next(each for each in own if name.startswith(each))
        state[own[old] + name.removeprefix(old)] = value
    return state


@pytest.mark.parametrize("training", [False, True])
def test_answers_are_torchvision_s_with_its_weights(training, with_random_state):
    theirs = torchvision.models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=False
    )
    ours = networks.create("deeplabv3", num_classes=21, arguments={"output_stride": 8, "dropout": 0.0})
    assert count(ours) == count(theirs) == 39_638_869
    with_random_state(theirs)
    theirs.classifier[0].project[3].p = 0.0
    ours.load_state_dict(renamed(theirs), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = ours.train(training)(images), theirs.train(training)(images)["out"]
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_no_map_is_coarser_than_the_output_stride(stride, rates, backbone):
    net = networks.create(
        "deeplabv3", num_classes=2, arguments={"backbone": backbone, "output_stride": stride, "width": 4}
    )
    assert [branch[0].dilation[0] for branch in net.branches[1:]] == rates
    with torch.no_grad():
        maps = net.trunk.eval()(torch.zeros(1, 3, 64, 64))
    assert maps[net.stride].shape[-1] == 64 // stride


def test_dilated_layers_see_as_far_as_before():
    """At the places that both have, maps are those of the network as it was, away from the edges."""
    torch.manual_seed(0)
    under = networks.create("mobilenet_v2", arguments={"width": 0.35}).eval()
    images = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        before = networks.Trunk(under)(images)[32]
        trunk = networks.Trunk(under)
        dilate(trunk, 16)
        after = trunk(images)[32]
    assert after.shape[-1] == 2 * before.shape[-1]
    torch.testing.assert_close(after[..., 16, 16], before[..., 8, 8], rtol=1e-3, atol=1e-4)


def test_a_single_picture_can_be_trained_on():
    net = networks.create("deeplabv3", num_classes=2, arguments={"backbone": "mobilenet_v2", "width": 4}).train()
    net(torch.randn(1, 3, 96, 96)).mean().backward()


def test_networks_that_halve_their_maps_otherwise_are_refused():
    with pytest.raises(LaminaError, match="halves its map of stride 16 by MaxPool2d"):
        networks.create("deeplabv3", num_classes=2, arguments={"backbone": "vgg11_bn"})
    with pytest.raises(LaminaError, match="go down to stride 4"):
        DeepLabV3(networks.Trunk(networks.create("cifar_resnet20")), 2)


def test_padding_kinds_of_mobilenet_both_keep_the_size():
    for padding in ("torch", "same"):
        under = networks.create("mobilenet_v2", arguments={"width": 0.1, "padding": padding})
        trunk = networks.Trunk(under)
        dilate(trunk, 8)
        assert trunk.eval()(torch.zeros(1, 3, 64, 64))[32].shape[-1] == 8
        assert all(isinstance(layer.stride, tuple) for layer in trunk.modules() if isinstance(layer, nn.Conv2d))
