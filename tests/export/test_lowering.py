"""Lowering: a network in 16 bits between parts in 32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lamina.export import Deployable
from lamina.export.lowering import lower


def answering(net, example):
    return Deployable(net, nn.Identity(), nn.Softmax(-1), (example,)).module()


@pytest.mark.parametrize(("precision", "dtype"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_weights_are_in_16_bits_and_norms_and_answers_in_32(precision, dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(5, 6)
    wanted = answering(net, x)(x)
    module = lower(answering(net, x), precision)
    kinds = {name: value.dtype for name, value in module.named_parameters()}
    assert kinds.pop("net.net.1.inner.weight") == kinds.pop("net.net.1.inner.bias") == torch.float32
    assert set(kinds.values()) == {dtype}
    came = module(x)
    assert came.dtype == torch.float32
    assert not torch.equal(came, wanted)
    torch.testing.assert_close(came, wanted, rtol=0, atol=0.02)


def test_a_norm_of_small_variance_does_not_vanish_in_float16():
    norm = nn.BatchNorm2d(1, eps=1e-12)
    norm.running_var.fill_(1e-9)  # 0 in float16
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module = lower(answering(net, torch.rand(2, 1, 4, 4)), "float16")
    assert torch.isfinite(module(torch.rand(2, 1, 4, 4))).all()
    assert module.net.net[2].inner.running_var.item() > 0


def test_a_norm_of_somebodys_own_is_known_by_its_name():
    class ScaleNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            assert x.dtype == torch.float32
            return x * self.weight / x.square().sum(-1, keepdim=True).sqrt()

    module = lower(answering(nn.Sequential(nn.Linear(4, 4), ScaleNorm()), torch.randn(2, 4)), "float16")
    large = torch.full((2, 4), 600.0)  # whose squares float16 cannot hold
    assert torch.isfinite(module(large)).all()


def test_numbers_that_are_looked_up_stay_whole_numbers():
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 3))
    rows = torch.tensor([[1, 2, 3], [9, 0, 4]])
    module = lower(Deployable(net, nn.Identity(), nn.Identity(), (rows,)).module(), "bfloat16")
    torch.testing.assert_close(module(rows), net(rows), rtol=0, atol=0.05)


def test_the_network_itself_stays_in_float32():
    net = nn.Linear(3, 2)
    lower(answering(net, torch.rand(2, 3)), "float16")
    assert net.weight.dtype == torch.float32
