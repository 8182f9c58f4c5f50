"""Accuracy of every kind, and among the first k."""

from __future__ import annotations

import pytest
import torch

from lamina import metrics
from lamina.core.errors import LaminaError, ShapeError

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.4, 0.5, 0.1]])
LABELS = torch.tensor([1, 0, 1, 1])  # three of four are right
ONE_HOT = torch.nn.functional.one_hot(LABELS, 3).float()


def value(metric: metrics.Metric, *batches: tuple[torch.Tensor | None, ...]) -> float:
    for batch in batches:
        metric.update(*batch)  # type: ignore[arg-type]
    return float(metric.compute())


@pytest.mark.parametrize(
    ("kind", "outputs", "targets", "expected"),
    [
        ("sparse", SCORES, LABELS, 0.75),
        ("sparse", SCORES, LABELS.to(torch.uint8), 0.75),
        ("one_hot", SCORES, ONE_HOT, 0.75),
        ("largest", SCORES, ONE_HOT, 0.75),
        ("targets", SCORES, LABELS, 0.75),
        ("targets", SCORES, ONE_HOT, 0.75),
        (None, SCORES, LABELS, 0.75),
        ("largest", torch.tensor([[0.6], [0.2], [0.9]]), torch.tensor([[1.0], [1.0], [1.0]]), 2 / 3),
        ("signs", torch.tensor([[0.3], [-0.3], [0.2]]), torch.tensor([[1], [-1], [-1]]), 2 / 3),
        ("signs", SCORES, ONE_HOT, 0.75),
        ("binary", torch.tensor([[0.6], [0.2], [0.9]]), torch.tensor([[1.0], [1.0], [1.0]]), 2 / 3),
        ("binary", torch.tensor([[0.6, 0.4], [0.2, 0.9]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 0.75),
        ("targets", torch.tensor([0.6, 0.2]), torch.tensor([1, 1]), 0.5),
    ],
)
def test_each_kind_says_what_is_right(kind, outputs, targets, expected) -> None:
    assert value(metrics.Accuracy(kind), (outputs, targets)) == pytest.approx(expected)


def test_only_the_first_of_two_outputs_and_a_column_of_labels_would_agree_by_broadcasting() -> None:
    with pytest.raises(ShapeError, match=r"\(4, 3\).*\(4, 1\)"):
        metrics.Accuracy("sparse").update(SCORES, LABELS[:, None])


def test_ragged_batches_count_by_their_samples_and_weights_weigh() -> None:
    assert value(metrics.Accuracy("sparse"), (SCORES[:3], LABELS[:3]), (SCORES[3:], LABELS[3:])) == 0.75
    weights = torch.tensor([1.0, 1.0, 4.0, 0.0])
    assert value(metrics.Accuracy("sparse"), (SCORES, LABELS, weights)) == pytest.approx(2 / 6)


def test_pixels_count_one_by_one_and_ignored_ones_not() -> None:
    images = SCORES.T.reshape(1, 3, 2, 2)
    mask = torch.tensor([[[1, 0], [1, 255]]])
    assert value(metrics.Accuracy("sparse", ignore_class=255), (images, mask)) == pytest.approx(2 / 3)
    weighted = metrics.Accuracy("sparse", ignore_class=255)
    both = (torch.cat([images, images]), torch.cat([mask, torch.tensor([[[1, 0], [1, 1]]])]))
    assert value(weighted, (*both, torch.tensor([1.0, 2.0]))) == pytest.approx((2 + 2 * 3) / (3 + 2 * 4))


def test_logits_serve_where_the_largest_decides() -> None:
    assert metrics.Accuracy("sparse").takes == metrics.Accuracy("one_hot").takes == "scores"
    assert (
        metrics.Accuracy("binary").takes == metrics.Accuracy("largest").takes == metrics.Accuracy().takes == "outputs"
    )


@pytest.mark.parametrize(("k", "expected"), [(1, 0.75), (2, 1.0), (3, 1.0)])
def test_the_first_k_of_labels_and_of_one_hot(k: int, expected: float) -> None:
    assert (
        value(metrics.TopKAccuracy(k), (SCORES, LABELS)) == expected
    )  # the third sample's 0.2 is a tie for the second place
    assert value(metrics.TopKAccuracy(k), (SCORES, ONE_HOT)) == expected


def test_the_first_k_agree_with_topk() -> None:
    scores = torch.randn(200, 30, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(30, (200,), generator=torch.Generator().manual_seed(1))
    expected = (scores.topk(5).indices == labels[:, None]).any(1).float().mean()
    assert value(metrics.TopKAccuracy(), (scores, labels)) == pytest.approx(float(expected))
    assert metrics.TopKAccuracy().name == "top_5_accuracy"


def test_a_network_that_gives_nan_is_never_right() -> None:
    assert value(metrics.TopKAccuracy(2), (torch.full((4, 3), torch.nan), LABELS)) == 0.0


def test_k_is_at_least_one() -> None:
    with pytest.raises(LaminaError, match="k is 0"):
        metrics.TopKAccuracy(0)
