"""DenseNets: counts by hand, and answers beside torchvision's."""

import pytest
import torch
import torchvision
from torch import nn

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.densenet import DenseNet

# Layers of the four blocks, growth rate, parameters, and the paper's billions of multiply-adds (its GFLOPs of figure 3).
FIGURES = {
    "densenet121": ((6, 12, 24, 16), 32, 7_978_856),
    "densenet161": ((6, 12, 36, 24), 48, 28_681_000),
    "densenet169": ((6, 12, 32, 32), 32, 14_149_480),
    "densenet201": ((6, 12, 48, 32), 32, 20_013_928),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_parameters_are_those_of_the_layer_table(name):
    layers, growth, parameters = FIGURES[name]
    width = 2 * growth
    by_hand = 3 * 49 * width + 2 * width
    for block, count in enumerate(layers):
        for _ in range(count):
            by_hand += 2 * width + width * 4 * growth + 2 * 4 * growth + 9 * 4 * growth * growth
            width += growth
        if block < 3:
            by_hand += 2 * width + width * width // 2
            width //= 2
    by_hand += 2 * width + width * 1000 + 1000
    with torch.device("meta"):
        net = networks.create(name)
    assert sum(p.numel() for p in net.parameters()) == by_hand == parameters
    assert parameters == torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]


@pytest.mark.parametrize("name", FIGURES)
def test_keys_and_shapes_are_torchvisions(name):
    with torch.device("meta"):
        ours, theirs = networks.create(name), torchvision.models.get_model(name)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_a_network_has_as_many_layers_as_its_name_says():
    for name in FIGURES:
        with torch.device("meta"):
            modules = list(networks.create(name).modules())
        assert f"densenet{sum(isinstance(m, nn.Conv2d | nn.Linear) for m in modules)}" == name


def test_answers_and_gradients_are_torchvisions_in_both_modes(compare_with_torchvision, with_random_state):
    theirs = with_random_state(torchvision.models.densenet121())
    compare_with_torchvision(DenseNet(), theirs, sides=(64, 75))


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "densenet121"])
def test_answers_of_the_deeper_ones_are_torchvisions(name, with_random_state):
    theirs = with_random_state(torchvision.models.get_model(name)).eval()
    ours = networks.create(name).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_dropout_acts_where_torchvisions_does(compare_with_torchvision, with_random_state):
    theirs = torchvision.models.DenseNet(8, (2, 1, 2, 1), 16, drop_rate=0.2, num_classes=5)
    ours = DenseNet(5, layers=(2, 1, 2, 1), growth_rate=8, dropout=0.2)
    compare_with_torchvision(ours, with_random_state(theirs), sides=(64,))


def test_a_layer_hands_on_what_came_and_adds_its_own_maps():
    layer = DenseNet(5, layers=(2, 1, 1, 1), growth_rate=8).features.denseblock1[1]
    x = torch.randn(2, 24, 6, 6)
    y = layer(x)
    assert y.shape == (2, 32, 6, 6)
    assert torch.equal(y[:, :24], x)


def test_maps_are_not_changed_after_they_were_handed_out_and_the_last_gives_the_logits():
    net = DenseNet(5, layers=(2, 1, 2, 1), growth_rate=8, in_channels=1).eval()
    seen = {}
    for name, module in net.features.named_children():
        module.register_forward_hook(lambda _, __, value, name=name: seen.__setitem__(name, value.clone()))
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        maps = net.features(images)
        ends = {2: "relu0", 4: "denseblock1", 8: "denseblock2", 16: "denseblock3", 32: "norm5"}
        assert all(torch.equal(maps[stride], seen[name]) for stride, name in ends.items())
        torch.testing.assert_close(net.classifier(maps[32].relu().mean((2, 3))), net(images))
    assert {stride: value.shape[1] for stride, value in maps.items()} == net.feature_dims


@pytest.mark.parametrize(("layers", "growth_rate"), [((6, 12, 24), 32), ((6, 0, 24, 16), 32), ((1, 1, 1, 1), 0)])
def test_blocks_that_are_no_four_are_refused(layers, growth_rate):
    with pytest.raises(LaminaError, match="four dense blocks"):
        DenseNet(layers=layers, growth_rate=growth_rate)


def test_a_picture_of_28_px_is_too_small_and_the_error_says_29():
    with pytest.raises(ValueError, match="29 x 29"):
        DenseNet(5, layers=(1, 1, 1, 1)).eval()(torch.randn(1, 3, 28, 28))
