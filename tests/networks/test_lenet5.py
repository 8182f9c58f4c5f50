"""LeNet-5 against the figures, the table and the formulas of its paper."""

import math

import pytest
import torch
import torch.nn.functional as F

from lamina import networks
from lamina.core.errors import ShapeError
from lamina.networks.lenet5 import LeNet5

# Table I as the paper prints it: a row for each map of s2, a column for each of c3.
TABLE_I = [
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
]


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_each_layer_has_the_parameters_of_the_paper_and_all_before_the_classes_60_000():
    net = LeNet5()
    layers = [net.c1, net.s2, net.c3, net.s4, net.c5, net.f6]
    assert [count(layer) for layer in layers] == [156, 12, 1_516, 32, 48_120, 10_164]
    assert sum(count(layer) for layer in layers) == 60_000
    assert count(net) == 60_000 + 84 * 10 + 10 == 60_850


def test_a_map_of_c3_sees_the_maps_that_table_i_gives_it():
    net = LeNet5()
    seen = torch.zeros(6, 16, dtype=torch.bool)
    for m in range(6):
        x = torch.zeros(1, 6, 5, 5)
        before = net.c3(x)
        x[0, m] = torch.randn(5, 5)
        seen[m] = (net.c3(x) != before).flatten()
    assert ["".join("X" if cell else "." for cell in row) for row in seen.tolist()] == TABLE_I


def test_c3_is_one_small_convolution_for_each_map():
    net = LeNet5()
    x = torch.randn(2, 6, 14, 14)
    kernels = iter(net.c3.weight.view(-1, 5, 5))
    for column, answer in enumerate(net.c3(x).unbind(1)):
        sources = [m for m in range(6) if TABLE_I[m][column] == "X"]
        weight = torch.stack([next(kernels) for _ in sources])
        expected = F.conv2d(x[:, sources], weight[None], net.c3.bias[column : column + 1])[:, 0]
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)


def test_subsampling_adds_four_places_weighs_them_and_squashes():
    net = LeNet5()
    x = torch.randn(1, 6, 4, 4)
    sums = x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
    a = sums * net.s2.weight[:, None, None] + net.s2.bias[:, None, None]
    torch.testing.assert_close(net.s2(x), 1.7159 * torch.tanh(2 / 3 * a))


def test_every_layer_but_the_last_is_squashed():
    net = LeNet5()

    def squashed(a):
        return 1.7159 * torch.tanh(2 / 3 * a)

    images = 2 * torch.randn(2, 1, 32, 32)
    x = squashed(net.c3(net.s2(squashed(net.c1(images)))))
    x = squashed(net.c5(net.s4(x))).flatten(1)
    torch.testing.assert_close(net(images), net.output(squashed(net.f6(x))))
    torch.testing.assert_close(net.features(images)[1], squashed(net.c1(images)))


def test_the_maps_have_the_sides_of_the_paper_s_figure_2():
    net = LeNet5(7, in_channels=3)
    maps = net.features(torch.randn(2, 3, 32, 32))
    assert {stride: tuple(m.shape[1:]) for stride, m in maps.items()} == {
        1: (6, 28, 28),
        2: (16, 10, 10),
        4: (120, 1, 1),
    }
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_weights_start_uniform_within_2_4_by_fan_in():
    torch.manual_seed(0)
    net = LeNet5()
    pairs = [(net.c1, 25), (net.c5, 400), (net.f6, 120), (net.s2, 4), (net.s4, 4)]
    for layer, fan_in in pairs:
        assert float(layer.weight.detach().abs().max()) <= 2.4 / fan_in
        assert float(layer.weight.detach().std()) == pytest.approx(2.4 / fan_in / math.sqrt(3), rel=0.5)
    kernels = net.c3.weight.detach().abs()
    assert [round(2.4 / float(part.max()), -1) for part in (kernels[:18], kernels[18:54], kernels[54:])] == [
        80,
        100,
        150,
    ]


@pytest.mark.parametrize(("image_size", "padding"), [(28, 2), (27, 3), (32, 0), (64, 0)])
def test_small_pictures_are_surrounded_by_zeros_as_the_paper_s_digits(image_size, padding):
    torch.manual_seed(0)
    net = LeNet5(image_size=image_size)
    torch.manual_seed(0)
    paper_s = LeNet5()
    images = torch.randn(2, 1, image_size, image_size)
    torch.testing.assert_close(net(images), paper_s(F.pad(images, [padding] * 4)))


def test_larger_pictures_are_the_mean_over_what_a_window_of_32_px_sees():
    net = LeNet5()
    images = torch.randn(1, 1, 36, 36)
    windows = [images[..., y : y + 32, x : x + 32] for y in (0, 4) for x in (0, 4)]
    expected = torch.stack([net.features(window)[4] for window in windows]).mean(0)
    found = net.features(images)[4].mean((2, 3), keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_picture_less_than_what_it_was_built_for_is_told_the_smallest():
    with pytest.raises(ShapeError, match=r"28 x 28 px.*32 x 32 px"):
        LeNet5()(torch.randn(1, 1, 28, 28))
    with pytest.raises(ShapeError, match="image_size=0 px"):
        networks.create("lenet5", image_size=0)


def test_state_of_the_table_is_no_part_of_the_file():
    assert list(LeNet5().c3.state_dict()) == ["weight", "bias"]
