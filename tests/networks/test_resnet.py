"""ResNets against their paper's figures, and against torchvision with copied weights."""

import pytest
import torch
import torchvision
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.resnet import BLOCKS, ResNet


def count(module):
    return sum(value.numel() for value in module.parameters())


def by_hand(depth, *, shortcuts=True):
    """Layer by layer: convolutions of k x k have in * out * k * k weights and 2 * out of their BatchNorm."""

    def conv(fan, width, k):
        return fan * width * k * k + 2 * width

    total, channels = conv(3, 64, 7), 64
    for index, blocks in enumerate(BLOCKS[depth]):
        width = 64 * 2**index
        for place in range(blocks):
            out = width if depth < 50 else 4 * width
            if depth < 50:
                total += conv(channels, width, 3) + conv(width, width, 3)
            else:
                total += conv(channels, width, 1) + conv(width, width, 3) + conv(width, out, 1)
            if shortcuts and not place and channels != out:
                total += conv(channels, out, 1)
            channels = out
    return total + channels * 1000 + 1000


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("plain18", 11_515_688),
        ("plain34", 21_623_848),
    ],
)
def test_parameters_and_layers_are_those_of_the_table(name, parameters):
    with torch.device("meta"):
        net = networks.create(name)
    depth = int(name.removeprefix("resnet").removeprefix("plain"))
    assert count(net) == by_hand(depth, shortcuts="plain" not in name) == parameters
    weighted = [
        path
        for path, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in path
    ]
    assert len(weighted) == depth


def test_the_stages_have_the_parameters_of_the_table():
    with torch.device("meta"):
        small, large = ResNet(18), ResNet(50)
    assert [count(small.get_submodule(f"layer{i}")) for i in (1, 2, 3, 4)] == [147_968, 525_568, 2_099_712, 8_393_728]
    assert [count(large.get_submodule(f"layer{i}")) for i in (1, 2, 3, 4)] == [
        215_808,
        1_219_584,
        7_098_368,
        14_964_736,
    ]
    assert [count(large.get_submodule(f"layer{i}.0.downsample")) for i in (1, 2, 3, 4)] == [
        16_896,
        132_096,
        526_336,
        2_101_248,
    ]


@pytest.mark.parametrize(
    ("name", "billions"),  # table 1 of the paper; from 50 layers on v1.5 costs 0.2 to 0.3 more
    [("resnet18", 1.8), ("resnet34", 3.6), ("plain34", 3.6), ("resnet50", 3.8 + 0.3), ("resnet152", 11.3 + 0.2)],
)
def test_multiply_adds_are_those_of_the_paper(name, billions):
    with torch.device("meta"):
        net = networks.create(name).eval()
    total = 0

    def add(module, inputs, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    net(torch.empty(1, 3, 224, 224, device="meta"))
    assert total / 1e9 == pytest.approx(billions, abs=0.1)


@pytest.mark.parametrize("side", [64, 97])
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        pytest.param("resnet34", marks=pytest.mark.slow),
        pytest.param("resnet101", marks=pytest.mark.slow),
        pytest.param("resnet152", marks=pytest.mark.slow),
    ],
)
def test_answers_and_statistics_are_torchvision_s(name, side):
    torch.manual_seed(0)
    theirs, ours = torchvision.models.get_model(name, weights=None), networks.create(name)
    for key, value in theirs.state_dict().items():  # views: the network's own
        if "running" in key or "bn" in key or "downsample.1" in key:
            value.copy_(torch.rand(value.shape) + 0.5 if "mean" not in key else torch.randn(value.shape) / 10)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        for mode in (False, True):
            expected = theirs.train(mode)(images)
            torch.testing.assert_close(
                ours.train(mode)(images) / expected.std(), expected / expected.std(), rtol=1e-4, atol=1e-5
            )
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_a_plain_network_is_its_convolutions_one_after_the_other():
    net = networks.create("plain18", num_classes=5).eval()
    assert not any("downsample" in name for name in net.state_dict())
    images = torch.randn(1, 3, 64, 64)
    x = net.maxpool(net.bn1(net.conv1(images)).relu())
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in layer:
            x = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).relu()
    torch.testing.assert_close(net(images), net.fc(x.mean((2, 3))))


def test_a_depth_that_the_paper_has_not_is_refused():
    with pytest.raises(LaminaError, match=r"depth is 20\. The paper's networks have 18, 34, 50, 101, 152 layers"):
        ResNet(20)


def test_maps_that_were_handed_out_are_not_changed_afterwards():
    net = networks.create("resnet18").eval()
    kept = {}
    for stride, layer in ((4, net.layer1), (8, net.layer2)):
        layer.register_forward_hook(lambda _, __, output, stride=stride: kept.update({stride: output.clone()}))
    maps = net.features(torch.randn(1, 3, 64, 64))
    assert all(torch.equal(maps[stride], value) for stride, value in kept.items())
