"""A sequence whose maps can be had by their stride."""

import pytest
import torch
from torch import nn

from lamina.core.errors import LaminaError
from lamina.nn import Stages


def stages() -> Stages:
    layers = {"a": nn.Conv2d(1, 2, 3, padding=1), "pool": nn.MaxPool2d(2), "b": nn.Conv2d(2, 3, 3, padding=1)}
    return Stages(layers, ends={1: "a", 2: "b"})


def test_each_stride_gives_the_map_of_its_last_layer():
    net, images = stages(), torch.randn(2, 1, 8, 8)
    maps = net(images)
    assert list(maps) == [1, 2]
    assert torch.equal(maps[1], net.a(images))
    assert torch.equal(maps[2], net.b(net.pool(maps[1])))
    assert torch.equal(net.last(images), maps[2])


def test_places_name_layers_as_names_do_and_keys_are_those_of_a_sequence():
    net = Stages([nn.Conv2d(1, 2, 1), nn.ReLU()], ends={1: 1})
    assert list(net.state_dict()) == ["0.weight", "0.bias"]
    assert list(net(torch.randn(1, 1, 2, 2))) == [1]


def test_a_layer_that_stands_twice_is_run_twice():
    twice = nn.Conv2d(1, 1, 1)
    net, images = Stages([twice, nn.Tanh(), twice], ends={1: 2}), torch.randn(1, 1, 2, 2)
    assert torch.equal(net(images)[1], net.last(images))
    assert torch.equal(net.last(images), twice(torch.tanh(twice(images))))


def test_a_slice_is_a_plain_sequence_with_the_same_layers_and_keys():
    net, images = stages(), torch.randn(2, 1, 8, 8)
    part = net[:2]
    assert type(part) is nn.Sequential
    assert list(part.state_dict()) == ["a.weight", "a.bias"]
    assert torch.equal(part(images), net.pool(net.a(images)))
    assert net[0] is net.a
    assert net[-1] is net.b


def test_an_end_that_is_no_layer_is_told():
    with pytest.raises(LaminaError, match=r"name the layers c, 7\. The layers are a, b"):
        Stages({"a": nn.ReLU(), "b": nn.ReLU()}, ends={1: "a", 2: "c", 4: 7})
