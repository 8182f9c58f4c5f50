"""MobileNet v1: the paper's counts, an independent computation, and the published weights on photographs."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.data.preprocess import Preprocess
from lamina.models.measure import Measure
from lamina.networks.mobilenet_v1 import MobileNetV1

# Parameters; then millions of parameters and of multiply-adds as in the paper's table 6.
FIGURES = {
    1.0: (4_231_976, 4.2, 569),
    0.75: (2_585_560, 2.6, 325),
    0.5: (1_331_592, 1.3, 149),
    0.25: (470_072, 0.5, 41),
}


def folded(path):
    """The state of a MobileNetV1 from a file whose BatchNorms were folded into weight and bias."""
    state = {}
    for name, value in ((name, torch.from_numpy(value)) for name, value in np.load(path).items()):
        layer, kind = name.rsplit(".", 1)
        if layer == "fc":
            state[name] = value
        elif kind == "weight":
            state[f"features.{layer}.conv.weight"] = value
        else:
            norm = nn.BatchNorm2d(len(value))
            norm.bias.data = value
            norm.weight.data.fill_((1 + norm.eps) ** 0.5)
            state |= {f"features.{layer}.bn.{key}": entry for key, entry in norm.state_dict().items()}
    return state


@pytest.mark.parametrize("width", FIGURES)
def test_the_parameters_and_operations_are_those_of_the_paper(width):
    parameters, millions, operations = FIGURES[width]
    channels = [int(width * wanted) for wanted in (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)]
    by_hand = 27 * channels[0] + 2 * channels[0] + channels[-1] * 1000 + 1000
    for before, after in pairwise(channels):
        by_hand += 9 * before + 2 * before + before * after + 2 * after
    with torch.device("meta"):
        net = networks.create("mobilenet_v1", arguments={"width": width}).eval()
    assert sum(p.numel() for p in net.parameters()) == by_hand == parameters
    assert round(parameters / 1e6, 1) == millions
    measure = Measure()
    with measure, torch.no_grad():
        net(torch.empty(1, 3, 224, 224, device="meta"))
    assert round(measure.multiply_adds / 1e6) == pytest.approx(operations, abs=1)


def test_28_layers_lie_behind_one_another():  # the paper counts depthwise and pointwise ones as two
    with torch.device("meta"):
        net = MobileNetV1()
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == 28


@pytest.mark.parametrize("side", [33, 64])
@pytest.mark.parametrize("padding", ["torch", "same"])
def test_answers_are_those_of_a_computation_by_hand(side, padding, with_random_state):
    net = with_random_state(MobileNetV1(5, width=0.25, padding=padding)).eval()
    state, images = net.state_dict(), torch.randn(2, 3, side, side)

    def conv(x, name, *, stride=1, groups=1):
        weight = state[f"features.{name}.conv.weight"]
        if weight.shape[-1] == 3:  # from 33 px on all maps are odd: 17, 9, 5, 3
            evenly = stride == 1 or side == 33 or padding == "torch"
            x = F.pad(x, (1, 1, 1, 1) if evenly else (0, 1, 0, 1))
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        mean, var, gain, bias = (
            state[f"features.{name}.bn.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 1e-5).sqrt() * gain + bias).clamp(0, 6)

    x = conv(images, "conv0", stride=2)
    for index in range(1, 14):
        x = conv(x, f"block{index}.dw", stride=2 if index in (2, 4, 6, 12) else 1, groups=x.shape[1])
        x = conv(x, f"block{index}.pw")
    expected = F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)


def test_the_two_paddings_differ_and_have_the_same_keys():
    torch.manual_seed(0)
    even, tensorflow = MobileNetV1(5, width=0.25).eval(), MobileNetV1(5, width=0.25, padding="same").eval()
    tensorflow.load_state_dict(even.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 64)
    assert not torch.allclose(even(images), tensorflow(images), atol=1e-5)


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_maps_have_the_sizes_and_channels_that_are_told(width):
    net = MobileNetV1(5, width=width, in_channels=1).eval()
    maps = net.features(torch.randn(1, 1, 64, 96))
    dims = {stride: int(width * full) for stride, full in {2: 64, 4: 128, 8: 256, 16: 512, 32: 1024}.items()}
    assert net.feature_dims == dims
    assert {s: tuple(m.shape[1:]) for s, m in maps.items()} == {s: (dims[s], 64 // s, 96 // s) for s in dims}


def test_every_parameter_gets_a_gradient():
    net = MobileNetV1(5, width=0.25)
    net(torch.randn(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("width", [0.0, -1.0, float("inf"), float("nan")])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(LaminaError, match=r"width is .*above 0"):
        MobileNetV1(width=width)


def test_an_unknown_padding_is_refused():
    with pytest.raises(LaminaError, match="padding is 'valid'"):
        MobileNetV1(padding="valid")


@pytest.mark.parametrize(("file", "width", "side"), [("1.0_224", 1.0, 224), ("0.25_128", 0.25, 128)])
def test_published_weights_know_photographs(real_data, file, width, side):
    net = networks.create("mobilenet_v1", arguments={"width": width, "padding": "same"}).eval()
    net.load_state_dict(folded(real_data / "weights" / f"mobilenet_v1_{file}_imagenet.npz"), strict=True)
    photos = {"cat": 285, "coffee": 967, "parrot": 88, "bird": 19, "dragonfly": 319, "sunflower": 985}
    preprocess = Preprocess(size=(side, side), crop=0.875, mean=(128 / 255,), std=(128 / 255,))
    images = preprocess.normalize()(preprocess.stack([real_data / "photos" / f"{name}.jpg" for name in photos]))
    with torch.inference_mode():
        answers = net(images).argmax(1).tolist()
    right = sum(answer == label for answer, label in zip(answers, photos.values(), strict=True))
    assert right == 6 if width == 1.0 else right >= 4, dict(zip(photos, answers, strict=True))
