import pytest
import torch
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError
from lamina.layers.torch_module import PLAIN, plain_arguments, qualified_name


class Both(nn.Module):
    def forward(self, a, b):
        return a + b, a - b


def test_joins_any_module_and_keeps_it():
    module = nn.Conv2d(3, 4, 3)
    layer = layers.Torch(module)
    assert layer(layers.Input((3, 8, 8))).shape == (4, 6, 6)
    assert layer.modules[""] is module


def test_several_tensors_in_and_out():
    total, difference = layers.Torch(Both())((layers.Input((4,)), layers.Input((4,))))
    assert (total.shape, difference.shape) == ((4,), (4,))
    assert (total.index, difference.index) == (0, 1)


def test_refuses_what_is_no_module_and_what_returns_no_tensor():
    with pytest.raises(LaminaError, match=r"torch\.nn\.Module is expected"):
        layers.Torch(torch.relu)

    class Dict(nn.Module):
        def forward(self, x):
            return {"x": x}

    with pytest.raises(LaminaError, match="returned dict"):
        layers.Torch(Dict())(layers.Input((4,)))


def test_its_shape_errors_name_the_layer_and_torchs_words():
    with pytest.raises(LaminaError, match=r"Layer 'stem' \(Torch\).*\(1, 8, 8\).*torch says"):
        layers.Torch(nn.Conv2d(3, 4, 3), name="stem")(layers.Input((1, 8, 8)))


EXAMPLES = [
    nn.AdaptiveAvgPool2d((2, 3)),
    nn.AdaptiveMaxPool2d(1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.BatchNorm1d(5, eps=1e-4),
    nn.BatchNorm2d(5, momentum=0.2),
    nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, groups=2, bias=False, padding_mode="reflect"),
    nn.Dropout(0.1),
    nn.Dropout2d(0.2),
    nn.ELU(0.5),
    nn.Flatten(2),
    nn.GELU("tanh"),
    nn.GroupNorm(2, 4),
    nn.Hardswish(),
    nn.Identity(),
    nn.LeakyReLU(0.1),
    nn.Linear(3, 2, bias=False),
    nn.LogSoftmax(1),
    nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    nn.Mish(),
    nn.ReLU(),
    nn.ReLU6(),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.Softmax(1),
    nn.Tanh(),
    nn.ZeroPad2d((1, 2, 3, 4)),
]


def test_every_plain_module_has_an_example_here():
    assert {type(module) for module in EXAMPLES} == set(PLAIN)


@pytest.mark.parametrize("module", EXAMPLES, ids=qualified_name)
def test_plain_modules_are_said_by_their_arguments(module):
    again = type(module)(**plain_arguments(module))
    assert repr(again) == repr(module)
    assert list(again.state_dict()) == list(module.state_dict())


def test_other_modules_are_not_said_at_all():
    assert plain_arguments(Both()) is None
    assert plain_arguments(nn.Sequential()) is None
    assert plain_arguments(type("Linear", (nn.Linear,), {})(2, 2)) is None
