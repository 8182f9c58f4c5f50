"""AlexNet of 2012 against the figures and formulas of its paper."""

import copy

import pytest
import torch
import torch.nn.functional as F

from lamina import networks
from lamina.networks.alexnet_2012 import AlexNet2012


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return AlexNet2012(20).eval()


def test_there_are_the_paper_s_60_million_parameters():
    # A half sees 48 or 192 of the 96 or 384 channels before it.
    convolutions = [(3, 96, 11), (48, 256, 5), (256, 384, 3), (192, 384, 3), (192, 256, 3)]
    dense = [(256 * 6 * 6, 4096), (4096, 4096), (4096, 1000)]
    by_hand = sum((fan * side**2 + 1) * width for fan, width, side in convolutions)
    by_hand += sum((fan + 1) * width for fan, width in dense)
    with torch.device("meta"):
        whole = networks.create("alexnet_2012")
    assert sum(p.numel() for p in whole.parameters()) == by_hand == 60_965_224


@pytest.mark.parametrize("side", [224, 227])  # what the paper says, and what its 55 places need without padding
def test_the_layers_have_as_many_neurons_as_the_paper_tells(side):
    with torch.device("meta"):
        small = AlexNet2012()
        maps = small.features(torch.empty(1, 3, side, side))
    assert [maps[stride][0].numel() for stride in (8, 16)] == [186_624, 43_264]  # figure 2: layers 2 and 5
    assert maps[32].shape[1:] == (256, 6, 6)
    if side == 224:
        assert maps[4][0].numel() == 96 * 55 * 55


def test_weights_and_biases_start_as_section_5_says(net):
    assert net.fc7.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert net.features.conv3.weight.std().item() == pytest.approx(0.01, rel=0.01)
    layers = {name.removeprefix("features."): m for name, m in net.named_modules() if hasattr(m, "bias")}
    ones = {name for name, layer in layers.items() if bool((layer.bias == 1).all())}
    zeros = {name for name, layer in layers.items() if not layer.bias.any()}
    assert (ones, zeros) == ({"conv2", "conv4", "conv5", "fc6", "fc7"}, {"conv1", "conv3", "fc8"})


def test_is_the_paper_s_order_of_relu_normalisation_and_overlapping_pools(net):
    layers = net.features
    images = 300 * torch.randn(2, 3, 224, 224)  # so large that the squares weigh as much as k

    def normalised(a):
        # Section 3.3, written out: n = 5 neighbours, k = 2, alpha = 1e-4, beta = 0.75.
        squares = F.pad(a**2, (0, 0, 0, 0, 2, 2))
        return a / (2 + 1e-4 * sum(squares[:, i : i + a.shape[1]] for i in range(5))) ** 0.75

    def halves(x, conv):
        parts = zip(x.chunk(2, 1), conv.weight.chunk(2), conv.bias.chunk(2), strict=True)
        return torch.cat([F.conv2d(*part, padding=conv.padding) for part in parts], 1)

    with torch.no_grad():
        x = normalised(F.conv2d(images, layers.conv1.weight, layers.conv1.bias, stride=4, padding=2).relu())
        x = normalised(halves(F.max_pool2d(x, 3, 2), layers.conv2).relu())
        x = F.conv2d(F.max_pool2d(x, 3, 2), layers.conv3.weight, layers.conv3.bias, padding=1).relu()
        x = halves(halves(x, layers.conv4).relu(), layers.conv5).relu()
        x = F.max_pool2d(x, 3, 2).flatten(1)
        x = net.fc8(net.fc7(net.fc6(x).relu()).relu())
        torch.testing.assert_close(net(images), x, rtol=1e-4, atol=1e-5)


def test_dropout_silences_half_of_both_dense_layers_in_training_only(net):
    net = copy.deepcopy(net)
    seen = {}
    for name in ("fc6", "fc7"):
        net.get_submodule(name).weight.data.zero_()  # what remains is the bias of 1
    for name in ("fc7", "fc8"):
        net.get_submodule(name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    images = torch.randn(4, 3, 63, 63)
    net.train()(images)
    for values in seen.values():
        assert set(values.unique().tolist()) == {0.0, 2.0}
        assert float((values == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    net.eval()(images)
    assert all((values == 1).all() for values in seen.values())
