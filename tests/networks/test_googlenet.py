"""GoogLeNet with BatchNorm: counts by hand, and answers beside torchvision's."""

import warnings

import pytest
import torch
import torchvision
from torch import nn

from lamina import networks
from lamina.networks.googlenet import INCEPTIONS, GoogLeNet, GoogLeNetLogits


def count(net):
    return sum(p.numel() for p in net.parameters())


def theirs(**arguments):
    return torchvision.models.GoogLeNet(init_weights=False, **arguments)


def test_the_parameters_are_those_of_the_layer_table():
    def conv(before, after, area):
        return before * after * area + 2 * after  # no biases, and BatchNorm's weight and bias

    by_hand, before = conv(3, 64, 49) + conv(64, 64, 1) + conv(64, 192, 9), 192
    for one, reduce3, three, reduce5, five, pooled in INCEPTIONS.values():
        by_hand += conv(before, one, 1) + conv(before, reduce3, 1) + conv(reduce3, three, 9)
        by_hand += conv(before, reduce5, 1) + conv(reduce5, five, 9) + conv(before, pooled, 1)
        before = one + three + five + pooled
    by_hand += 1024 * 1000 + 1000
    aux = [conv(fan, 128, 1) + 2048 * 1024 + 1024 + 1024 * 1000 + 1000 for fan in (512, 528)]
    plain, full = GoogLeNet(auxiliary=False), networks.create("googlenet")
    assert count(plain) == by_hand == 6_624_904 == torchvision.models.GoogLeNet_Weights.DEFAULT.meta["num_params"]
    assert count(full) == by_hand + sum(aux) == 13_004_888


@pytest.mark.parametrize("side", [64, 97])
def test_answers_and_gradients_are_torchvisions_in_both_modes(side, with_random_state):
    reference = with_random_state(theirs())
    ours = GoogLeNet()
    ours.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images).logits, reference.eval()(images), rtol=1e-4, atol=1e-5)
    ours.train()
    reference.train()
    torch.manual_seed(1)  # dropout: 70 % in either auxiliary classifier, 20 % before the last layer
    found = ours(images)
    torch.manual_seed(1)
    expected = reference(images)
    assert type(found) is GoogLeNetLogits
    # Theirs come in the order logits, aux2, aux1: aux1 is the early one in both.
    pairs = [(found.logits, expected.logits), (found.aux1, expected.aux_logits1), (found.aux2, expected.aux_logits2)]
    for one, other in pairs:
        assert float(other.detach().std()) > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for net, outputs in ((ours, found), (reference, expected)):
        sum(output.square().mean() for output in outputs).backward()
        assert all(p.grad is not None for p in net.parameters())
    expected_grads = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        scale = expected_grads[name].grad.abs().max()
        torch.testing.assert_close(parameter.grad / scale, expected_grads[name].grad / scale, rtol=0, atol=1e-3)
    for (name, one), other in zip(ours.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_one_type_comes_back_in_both_modes_and_only_a_net_without_auxiliary_classifiers_gives_none(auxiliary, training):
    net = GoogLeNet(7, auxiliary=auxiliary).train(training)
    answer = net(torch.randn(2, 3, 48, 48))
    assert type(answer) is GoogLeNetLogits
    assert answer.logits.shape == (2, 7)
    for aux in (answer.aux1, answer.aux2):
        assert aux.shape == (2, 7) if auxiliary else aux is None


def test_the_early_auxiliary_classifier_stands_behind_4a_and_the_late_one_behind_4d():
    net = GoogLeNet(5).eval()
    images, seen = torch.randn(1, 3, 64, 64), {}
    for name in ("inception4a", "inception4d"):
        net.get_submodule(name).register_forward_hook(lambda _, __, value, name=name: seen.__setitem__(name, value))
    with torch.no_grad():
        answer = net(images)
        torch.testing.assert_close(answer.aux1, net.aux1(seen["inception4a"]))
        torch.testing.assert_close(answer.aux2, net.aux2(seen["inception4d"]))


def test_logits_come_from_the_last_map_of_features():
    net = GoogLeNet(5).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = net.features(images)
        torch.testing.assert_close(net.fc(maps[32].mean((2, 3))), net(images).logits)
    assert {stride: value.shape[1] for stride, value in maps.items()} == net.feature_dims
    assert {stride: 64 // value.shape[2] for stride, value in maps.items()} == {stride: stride for stride in maps}


def test_all_three_heads_are_exchanged_and_one_where_there_is_one():
    net = GoogLeNet()
    net.replace_head(3)
    assert [output.shape for output in net(torch.randn(2, 3, 32, 32))] == [(2, 3)] * 3
    alone = GoogLeNet(auxiliary=False)
    assert alone.class_layers == ("fc",)
    alone.replace_head(4)
    assert alone.eval()(torch.randn(2, 3, 32, 32)).logits.shape == (2, 4)


def test_pictures_in_minus_one_to_one_are_what_torchvision_makes_of_its_usual_ones():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = theirs(transform_input=True)
    pictures = torch.rand(2, 3, 8, 8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    usual = (pictures - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(reference._transform_input(usual), (pictures - 0.5) / 0.5)


def test_a_picture_of_14_px_is_too_small_and_the_error_says_15():
    with pytest.raises(ValueError, match="15 x 15"):
        GoogLeNet(3).eval()(torch.randn(1, 3, 14, 14))


def test_22_layers_lie_behind_one_another():
    net = GoogLeNet(auxiliary=False)
    stem = [net.conv1, net.conv2, net.conv3]
    modules = [module for name, module in net.named_children() if name.startswith("inception")]
    depth = [sum(isinstance(m, nn.Conv2d) for m in module.branch2.modules()) for module in modules]
    assert len(stem) + sum(depth) + 1 == 22
