"""Networks that are worth comparing, and exports that take no longer than they must."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess
from lamina.export import checking, writing

SMALL = Preprocess(size=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.fixture
def untimed(monkeypatch):
    """Each engine is timed by two runs, which says little."""
    monkeypatch.setattr(checking, "_TIMED_S", 0.0)


@pytest.fixture
def without_openvino(monkeypatch):
    monkeypatch.setattr(writing, "_has_openvino", lambda: False)


@pytest.fixture
def small_net():
    """`small_net(outputs=4, seed=0)`: a convolution, a BatchNorm with statistics, a class layer with something to say."""

    def make(outputs=4, *, seed=0):
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(8)
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.5, 2)
        last = nn.Linear(8, outputs)
        last.weight.data.mul_(8)
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)

    return make


@pytest.fixture
def classifier(small_net):
    """A classifier of four classes, 32 px."""
    return Classifier(small_net(), classes=list("abcd"), preprocess=SMALL)


@pytest.fixture
def photos():
    """So many pictures of 32 px, bright and dark ones."""

    def make(count=6, size=(32, 32), channels=3):
        torch.manual_seed(1)
        bright = torch.linspace(0.2, 1, count)[:, None, None, None]
        return (torch.rand(count, channels, *size) * bright * 255).to(torch.uint8)

    return make
