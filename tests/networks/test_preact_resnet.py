"""Pre-activation ResNets against their paper's figures, by definition, and against timm's."""

import pytest
import torch
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.preact_resnet import CifarPreactResNet, PreactResNet


def count(module):
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("preact_resnet18", 11_687_720),
        ("preact_resnet50", 25_549_352),
        ("preact_resnet200", 64_666_152),
        ("cifar_preact_resnet110", 1_727_962),  # the paper: 1.7 million, and of the next two 1.7 and 10.2
        ("cifar_preact_resnet164", 1_703_258),
        ("cifar_preact_resnet1001", 10_327_706),
    ],
)
def test_parameters_and_layers_are_those_of_the_table(name, parameters):
    with torch.device("meta"):
        net = networks.create(name)
    assert count(net) == parameters
    weighted = [
        path
        for path, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in path
    ]
    assert len(weighted) == int(name.rpartition("resnet")[2])


def test_a_bottleneck_form_has_as_many_parameters_as_counted_by_hand():
    n, total, channels = 18, 3 * 9 * 16 + 32, 16
    for width in (16, 32, 64):
        for place in range(n):
            first = width == 16 and not place
            total += (
                (0 if first else 2 * channels) + channels * width + 2 * width + 9 * width**2 + 2 * width + 4 * width**2
            )
            total += 0 if place else channels * 4 * width
            channels = 4 * width
    assert total + 2 * 256 + 2570 == count(CifarPreactResNet(164, bottleneck=True, shortcut="projection")) == 1_703_258


def test_the_stages_have_the_parameters_of_the_tables():
    with torch.device("meta"):
        large, small = PreactResNet(50), networks.create("cifar_preact_resnet164")
    assert [count(large.get_submodule(f"layer{i}")) for i in (1, 2, 3, 4)] == [
        214_784,
        1_218_048,
        7_095_296,
        14_958_592,
    ]
    assert [count(small.get_submodule(f"layer{i}")) for i in (1, 2, 3)] == [81_920, 326_272, 1_291_520]


def test_shortcuts_are_one_straight_line_through_a_stage():
    net = PreactResNet(18).eval()
    with torch.no_grad():
        for unit in net.layer1:
            unit.conv2.weight.zero_()
    x = torch.randn(1, 64, 8, 8)
    assert torch.equal(net.layer1(x), x)  # negative values too: nothing stands behind the sum


def test_a_unit_is_the_paper_s_equation():
    torch.manual_seed(0)
    net = CifarPreactResNet(8, shortcut="projection").eval()
    unit, x = net.layer2[0], torch.randn(2, 16, 8, 8)
    active = unit.bn1(x).relu()
    expected = unit.downsample(active) + unit.conv2(unit.bn2(unit.conv1(active)).relu())
    torch.testing.assert_close(unit(x), expected)


def test_the_networks_of_timm_with_the_same_weights_answer_the_same():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs, ours = networks.create("timm/resnetv2_50", num_classes=10), PreactResNet(50, 10)
    state = {}
    for key, value in theirs.state_dict().items():
        if "running" in key or "norm" in key:
            value.copy_(torch.rand(value.shape) + 0.5)  # positive: theirs pools in front of the first BatchNorm
        name = key.replace("stages.0.blocks.0.norm1", "bn1").replace("stem.conv", "conv1").replace("head.fc", "fc")
        name = "bn2" + name.removeprefix("norm") if name.startswith("norm") else name
        for index in range(4):
            name = name.replace(f"stages.{index}.blocks", f"layer{index + 1}")
        state[name.replace("norm", "bn").replace("downsample.conv", "downsample")] = value
    state["fc.weight"] = state["fc.weight"].flatten(1)
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    expected = theirs.eval()(images)
    torch.testing.assert_close(ours.eval()(images) / expected.std(), expected / expected.std(), rtol=1e-4, atol=1e-4)


def test_an_unknown_shortcut_is_refused():
    with pytest.raises(LaminaError, match=r"shortcut is 'none'\. There are pad, projection\."):
        CifarPreactResNet(8, shortcut="none")


def test_a_depth_that_does_not_fit_is_refused():
    with pytest.raises(LaminaError, match="9n \\+ 2"):
        CifarPreactResNet(32, bottleneck=True)
    with pytest.raises(LaminaError, match="6n \\+ 2"):
        CifarPreactResNet(2)
    with pytest.raises(LaminaError, match="These networks have 18, 34"):
        PreactResNet(20)
