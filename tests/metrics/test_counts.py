"""Precision, recall and F1: numbers by hand, as scikit-learn gives them with zero_division=0."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lamina import metrics

TRUE = torch.tensor([0, 0, 0, 1, 1, 2])
PREDICTED = torch.tensor([0, 0, 1, 1, 2, 0])
# class:     0            1            2
# precision  2/3          1/2          0/1
# recall     2/3          1/2          0/1
# f1         2/3          1/2          0
MACRO = (2 / 3 + 1 / 2 + 0) / 3
NAMES = {"precision": metrics.Precision, "recall": metrics.Recall, "f1": metrics.F1}


def value(metric: metrics.Metric, outputs, targets, weights=None) -> float:
    metric.update(outputs, targets, weights)
    return float(metric.compute())


@pytest.mark.parametrize("name", NAMES)
def test_several_classes_are_averaged(name: str) -> None:
    scores = F.one_hot(PREDICTED, 4).float()  # the class 3 occurs nowhere and does not count
    assert value(NAMES[name](), scores, TRUE) == pytest.approx(MACRO)
    assert value(NAMES[name]("one_hot"), scores, F.one_hot(TRUE, 4).float()) == pytest.approx(MACRO)


def test_precision_and_recall_differ_as_they_should() -> None:
    scores = F.one_hot(torch.tensor([0, 0, 0, 1]), 2).float()
    labels = torch.tensor([0, 1, 1, 1])
    assert value(metrics.Precision(), scores, labels) == pytest.approx((1 / 3 + 1) / 2)
    assert value(metrics.Recall(), scores, labels) == pytest.approx((1 + 1 / 3) / 2)
    assert value(metrics.F1(), scores, labels) == pytest.approx((1 / 2 + 1 / 2) / 2)


@pytest.mark.parametrize(("name", "expected"), [("precision", 2 / 3), ("recall", 2 / 4), ("f1", 4 / 7)])
@pytest.mark.parametrize("column", [True, False])
def test_a_single_output_speaks_of_the_class_one(name: str, expected: float, column: bool) -> None:
    probs, labels = torch.tensor([0.9, 0.8, 0.7, 0.1, 0.2, 0.3]), torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    if column:
        probs, labels = probs[:, None], labels[:, None]
    assert value(NAMES[name]("binary"), probs, labels) == pytest.approx(expected)
    assert value(NAMES[name](), probs, labels) == pytest.approx(expected)


def test_several_labels_are_counted_each_for_itself() -> None:
    probs = torch.tensor([[0.9, 0.9], [0.9, 0.1], [0.1, 0.1]])
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    assert value(metrics.Precision("binary"), probs, labels) == pytest.approx((1 / 2 + 1) / 2)
    assert value(metrics.Recall("binary"), probs, labels) == pytest.approx((1 + 1 / 2) / 2)


def test_a_share_of_nothing_is_zero() -> None:
    assert value(metrics.F1("binary"), torch.zeros(3, 1), torch.zeros(3, 1)) == 0.0


def test_weights_weigh_samples() -> None:
    scores, weights = F.one_hot(PREDICTED, 3).float(), torch.tensor([1.0, 2.0, 1.0, 1.0, 3.0, 0.0])
    doubled = metrics.Recall()
    for count, index in [(1, 0), (2, 1), (1, 2), (1, 3), (3, 4)]:
        for _ in range(count):
            doubled.update(scores[index : index + 1], TRUE[index : index + 1])
    assert value(metrics.Recall(), scores, TRUE, weights) == pytest.approx(float(doubled.compute()))


def test_pixels_are_counted_and_ignored_ones_not() -> None:
    scores = F.one_hot(PREDICTED, 3).float().T.reshape(1, 3, 2, 3)
    masks = TRUE.clone().reshape(1, 2, 3)
    assert value(metrics.F1(), scores, masks) == pytest.approx(MACRO)
    masks[0, 1, 2] = 255
    without_last = F.one_hot(PREDICTED[:5], 3).float()
    expected = value(metrics.F1(), without_last, TRUE[:5])
    assert value(metrics.F1("sparse", ignore_class=255), scores, masks) == pytest.approx(expected)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_there_are() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2)
    for guess in (0, 1, 2):  # 2 is no class of these samples, and does not count as one that was missed
        scores = F.one_hot(torch.full((10,), guess), 3).float()
        assert value(metrics.BalancedAccuracy(), scores, labels) == pytest.approx(0.5 if guess < 2 else 0.0)
    predicted = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 1, 0])
    scores = F.one_hot(predicted, 3).float()
    assert value(metrics.BalancedAccuracy(), scores, labels) == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert value(metrics.BalancedAccuracy(ignore_class=1), scores, labels) == pytest.approx(6 / 8)
    weights = torch.tensor([1.0] * 6 + [0.0, 0.0, 1.0, 3.0])
    assert value(metrics.BalancedAccuracy(), scores, labels, weights) == pytest.approx((1 + 1 / 4) / 2)


@pytest.mark.parametrize("column", [True, False])
def test_balanced_accuracy_of_one_output_is_the_mean_of_yes_and_no(column: bool) -> None:
    probs, labels = torch.tensor([0.9, 0.8, 0.7, 0.1, 0.2, 0.3]), torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    if column:
        probs, labels = probs[:, None], labels[:, None]
    assert value(metrics.BalancedAccuracy("binary"), probs, labels) == pytest.approx((2 / 4 + 1 / 2) / 2)
    labels, probs = (
        torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]),
    )
    expected = (1 / 1 + 1 / 1 + 1 / 2 + 1 / 2) / 4  # yes of each label, then no
    assert value(metrics.BalancedAccuracy("binary"), probs, labels) == pytest.approx(expected)


def balanced_accuracy_together(world, scores, labels) -> float:
    metric = metrics.BalancedAccuracy()
    first, last = (0, 7) if world.rank == 0 else (7, len(labels))  # of the second class only one has samples
    metric.update(torch.tensor(scores)[first:last], torch.tensor(labels)[first:last])
    metric.reduce()
    return float(metric.compute())


def test_balanced_accuracy_is_exact_over_processes(together) -> None:
    labels = [0] * 8 + [1] * 2
    scores = F.one_hot(torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 1, 0]), 3).float().tolist()
    assert together(balanced_accuracy_together, scores, labels) == pytest.approx([(6 / 8 + 1 / 2) / 2] * 2)
