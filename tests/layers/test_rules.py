import operator
import subprocess
import sys

import pytest
import torch
from torch import nn

from lamina import layers
from lamina.layers import rules
from lamina.layers.probe import meta_copy
from lamina.nn import (
    BiasedBatchNorm1d,
    BiasedBatchNorm2d,
    Conv2d,
    Exponential,
    GaussianNoise,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    MaxPool2d,
    SamePad2d,
)

SIZES = [(2, 6, 9, 12), (3, 6, 8, 7), (2, 6, 5, 5)]
WINDOWS = [(1, 1, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1), (4, 3, 2), (5, 2, 2)]


def examples():
    for kernel, stride, padding in WINDOWS:
        for ceil in (False, True):
            yield nn.MaxPool2d(kernel, stride, min(padding, kernel // 2), ceil_mode=ceil)
            yield nn.AvgPool2d((kernel, 3), (stride, 2), (min(padding, kernel // 2), 1), ceil_mode=ceil)
        yield nn.MaxPool2d(2, stride, dilation=2)
        yield nn.Conv2d(6, 4, kernel, stride, padding, groups=2)
        yield nn.Conv2d(6, 4, (kernel, 2), stride, padding, dilation=(1, 2))
        yield nn.ConvTranspose2d(6, 4, kernel, stride, output_padding=stride - 1)
        yield nn.ConvTranspose2d(6, 4, 5, stride, padding, dilation=2)
    yield from (nn.BatchNorm2d(6), BiasedBatchNorm2d(6), GaussianNoise(0.1), Exponential())
    yield from (nn.Dropout(0.5), nn.Dropout2d(0.5), nn.LocalResponseNorm(3))
    yield from (nn.Softmax(1), nn.LogSoftmax(-1), nn.ZeroPad2d((1, -2, 3, -1)), SamePad2d((3, 2), stride=(2, 3)))
    yield from (GlobalAvgPool2d(), GlobalMaxPool2d(keepdims=True), MaxPool2d(2), Conv2d(6, 4, 3, padding=1))
    for name in ("ReLU", "ReLU6", "Sigmoid", "Tanh", "GELU", "SiLU", "Mish", "ELU", "SELU", "LeakyReLU", "Hardswish"):
        yield getattr(nn, name)()
    yield from (nn.Hardsigmoid(), nn.Hardtanh(), nn.Softplus(), nn.Softsign())


@pytest.mark.parametrize("shape", SIZES)
def test_rules_for_images_say_what_torch_returns(shape):
    image = torch.zeros(shape, device="meta")
    for module in examples():
        expected = meta_copy(module).eval()(image)
        assert rules.MODULES[type(module)](module, image).shape == expected.shape, module


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(6, 3), (2, 6)),
        (nn.Linear(6, 3), (2, 5, 6)),
        (nn.BatchNorm1d(6), (2, 6)),
        (BiasedBatchNorm1d(6), (2, 6, 4)),
    ],
)
def test_rules_for_vectors_say_what_torch_returns(module, shape):
    x = torch.zeros(shape, device="meta")
    assert rules.MODULES[type(module)](module, x).shape == meta_copy(module).eval()(x).shape


def test_every_rule_is_tried_above():
    tried = {type(module) for module in examples()} | {nn.Linear, nn.BatchNorm1d, BiasedBatchNorm1d}
    assert tried == set(rules.MODULES)


def test_rules_for_functions_say_what_torch_returns():
    a, b = torch.zeros(2, 3, 1, 5, device="meta"), torch.zeros(2, 3, 4, 1, device="meta")
    for function in (operator.add, operator.sub, operator.mul, operator.truediv):
        assert rules.FUNCTIONS[function](a, b).shape == function(a, b).shape
        assert rules.FUNCTIONS[function](2.0, a).shape == a.shape
    c = torch.zeros(2, 7, 1, 5, device="meta")
    assert rules.FUNCTIONS[torch.cat]([a, c], dim=1).shape == torch.cat([a, c], dim=1).shape


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(3, 4, 9), (2, 3, 8, 8)),
        (nn.Conv2d(3, 4, 3, padding="same"), (2, 3, 8, 8)),
        (nn.Conv2d(3, 4, 3), (2, 3)),
        (nn.MaxPool2d(9), (2, 3, 8, 8)),
        (nn.MaxPool2d(2, return_indices=True), (2, 3, 8, 8)),
        (nn.BatchNorm2d(3), (2, 3)),
        (nn.BatchNorm2d(4), (2, 3, 8, 8)),
        (nn.Linear(3, 4), (2, 5)),
        (nn.Softmax(2), (2, 5)),
        (nn.ZeroPad2d(-4), (2, 3, 8, 8)),
    ],
)
def test_what_no_rule_covers_is_left_to_torch(module, shape):
    with pytest.raises(rules.UnusualError):
        rules.MODULES[type(module)](module, torch.zeros(shape, device="meta"))


def test_torch_still_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"torch says: expected 3 channels, but got 1"):
        layers.Torch(nn.Conv2d(3, 4, 3))(layers.Input((1, 8, 8)))
    assert layers.Torch(nn.Conv2d(1, 4, 3, padding="same"))(layers.Input((1, 8, 8))).shape == (4, 8, 8)


def test_describing_a_common_network_does_not_import_the_compiler():
    code = """
import sys
from lamina import layers
x = layers.Input((3, 32, 32))
y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", activation="relu")(x))
y = layers.MaxPooling2D()(layers.Concatenate()([y, y * 2 + y]))
layers.Dense(10, activation="softmax")(layers.Dropout(0.5)(layers.Flatten()(y)))
print("torch._dynamo" in sys.modules, "sympy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
