"""The hinge loss."""

from __future__ import annotations

import pytest
import torch

from lamina import losses
from lamina.core.errors import DataError

LOSS = losses.Hinge()


def test_only_what_is_inside_the_margin_costs() -> None:
    outputs, targets = torch.tensor([[2.0], [0.5], [-1.0]]), torch.tensor([[1.0], [1.0], [1.0]])
    assert LOSS(outputs, targets, reduction="none").tolist() == [0.0, 0.5, 2.0]
    assert float(LOSS(outputs, targets)) == pytest.approx(2.5 / 3)


def test_zero_is_read_as_minus_one() -> None:
    outputs = torch.randn(6, 2)
    signs = torch.tensor([[1.0, -1.0]]).expand(6, 2)
    assert torch.equal(LOSS(outputs, signs), LOSS(outputs, (signs + 1) / 2))


def test_gradient_is_exact() -> None:
    outputs = torch.tensor([[0.3, 2.0], [-0.7, -3.0]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: LOSS(x, targets), outputs)


def test_check_wants_two_signs() -> None:
    LOSS.check((None, 1), torch.tensor([0, 1]))
    LOSS.check((None, 1), torch.tensor([True, False]))
    LOSS.check((None, 1), torch.tensor([-1, 1]))
    with pytest.raises(DataError, match="index 0 is 2"):
        LOSS.check((None, 1), torch.tensor([2, 1]))
