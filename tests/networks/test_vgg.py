"""VGG: counts by hand and of the paper's table 2, and answers beside torchvision's."""

from functools import cache

import pytest
import torch
import torchvision
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError, ShapeError
from lamina.networks.vgg import VARIANTS, VGG

# Convolutions a block, of how many of them the last is 1x1, the parameters, and the paper's millions (table 2).
FIGURES = {
    "vgg11": ((1, 1, 2, 2, 2), 132_863_336, 133),
    "vgg13": ((2, 2, 2, 2, 2), 133_047_848, 133),
    "vgg16_1x1": ((2, 2, 3, 3, 3), 133_638_952, 134),
    "vgg16": ((2, 2, 3, 3, 3), 138_357_544, 138),
    "vgg19": ((2, 2, 4, 4, 4), 143_667_240, 144),
}


def on_meta(name, **arguments):
    with torch.device("meta"):
        return networks.create(name, **arguments)


def count(net):
    return sum(p.numel() for p in net.parameters())


@cache
def dense_state():
    """Random values for the three dense layers, which all configurations share; half a gigabyte, so drawn once."""
    with torch.device("meta"):
        classifier = torchvision.models.vgg11().classifier
    torch.manual_seed(0)
    state = {}
    for name, value in classifier.state_dict().items():
        state[f"classifier.{name}"] = torch.empty(value.shape).normal_(std=(2 / value.shape[-1]) ** 0.5)
    return state


@pytest.mark.parametrize("name", FIGURES)
def test_the_parameters_are_those_of_the_paper(name):
    convolutions, parameters, millions = FIGURES[name]
    by_hand, fan = (512 * 49 + 1) * 4096 + 4097 * 4096 + 4097 * 1000, 3
    for block, (layers, width) in enumerate(zip(convolutions, (64, 128, 256, 512, 512), strict=True)):
        for layer in range(layers):
            area = 1 if name == "vgg16_1x1" and block >= 2 and layer == 2 else 9
            by_hand += (fan * area + 1) * width
            fan = width
    assert count(on_meta(name)) == by_hand == parameters
    assert round(parameters / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "more"), [("vgg11_bn", 5_504), ("vgg13_bn", 5_888), ("vgg16_bn", 8_448), ("vgg19_bn", 11_008)]
)
def test_batch_norm_adds_two_parameters_a_channel(name, more):
    convolutions, parameters, _ = FIGURES[name.removesuffix("_bn")]
    channels = sum(layers * width for layers, width in zip(convolutions, (64, 128, 256, 512, 512), strict=True))
    assert count(on_meta(name)) - parameters == 2 * channels == more


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "vgg16_1x1"])
def test_answers_gradients_and_statistics_are_torchvision_s(name, compare_with_torchvision, with_random_state):
    with torch.device("meta"):
        ours, theirs = VARIANTS[name](), torchvision.models.get_model(name)
    with_random_state(theirs.features.to_empty(device="cpu"))
    if name in ("vgg16", "vgg16_bn"):
        theirs.load_state_dict(dense_state(), strict=False, assign=True)
    else:  # its dense layers are the same, and dear
        assert str(ours.classifier[1:]) == str(theirs.classifier[1:])
        assert {k: v.shape for k, v in ours.state_dict().items()} == {
            k: v.shape for k, v in theirs.state_dict().items()
        }
        ours.classifier = nn.Linear(512 * 49, 3)
        theirs.classifier = with_random_state(nn.Linear(512 * 49, 3))
    compare_with_torchvision(ours, theirs, sides=(32, 50))


def test_the_one_by_one_layers_of_c_stand_last_in_the_last_three_blocks():
    convolutions = [m for m in on_meta("vgg16_1x1").features if isinstance(m, nn.Conv2d)]
    assert [index for index, m in enumerate(convolutions) if m.kernel_size == (1, 1)] == [6, 9, 12]
    assert len(convolutions) == 13


@pytest.mark.parametrize(("batch_norm", "configuration"), [(False, "A"), (True, "C")])
def test_features_are_what_stands_before_each_pool_and_the_last_pool(batch_norm, configuration):
    torch.manual_seed(0)
    with torch.device("meta"):
        net = VGG(configuration, num_classes=3, batch_norm=batch_norm)
    features = net.features.to_empty(device="cpu").eval()
    for parameter in features.parameters():
        parameter.data.normal_(std=0.05)
    for buffer in features.buffers():
        buffer.data.fill_(1)
    images = torch.randn(1, 3, 64, 64)
    maps = features(images)
    assert {stride: m.shape[1] for stride, m in maps.items()} == dict(net.feature_dims)
    assert [m.shape[-1] for m in maps.values()] == [64, 32, 16, 8, 4, 2]
    for stride in (1, 2, 4, 8, 16):
        assert maps[stride].min() >= 0  # behind their ReLU, and not changed by what follows
    assert torch.equal(maps[32], nn.functional.max_pool2d(maps[16], 2))
    assert torch.equal(maps[32], features.last(images))


def test_initial_values_are_he_s_and_for_dense_layers_a_hundredth():
    torch.manual_seed(0)
    net = VGG("A", num_classes=500)
    assert net.features[8].weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert net.classifier[6].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not net.features[8].bias.any()
    assert not net.classifier[0].bias.any()


def test_an_unknown_configuration_and_small_pictures_are_refused():
    with pytest.raises(LaminaError, match=r"configuration is 'F'.*A, B, C, D, E"):
        VGG("F")
    net = on_meta("vgg11")
    with pytest.raises(ShapeError, match=r"31 x 40 px.*32 x 32 px"):
        net(torch.empty(1, 3, 31, 40, device="meta"))
