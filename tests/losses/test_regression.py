"""Mean squared and absolute error, Huber: torch's own functions, and numbers by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lamina import losses
from lamina.core.errors import DataError, LaminaError, ShapeError

OUTPUTS, TARGETS = torch.tensor([[0.0, 1.0], [3.0, -1.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
EACH = {"mse": [0.5, 6.5], "mae": [0.5, 2.5], "huber": [0.25, 2.0]}  # Huber of the errors 1, 0 and 3, 2


@pytest.mark.parametrize(("name", "each"), EACH.items())
def test_each_sample_has_the_mean_of_its_entries(name: str, each: list[float]) -> None:
    loss = losses.get(name)
    assert loss(OUTPUTS, TARGETS, reduction="none").tolist() == pytest.approx(each)
    assert float(loss(OUTPUTS, TARGETS)) == pytest.approx(sum(each) / 2)


def test_mean_squared_error_is_torchs_bit_for_bit() -> None:
    outputs, targets = torch.randn(33, 7), torch.randn(33, 7)
    assert torch.equal(losses.MeanSquaredError()(outputs, targets), F.mse_loss(outputs, targets))
    assert torch.equal(losses.MeanSquaredError().from_logits(outputs, targets), F.mse_loss(outputs, targets))


@pytest.mark.parametrize("loss", [losses.MeanSquaredError(), losses.MeanAbsoluteError(), losses.Huber(0.5)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradient_is_exact(loss: losses.Loss, reduction: losses.Reduction) -> None:
    outputs = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, reduction=reduction), outputs)


def test_half_precision_is_raised_before_anything_is_summed() -> None:
    outputs = torch.full((1, 1), 300.0, dtype=torch.float16)
    assert float(losses.MeanSquaredError()(outputs, torch.zeros(1, 1))) == 90_000.0  # beyond float16


def test_a_column_against_a_row_is_refused_and_prepare_makes_them_fit() -> None:
    outputs, targets = torch.randn(4, 1), torch.randn(4).double()
    with pytest.raises(ShapeError, match=r"\(4, 1\).*\(4,\)"):
        losses.MeanSquaredError()(outputs, targets)
    prepared = losses.MeanSquaredError().prepare(targets, outputs.shape)
    assert prepared.shape == (4, 1)
    assert prepared.dtype == torch.float32


def test_check_accepts_what_prepare_makes_fit_and_names_what_does_not() -> None:
    loss = losses.MeanSquaredError()
    loss.check((None, 1), torch.randn(4))
    loss.check((None, None, 3), torch.randn(4, 9, 3))
    with pytest.raises(ShapeError, match=r"\(4, 2\).*\(4, 3\)"):
        loss.check((None, 3), torch.randn(4, 2))
    with pytest.raises(ShapeError, match="sparse_categorical_crossentropy"):
        loss.check((None, 3), torch.tensor([0, 2, 1, 1]))
    with pytest.raises(DataError, match=r"index \(1, 0\) is nan"):
        loss.check((None, 1), torch.tensor([[0.0], [torch.nan]]))


def test_huber_wants_a_positive_delta_and_losses_a_known_reduction() -> None:
    with pytest.raises(LaminaError, match="delta"):
        losses.Huber(0.0)
    with pytest.raises(LaminaError, match="reduction 'sum'"):
        losses.Huber()(OUTPUTS, TARGETS, reduction="sum")  # type: ignore[arg-type]
