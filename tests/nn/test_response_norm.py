"""Local response normalisation, against torch's and the paper's formula."""

import pytest
import torch

from lamina.nn import LocalResponseNorm


@pytest.mark.parametrize("arguments", [(5, 5e-4, 0.75, 2.0), (5,), (4, 0.3, 0.5, 1.5), (1, 0.2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_is_torch_s_in_values_and_gradients(arguments, layout):
    torch.manual_seed(0)
    ours, theirs = ((torch.randn(2, 9, 3, 4) * 20).to(memory_format=layout).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours.data)
    answer, expected = LocalResponseNorm(*arguments)(ours), torch.nn.LocalResponseNorm(*arguments)(theirs)
    torch.testing.assert_close(answer, expected)
    weights = torch.randn_like(answer)
    (answer * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert answer.is_contiguous(memory_format=layout)


def test_is_the_paper_s_formula_where_alpha_is_multiplied_by_the_size():
    images = torch.full((1, 7, 1, 1), 3.0)
    answer = LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)(images).flatten()
    by_hand = [3 / (2 + 1e-4 * 9 * neighbours) ** 0.75 for neighbours in (3, 4, 5, 5, 5, 4, 3)]
    torch.testing.assert_close(answer, torch.tensor(by_hand))


def test_large_activations_do_not_overflow_in_half_precision():
    images = torch.full((1, 8, 1, 1), 1000.0, dtype=torch.float16)
    answer = LocalResponseNorm(5, alpha=5e-4, k=2.0)(images)
    assert answer.isfinite().all()
    torch.testing.assert_close(
        answer.float(), LocalResponseNorm(5, alpha=5e-4, k=2.0)(images.float()), rtol=5e-3, atol=0
    )
