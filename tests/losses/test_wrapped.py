"""Losses from elsewhere keep their meaning."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina import losses
from lamina.core.errors import DataError, LaminaError

LOGITS, LABELS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 2])
ONE_HOT = F.one_hot(LABELS, 3).float()


@pytest.mark.parametrize(
    ("module", "activation", "accuracy"),
    [
        (nn.CrossEntropyLoss(), "softmax", "sparse"),
        (nn.BCEWithLogitsLoss(), "sigmoid", "binary"),
        (nn.MSELoss(), None, "largest"),
        (nn.L1Loss(), None, "largest"),
        (nn.BCELoss(), None, "binary"),
        (nn.CosineEmbeddingLoss(), None, "targets"),
    ],
)
def test_torch_modules_say_what_they_take(module: nn.Module, activation: str | None, accuracy: str) -> None:
    loss = losses.get(module)
    assert (loss.activation, loss.accuracy) == (activation, accuracy)


def test_torch_modules_keep_their_value_and_give_one_for_each_sample() -> None:
    module = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1)
    loss = losses.get(module)
    assert torch.equal(loss.from_logits(LOGITS, LABELS), module(LOGITS, LABELS))
    each = F.cross_entropy(LOGITS, LABELS, weight=module.weight, label_smoothing=0.1, reduction="none")
    assert torch.equal(loss.from_logits(LOGITS, LABELS, reduction="none"), each)
    assert module.reduction == "mean"
    assert losses.get(nn.MSELoss())(LOGITS, ONE_HOT, reduction="none").shape == (4,)


def test_torch_modules_check_and_prepare_as_their_counterparts() -> None:
    loss = losses.get(nn.CrossEntropyLoss())
    loss.check((None, 3), torch.tensor([0, -100]))  # torch's ignore_index
    loss.check((None, 3), ONE_HOT)  # probabilities are fine with torch
    with pytest.raises(DataError, match="index 0 is 3"):
        loss.check((None, 3), torch.tensor([3, 0]))
    assert loss.prepare(LABELS.to(torch.uint8)).dtype == torch.int64
    assert losses.get(nn.BCEWithLogitsLoss()).prepare(torch.tensor([0, 1]), (None, 1)).shape == (2, 1)
    assert losses.get(nn.SmoothL1Loss()).prepare(ONE_HOT.double()).dtype == torch.float32


def test_a_function_may_give_a_scalar_or_a_value_for_each_sample() -> None:
    scalar = losses.get(lambda outputs, targets: (outputs - targets).square().mean())
    each = losses.get(lambda outputs, targets: (outputs - targets).square())
    torch.testing.assert_close(scalar(LOGITS, ONE_HOT), each(LOGITS, ONE_HOT))
    assert each(LOGITS, ONE_HOT, reduction="none").shape == (4,)
    with pytest.raises(LaminaError, match="one number for the whole batch"):
        scalar(LOGITS, ONE_HOT, reduction="none")
    assert (scalar.activation, scalar.accuracy) == (None, "targets")


def test_a_function_that_gives_no_tensor_is_named() -> None:
    def my_loss(outputs: Tensor, targets: Tensor) -> float:
        return float((outputs - targets).mean())

    with pytest.raises(LaminaError, match="my_loss returned float"):
        losses.get(my_loss)(LOGITS, ONE_HOT)
