"""Means of batches, weighed by what they divide by, are the mean of all: no figure depends on the batch size."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from lamina import losses

WEIGHT = torch.tensor([1.0, 5.0, 0.5])
IGNORING = losses.SparseCategoricalCrossentropy(ignore_class=2)
SMOOTH = losses.SparseCategoricalCrossentropy(0.2, ignore_class=255)


def flat(ignored: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (12,), generator=generator)
    labels[[0, 1, 4]] = ignored
    return torch.randn(12, 3, generator=generator).log_softmax(1), labels


def dense(ignored: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (12, 2, 3), generator=generator)
    labels[:2], labels[4, 1] = ignored, ignored
    return torch.randn(12, 3, 2, 3, generator=generator).log_softmax(1), labels


@pytest.mark.parametrize("make", [flat, dense])
@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(
    ("spec", "ignored"),
    [
        (losses.SparseCategoricalCrossentropy(), 0),
        (IGNORING, 2),
        (SMOOTH, 255),
        (nn.CrossEntropyLoss(), -100),
        (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=255), 255),
        (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=0, label_smoothing=0.2), 0),
        (nn.NLLLoss(weight=WEIGHT), -100),
        (nn.NLLLoss(ignore_index=1), 1),
    ],
)
def test_the_mean_of_batches_by_count_is_the_mean_of_all(spec: losses.LossLike, ignored: int, size: int, make) -> None:
    loss, (logits, labels) = losses.get(spec), make(ignored)
    total, counts = torch.zeros(()), torch.zeros(())
    for batch, goals in zip(logits.split(size), labels.split(size), strict=True):
        count = loss.count(goals)
        count = torch.tensor(float(len(goals))) if count is None else count
        mean = loss.from_logits(batch, goals)
        torch.testing.assert_close(loss.from_logits(batch, goals, reduction="none").sum(), mean * count)
        total, counts = total + mean * count, counts + count
    torch.testing.assert_close(total / counts, loss.from_logits(logits, labels))


def test_a_count_is_in_samples() -> None:
    assert IGNORING.count(torch.tensor([0, 2, 1, 2])) == 2.0
    assert IGNORING.count(torch.tensor([[[0, 2], [1, 1]], [[2, 2], [2, 2]]])) == 0.75
    weighed = losses.get(nn.CrossEntropyLoss(weight=WEIGHT))
    assert weighed.count(torch.tensor([0, 1, -100, 2], dtype=torch.int64)) == 6.5
    assert weighed.count(torch.tensor([0, 1, 1], dtype=torch.uint8)) == 11.0


def test_where_the_mean_is_over_the_samples_there_is_no_count() -> None:
    one_hot = torch.eye(3)
    for spec in ("mse", "binary_crossentropy", "hinge", nn.MSELoss(), nn.CrossEntropyLoss(weight=WEIGHT)):
        assert losses.get(spec).count(one_hot) is None
    assert losses.SparseCategoricalCrossentropy().count(torch.tensor([0, 1])) is None
    assert losses.get(nn.CrossEntropyLoss(reduction="sum")).count(torch.tensor([0, 1])) is None


@pytest.mark.parametrize("loss", [losses.get(nn.CrossEntropyLoss(ignore_index=2)), IGNORING])
def test_a_batch_in_which_all_is_ignored_has_no_loss_and_no_gradient(loss: losses.Loss) -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    value = loss.from_logits(logits, torch.tensor([2, 2]))
    value.backward()
    assert value == 0.0
    assert not logits.grad.any()


def test_an_ignored_entry_is_0_in_its_sample_s_value() -> None:
    logits, labels = dense(2)
    values = IGNORING.from_logits(logits, labels, reduction="none")
    entries = nn.functional.cross_entropy(logits, labels, ignore_index=2, reduction="none")
    torch.testing.assert_close(values, entries.mean(dim=(1, 2)))
    assert values[:2].tolist() == [0.0, 0.0]


def test_accuracy_beside_torchs_nll_leaves_out_what_the_loss_ignores() -> None:
    assert losses.get(nn.NLLLoss(ignore_index=7)).ignore_class == 7


def test_a_torch_losss_count_is_computed_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = losses.TorchLoss(nn.CrossEntropyLoss(weight=WEIGHT))
    asked = []
    count = losses.TorchLoss._count
    monkeypatch.setattr(losses.TorchLoss, "_count", lambda self, goals: asked.append(len(goals)) or count(self, goals))
    logits, labels = flat(-100)
    loss(logits, labels)
    assert loss.count(labels) == loss.count(labels) == count(loss, labels)
    assert asked == [12]
    labels[0] = 1  # another batch in the same memory
    assert loss.count(labels) == count(loss, labels)
    assert loss.count(labels.clone()) == count(loss, labels)
    assert asked == [12, 12, 12]
    with torch.inference_mode():
        assert loss.count(labels.clone()) == count(loss, labels)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other.count(labels) == count(loss, labels)
