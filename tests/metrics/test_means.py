"""Means of errors and of functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lamina import metrics
from lamina.core.errors import ShapeError

OUTPUTS, TARGETS = torch.tensor([[0.0, 1.0], [3.0, -1.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])


def value(metric: metrics.Metric, weights: Tensor | None = None) -> float:
    metric.update(OUTPUTS, TARGETS, weights)
    return float(metric.compute())


@pytest.mark.parametrize(("name", "each"), [("mse", (0.5, 6.5)), ("mae", (0.5, 2.5))])
def test_errors_are_averaged_over_entries_and_weighted_samples(name: str, each: tuple[float, float]) -> None:
    assert value(metrics.get(name)) == pytest.approx(sum(each) / 2)
    assert value(metrics.get(name), torch.tensor([3.0, 1.0])) == pytest.approx((3 * each[0] + each[1]) / 4)


def test_a_column_against_a_row_is_refused() -> None:
    with pytest.raises(ShapeError):
        metrics.MeanSquaredError().update(torch.zeros(4, 1), torch.zeros(4))


def test_half_precision_is_raised() -> None:
    metric = metrics.MeanSquaredError()
    metric.update(torch.full((1, 1), 300.0, dtype=torch.float16), torch.zeros(1, 1))
    assert float(metric.compute()) == 90_000.0


def test_a_function_gives_a_value_for_each_sample_or_one_for_the_batch() -> None:
    def bias(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).mean(dim=1)

    each, whole = metrics.get(bias), metrics.get(lambda outputs, targets: bias(outputs, targets).mean())
    assert each.name == "bias"
    for metric in (each, whole):
        metric.update(OUTPUTS, TARGETS)
        metric.update(OUTPUTS[:1], TARGETS[:1])  # a ragged batch counts less
        assert float(metric.compute()) == pytest.approx((-0.5 + 0.5 - 0.5) / 3)
    assert value(metrics.get(bias), torch.tensor([3.0, 1.0])) == pytest.approx((3 * -0.5 + 0.5) / 4)


def test_the_root_of_the_mean_squared_error_is_in_the_targets_unit() -> None:
    assert value(metrics.get("rmse")) == pytest.approx(((0.5 + 6.5) / 2) ** 0.5)


def test_r2_is_by_column_what_is_left_of_the_spread_whatever_the_batches() -> None:
    torch.manual_seed(0)
    targets = torch.randn(30, 2) * torch.tensor([1.0, 50.0]) + 7
    outputs = targets + torch.randn(30, 2) * torch.tensor([0.5, 10.0])
    weights = torch.rand(30)

    def by_hand(w: Tensor) -> float:
        mean = (w[:, None] * targets).sum(0) / w.sum()
        left = (w[:, None] * (targets - outputs) ** 2).sum(0) / (w[:, None] * (targets - mean) ** 2).sum(0)
        return float((1 - left).mean())

    whole, parts, weighed = (metrics.get("r2") for _ in range(3))
    whole.update(outputs, targets)
    for rows in (slice(0, 7), slice(7, 30)):
        parts.update(outputs[rows], targets[rows])
        weighed.update(outputs[rows], targets[rows], weights[rows])
    assert float(whole.compute()) == pytest.approx(by_hand(torch.ones(30)), rel=1e-5)
    assert float(parts.compute()) == pytest.approx(float(whole.compute()), rel=1e-9)
    assert float(weighed.compute()) == pytest.approx(by_hand(weights), rel=1e-5)
    constant = metrics.get("r2")
    constant.update(torch.ones(3, 1), torch.zeros(3, 1))
    assert torch.isnan(constant.compute())
