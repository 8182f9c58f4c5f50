import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.layers import SymbolError
from lamina.layers.probe import run
from lamina.layers.symbol import shown


@pytest.fixture
def image():
    return layers.Input((3, 16, 16))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: nn.Conv2d(3, 4, 3)(x),
        lambda x: nn.BatchNorm2d(3)(x),
        lambda x: nn.Linear(16, 4)(x),
        lambda x: nn.Sequential(nn.Flatten())(x),
        lambda x: F.dropout(x),
        lambda x: F.relu(x),
        lambda x: torch.cat([x, x]),
        lambda x: torch.ones(3) + x,
        lambda x: x.mean(),
        lambda x: x.shape_as,
        lambda x: x[0],
        lambda x: list(x),
        lambda x: bool(x),
        lambda x: np.asarray(x),
    ],
)
def test_whatever_torch_or_numpy_ask_is_refused_with_the_advice_to_wrap(image, use):
    with pytest.raises(SymbolError, match=r"layers\.Torch\(module\)"):
        use(image)


def test_has_no_attribute_of_a_tensor(image):
    assert not hasattr(image, "permute")
    assert not hasattr(image, "_repr_html_")


@pytest.mark.parametrize(
    ("use", "formula"),
    [
        (lambda a, b: a + b, lambda a, b: a + b),
        (lambda a, b: a - b, lambda a, b: a - b),
        (lambda a, b: a * b, lambda a, b: a * b),
        (lambda a, b: a / b, lambda a, b: a / b),
        (lambda a, _: -a, lambda a, _: -a),
        (lambda a, _: 2 + a, lambda a, _: 2 + a),
        (lambda a, _: 2 - a, lambda a, _: 2 - a),
        (lambda a, _: a - 2.5, lambda a, _: a - 2.5),
        (lambda a, _: 1 / a, lambda a, _: 1 / a),
        (lambda a, _: a / 4, lambda a, _: a / 4),
    ],
)
def test_operators_compute_what_they_say(use, formula):
    symbol = use(layers.Input((4,)), layers.Input((4,)))
    values = [torch.rand(2, 4) + 1 for _ in symbol.call.inputs]
    other = values[1] if len(values) > 1 else torch.empty(0)
    assert torch.equal(run(symbol.call.plan, {}, values), formula(values[0], other))


def test_operators_stretch_sizes_of_one_and_refuse_others(image):
    assert (image * layers.Input((3, 1, 1))).shape == (3, 16, 16)
    with pytest.raises(ShapeError, match=r"\(3, 16, 16\) and \(3, 8, 8\)"):
        image + layers.Input((3, 8, 8))
    with pytest.raises(ShapeError, match=r"\(3, 16, 16\) and \(16,\)"):
        image + layers.Input((16,))


@pytest.mark.parametrize("stranger", ["1", [1.0], np.ones(3), True])
def test_operators_take_plain_numbers_only(image, stranger):
    with pytest.raises(LaminaError, match="plain numbers"):
        image + stranger


def test_axes_count_as_the_user_sees_them():
    first, last = layers.Input((3, 16, 8)), layers.Input((16, 8, 3), data_format="channels_last")
    assert [first.axis(axis) for axis in (1, 2, 3, -1)] == [1, 2, 3, 3]
    assert [last.axis(axis) for axis in (1, 2, 3, -1)] == [2, 3, 1, 1]
    for axis in (0, 4, -4):
        with pytest.raises(ShapeError, match="Axes count from 1 to 3"):
            last.axis(axis)


def test_shape_is_the_users_and_sizes_the_networks():
    last = layers.Input((16, 8, 3), data_format="channels_last")
    assert (last.shape, last.sizes) == ((16, 8, 3), (3, 16, 8))
    assert shown((784,)) == "(784,)"
    assert repr(last) == "<Symbol (16, 8, 3) float32 of InputLayer>"
