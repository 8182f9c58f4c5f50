"""U-Net: counts by hand, the paper's own form, and what carries the maps across."""

import pytest
import torch
import torch.nn.functional as F

from lamina import networks
from lamina.core.errors import LaminaError


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_the_parameters_on_mobilenet_v2_are_counted_by_hand():
    by_hand, before = 0, 1280
    for beside, wide in ((96, 256), (32, 128), (24, 64), (16, 32), (0, 16)):
        by_hand += 9 * (before + beside) * wide + 9 * wide * wide + 4 * wide
        before = wide
    by_hand += 16 * 11 + 11
    net = networks.create("unet", num_classes=11)
    assert count(net.trunk) == 3_504_872 - 1_281_000
    assert count(net) == by_hand + 2_223_872 == 6_628_987


def test_the_paper_s_form_has_its_figures():
    """Table and figure 1: 64 channels at first, twice as many after each halving, 2x2 transposed convolutions, 23 layers."""
    by_hand, before = 0, 1
    for level in range(5):
        wide = 64 * 2**level
        by_hand += 9 * before * wide + wide + 9 * wide * wide + wide
        before = wide
    for level in reversed(range(4)):
        wide = 64 * 2**level
        by_hand += 4 * before * wide + wide + 9 * 2 * wide * wide + wide + 9 * wide * wide + wide
        before = wide
    by_hand += 64 * 2 + 2
    net = networks.create("unet_2015", num_classes=2, in_channels=1)
    assert count(net) == by_hand == 31_030_658
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert len(layers) == 23


@pytest.mark.parametrize(("depth", "width"), [(1, 4), (3, 8), (5, 2)])
def test_the_plain_form_has_any_depth_and_width(depth, width):
    arguments = {"backbone_arguments": {"depth": depth, "width": width}}
    net = networks.create("unet_2015", num_classes=2, arguments=arguments).eval()
    assert net.multiple == 2**depth
    assert list(net.blocks) == [str(2**level) for level in reversed(range(depth))]
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 33, 20)).shape == (1, 2, 33, 20)


def test_answers_are_those_of_the_layers_in_the_paper_s_order():
    torch.manual_seed(0)
    net = networks.create("unet_2015", num_classes=2, arguments={"backbone_arguments": {"depth": 2, "width": 4}}).eval()
    state = net.state_dict()
    images = torch.randn(1, 3, 16, 16)

    def twice(x, name):
        for index in (0, 1):
            x = F.relu(F.conv2d(x, state[f"{name}.{index}.0.weight"], state[f"{name}.{index}.0.bias"], padding=1))
        return x

    one = twice(images, "trunk.net.stages.0")
    two = twice(F.max_pool2d(one, 2), "trunk.net.stages.1")
    x = twice(F.max_pool2d(two, 2), "trunk.net.stages.2")
    for name, beside in (("blocks.2", two), ("blocks.1", one)):
        up = F.conv_transpose2d(x, state[f"{name}.up.weight"], state[f"{name}.up.bias"], stride=2)
        x = twice(torch.cat([up, beside], 1), f"{name}.convs")
    expected = F.conv2d(x, state["head.weight"], state["head.bias"])
    with torch.no_grad():
        torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)


def test_each_block_has_its_own_width_and_the_finest_may_be_left_out():
    torch.manual_seed(0)
    net = networks.create("unet", num_classes=3, arguments={"backbone": "mobilenet_v2", "width": [8, 6]}).eval()
    assert {name: block.convs[1][0].out_channels for name, block in net.blocks.items()} == {"16": 8, "8": 6}
    images, coarse = torch.randn(1, 3, 70, 90), []
    net.head.register_forward_hook(lambda module, given, scores: coarse.append(scores))
    with torch.no_grad():
        logits = net(images)
    assert coarse[0].shape == (1, 3, 12, 12)  # of 96 x 96 px
    expected = F.interpolate(coarse[0], size=(96, 96), mode="bilinear", align_corners=False)[..., :70, :90]
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("widths", [[], [8] * 6, [8, 0]])
def test_widths_that_are_none_or_too_many_are_refused(widths):
    with pytest.raises(LaminaError, match="strides 16, 8, 4, 2, 1, in this order"):
        networks.create("unet", num_classes=3, arguments={"backbone": "mobilenet_v2", "width": widths})


def test_no_depth_is_refused():
    with pytest.raises(LaminaError, match="depth 0"):
        networks.create("unet_encoder", arguments={"depth": 0})


@pytest.mark.parametrize("backbone", ["cifar_resnet20", "mobilenet_v2"])
def test_training_multiplies_less_and_gives_the_same(backbone, monkeypatch):
    torch.manual_seed(0)
    net = networks.create("unet", num_classes=3, arguments={"backbone": backbone, "width": 4}).double().train()
    images = torch.randn(2, 3, 40, 64, dtype=torch.float64)
    pull = torch.randn(2, 3, 40, 64, dtype=torch.float64)

    def answered():
        logits = net(images)
        return logits, torch.autograd.grad(logits, list(net.parameters()), pull)

    logits, gradients = answered()
    calls = []
    repeated = F.interpolate
    monkeypatch.setattr(F, "interpolate", lambda *args, **told: calls.append(1) or repeated(*args, **told))
    for block in net.blocks.values():
        block.training = False  # its layers still train
    other, others = answered()
    assert len(calls) == len(net.blocks)
    torch.testing.assert_close(logits, other)
    for one, another in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, another)
