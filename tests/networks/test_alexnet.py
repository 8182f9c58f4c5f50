"""AlexNet as torchvision has it: by hand, and beside torchvision's."""

import pytest
import torch
import torchvision

from lamina import networks
from lamina.core.errors import ShapeError
from lamina.networks.alexnet import AlexNet


def test_the_parameters_are_those_of_the_table():
    convolutions = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
    dense = [(256 * 6 * 6, 4096), (4096, 4096), (4096, 1000)]
    by_hand = sum((fan * side**2 + 1) * width for fan, width, side in convolutions)
    by_hand += sum((fan + 1) * width for fan, width in dense)
    with torch.device("meta"):
        net = networks.create("alexnet")
    assert sum(p.numel() for p in net.parameters()) == by_hand == 61_100_840


def test_answers_and_gradients_are_torchvision_s(compare_with_torchvision, with_random_state):
    with torch.device("meta"):
        ours, theirs = AlexNet(), torchvision.models.alexnet()
    compare_with_torchvision(ours, with_random_state(theirs.to_empty(device="cpu")), sides=(224, 150))


def test_features_are_the_maps_between_the_pools():
    with torch.device("meta"):
        net = AlexNet(in_channels=1)
        pooled = []
        for place in (2, 5, 12):
            net.features[place].register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
        maps = net.features(torch.empty(2, 1, 224, 224))
    assert all(one is other for one, other in zip(list(maps.values())[:3], pooled, strict=True))
    assert {stride: tuple(m.shape) for stride, m in maps.items()} == {
        4: (2, 64, 55, 55),
        8: (2, 192, 27, 27),
        16: (2, 256, 13, 13),
        32: (2, 256, 6, 6),
    }


def test_pictures_too_small_for_three_pools_are_told_the_smallest():
    with torch.device("meta"):
        net = AlexNet()
        assert net(torch.empty(1, 3, 63, 63)).shape == (1, 1000)
        with pytest.raises(ShapeError, match=r"62 x 62 px.*63 x 63 px"):
            net(torch.empty(1, 3, 62, 62))
