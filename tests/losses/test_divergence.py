"""The Kullback-Leibler divergence."""

from __future__ import annotations

import pytest
import torch

from lamina import losses
from lamina.core.errors import DataError

LOSS = losses.KLDivergence()
LOGITS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).softmax(1)


def test_a_distribution_does_not_diverge_from_itself() -> None:
    assert float(LOSS(TARGETS, TARGETS)) == pytest.approx(0.0, abs=1e-7)


def test_is_cross_entropy_less_the_targets_entropy() -> None:
    entropy = -(TARGETS * TARGETS.log()).sum(1)
    expected = losses.CategoricalCrossentropy().from_logits(LOGITS, TARGETS, reduction="none") - entropy
    torch.testing.assert_close(LOSS.from_logits(LOGITS, TARGETS, reduction="none"), expected)
    torch.testing.assert_close(LOSS(LOGITS.softmax(1), TARGETS), expected.mean())


def test_gradient_is_exact() -> None:
    targets = TARGETS.double()
    assert torch.autograd.gradcheck(lambda x: LOSS.from_logits(x, targets), LOGITS.double().requires_grad_())
    probs = LOGITS.double().softmax(1).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSS(x, targets, reduction="none"), probs)


def test_check_wants_probabilities() -> None:
    LOSS.check((None, 4), TARGETS)
    with pytest.raises(DataError, match="probabilities"):
        LOSS.check((None, 4), TARGETS * 5)
