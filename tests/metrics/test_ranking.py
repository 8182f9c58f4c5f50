"""Mean average precision: by its definition, threshold by threshold, and the same for any batches."""

import numpy as np
import pytest
import torch

from lamina import metrics
from lamina.core.errors import ShapeError


def by_definition(scores, truth):
    """The mean over the labels of sum over the distinct scores of (gain in recall) x precision."""
    found = []
    for column, goals in zip(scores.T.tolist(), truth.T.tolist(), strict=True):
        area, before = 0.0, 0.0
        for least in sorted(set(column), reverse=True):
            chosen = [goal for score, goal in zip(column, goals, strict=True) if score >= least]
            recall = sum(chosen) / sum(goals)
            area, before = area + (recall - before) * sum(chosen) / len(chosen), recall
        found.append(area)
    return np.mean(found)


def samples(count=120, labels=3):
    made = torch.Generator().manual_seed(0)
    scores = (torch.rand(count, labels, generator=made) * 15).round() / 15  # many are equal
    return scores, (torch.rand(count, labels, generator=made) < 0.3).int()


def test_is_what_the_definition_says_with_equal_scores_too():
    scores, truth = samples()
    metric = metrics.get("mean_average_precision")
    metric.update(scores, truth)
    assert float(metric.compute()) == pytest.approx(by_definition(scores, truth), abs=1e-12)


def test_known_values():
    metric = metrics.MeanAveragePrecision()
    metric.update(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    assert float(metric.compute()) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)  # scikit-learn's own example: 0.83
    metric.reset()
    metric.update(torch.zeros(4, 1), torch.tensor([[1], [0], [0], [0]]))
    assert float(metric.compute()) == pytest.approx(0.25)


def test_batches_change_nothing_and_a_saved_state_goes_on():
    scores, truth = samples()
    metric, other = metrics.MeanAveragePrecision(), metrics.MeanAveragePrecision()
    for start in range(0, 70, 7):
        metric.defer(scores[start : start + 7], truth[start : start + 7])
    other.load_state_dict(metric.state_dict())
    other.defer(scores[70:], truth[70:])
    assert float(other.compute()) == pytest.approx(by_definition(scores, truth), abs=1e-12)


def test_a_sample_of_weight_two_counts_as_two_samples():
    scores, truth = samples(30)
    weights = torch.arange(30) % 3
    weighted, repeated = metrics.MeanAveragePrecision(), metrics.MeanAveragePrecision()
    weighted.update(scores, truth, weights.float())
    repeated.update(scores.repeat_interleave(weights, 0), truth.repeat_interleave(weights, 0))
    assert float(weighted.compute()) == pytest.approx(float(repeated.compute()))


def test_labels_that_no_sample_has_do_not_count():
    scores, truth = samples(labels=2)
    metric = metrics.MeanAveragePrecision()
    metric.update(torch.cat([scores, scores], 1), torch.cat([truth, torch.zeros_like(truth)], 1))
    assert float(metric.compute()) == pytest.approx(by_definition(scores, truth), abs=1e-12)
    metric.reset()
    assert metric.compute().isnan()
    metric.update(scores, torch.zeros_like(truth))
    assert metric.compute().isnan()
    with pytest.raises(ShapeError, match="must have one shape"):
        metric.update(scores, truth[:, 0])
