"""The convolution of a doubled map is what it says, with its gradients."""

import pytest
import torch
import torch.nn.functional as F

from lamina.nn import doubled_conv2d


def plain(maps, weight, bias=None):
    return F.conv2d(F.interpolate(maps, scale_factor=2, mode="nearest"), weight, bias, padding=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)])
def test_is_the_convolution_of_the_doubled_map(size):
    torch.manual_seed(0)
    maps = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    answers = [layer(maps, weight, bias) for layer in (doubled_conv2d, plain)]
    torch.testing.assert_close(*answers)
    pull = torch.randn_like(answers[0])
    for one, other in zip(*(torch.autograd.grad(each, (maps, weight, bias), pull) for each in answers), strict=True):
        torch.testing.assert_close(one, other)
