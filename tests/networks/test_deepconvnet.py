"""The book's network, its published parameters, and nothing else from its pickles."""

import pickle

import pytest
import torch
from torch import nn

import lamina
from lamina import networks
from lamina.core.errors import LaminaError, ShapeError
from lamina.networks.load import book_state, read_arrays


def test_has_the_layers_of_the_book():
    net = networks.create("deepconvnet", num_classes=10, in_channels=1)
    assert sum(p.numel() for p in net.parameters()) == 123_552
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert net.features(torch.zeros(2, 1, 28, 28))[8].shape == (2, 64, 4, 4)  # of 16 rows, for the fourth pads by 2


def test_starts_from_he_initial_values():
    torch.manual_seed(0)
    net = networks.create("deepconvnet", in_channels=1)
    for layer, fan_in in ((net.conv6, 64 * 9), (net.fc1, 1024)):
        assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
        assert not layer.bias.any()


def test_is_the_book_s_order_of_relu_and_pool():
    torch.manual_seed(0)
    net = networks.create("deepconvnet", in_channels=1).eval()
    x = torch.rand(4, 1, 28, 28)
    convs = [net.conv1, net.conv2, net.conv3, net.conv4, net.conv5, net.conv6]
    y = x
    for index, conv in enumerate(convs):
        y = nn.functional.conv2d(y, conv.weight, conv.bias, padding=2 if conv is net.conv4 else 1).relu()
        y = nn.functional.max_pool2d(y, 2) if index % 2 else y
    y = net.fc2(net.fc1(y.flatten(1)).relu())
    torch.testing.assert_close(net(x), y)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (64, 3)])
def test_takes_other_pictures_than_mnist(size, channels):
    net = networks.create("deepconvnet", num_classes=5, in_channels=channels, image_size=size)
    assert net(torch.zeros(2, channels, size, size)).shape == (2, 5)


@pytest.mark.real_data
@pytest.mark.parametrize(("year", "right"), [(2016, 9935), (2022, 9797)])
def test_the_book_s_parameters_classify_as_many_digits_as_the_book_s_code(real_data, year, right):
    path = real_data / "weights" / "book" / f"deep_convnet_params_{year}.pkl"
    test = lamina.data.load("mnist").test
    figures = lamina.Classifier("deepconvnet", pretrained=path).evaluate(test)
    assert round(figures["accuracy"] * len(test)) == right


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_would_run_code_is_refused_before_it_runs(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"W1": Touch(tmp_path / "touched")}))
    with pytest.raises(ValueError, match=r"asks for (_io|io)\.open"):
        read_arrays(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [[1, 2], {"W1": "text"}])
def test_a_pickle_of_anything_but_named_arrays_is_refused(tmp_path, content):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="numpy arrays"):
        read_arrays(path)


def test_a_truncated_pickle_and_a_missing_parameter_are_named(tmp_path):
    import numpy as np

    path = tmp_path / "book.pkl"
    path.write_bytes(pickle.dumps({"W1": np.zeros((16, 1, 3, 3))}))
    with pytest.raises(ValueError, match="lacks b1, W2"):
        book_state(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="cannot be read"):
        book_state(path)


def test_pictures_too_small_for_three_pools_are_refused_in_three_parts():
    with pytest.raises(ShapeError, match="image_size=1 px") as caught:
        networks.create("deepconvnet", image_size=1)
    assert caught.value.remedy
    assert networks.create("deepconvnet", image_size=4)(torch.zeros(1, 1, 4, 4)).shape == (1, 10)


def test_what_a_network_does_not_take_is_refused_by_name_and_what_it_was_given_is_recorded():
    with pytest.raises(
        LaminaError, match=r"'fastconvnet' was given image_size, dropout\. It takes num_classes, in_channels\."
    ):
        networks.create("fastconvnet", image_size=28, dropout=0.1)
    assert networks.architecture(networks.create("fastconvnet")) == {
        "name": "fastconvnet",
        "arguments": {"num_classes": 10, "in_channels": 1},
    }
    net = networks.create("deepconvnet", num_classes=2, image_size=16, dropout=0.0)
    made = networks.architecture(net)
    assert made["arguments"] == {"num_classes": 2, "in_channels": 1, "image_size": 16, "dropout": 0.0}
    again = networks.create(made["name"], **made["arguments"])
    assert again.dropout1.p == 0.0
    again.load_state_dict(net.state_dict())
