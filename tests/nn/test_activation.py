import torch
import torch.nn.functional as F

from lamina.nn import Exponential, PReLU


def test_prelu_with_one_slope_is_torchs():
    inputs = torch.randn(2, 3, 4, 4)
    assert torch.allclose(PReLU((1, 1, 1), 0.3)(inputs), F.prelu(inputs, torch.tensor([0.3])))


def test_prelu_has_a_slope_per_entry():
    module = PReLU((2,), 0.0)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.5, 2.0]))
    assert module(torch.tensor([[-1.0, -1.0], [1.0, 3.0]])).tolist() == [[-0.5, -2.0], [1.0, 3.0]]


def test_prelu_gradient_is_exact():
    module = PReLU((3,)).double()
    assert torch.autograd.gradcheck(module, torch.tensor([[-1.0, 0.5, -2.0]], dtype=torch.float64, requires_grad=True))


def test_exponential_is_exp():
    assert torch.equal(Exponential()(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]).exp())
