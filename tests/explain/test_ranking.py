import math

import numpy as np
import pytest
import torch

from lamina.core.errors import DataError, ShapeError
from lamina.explain import precision_recall, precision_recall_figure, rankings, roc, roc_figure
from lamina.explain.ranking import FALSE_ALARMS, RECALLS, means
from lamina.metrics import MeanAveragePrecision


def mann_whitney(scores, truth):
    """The share of pairs in the right order; equal ones count half."""
    pairs = scores[truth == 1][:, None] - scores[truth == 0][None]
    return ((pairs > 0) + 0.5 * (pairs == 0)).mean()


def test_areas_are_those_of_a_sum_by_hand():
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0])
    found, precise = roc(scores, truth), precision_recall(scores, truth)
    assert found.area == pytest.approx(3 / 4)
    assert found.x.tolist() == [0, 0, 0.5, 0.5, 1]
    assert found.y.tolist() == [0, 0.5, 0.5, 1, 1]
    assert found.thresholds.tolist() == [math.inf, 0.9, 0.8, 0.7, 0.6]
    assert precise.area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert precise.y.tolist() == pytest.approx([1, 1, 1 / 2, 2 / 3, 1 / 2])


def test_equal_scores_are_one_step_and_count_half():
    scores, truth = np.array([0.5, 0.5, 0.5, 0.2]), np.array([1, 0, 1, 0])
    found = roc(scores, truth)
    assert len(found.x) == 3
    assert found.area == pytest.approx(mann_whitney(scores, truth)) == pytest.approx(0.75)
    assert precision_recall(scores, truth).area == pytest.approx(2 / 3)
    assert roc(np.full(6, 0.5), np.array([1, 0] * 3)).area == pytest.approx(0.5)


@pytest.mark.parametrize("levels", [5, 1000])
def test_areas_agree_with_the_pairs_and_with_the_metric(levels):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    scores = np.round(rng.random(200) * levels + truth * levels / 4) / levels
    assert roc(scores, truth).area == pytest.approx(mann_whitney(scores, truth))
    metric = MeanAveragePrecision()
    metric.update(torch.tensor(scores), torch.tensor(truth))
    assert precision_recall(scores, truth).area == pytest.approx(float(metric.compute()), abs=1e-6)


def test_a_perfect_ranking_has_full_areas_and_a_reversed_one_none():
    truth = np.array([1, 1, 0, 0, 0])
    assert roc(truth * 1.0, truth).area == 1 == precision_recall(truth * 1.0, truth).area
    assert roc(-truth * 1.0, truth).area == 0


def test_what_is_missing_has_no_area():
    scores = np.array([0.1, 0.2])
    assert math.isnan(roc(scores, np.array([1, 1])).area)
    assert math.isnan(roc(scores, np.array([0, 0])).area)
    assert math.isnan(precision_recall(scores, np.array([0, 0])).area)
    assert precision_recall(np.array([0.3]), np.array([1])).area == 1


def test_each_class_is_ranked_against_the_rest_and_one_without_pictures_does_not_count():
    probs = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    ranked = rankings(probs, [0, 1, 1], classes="abc")
    assert [one.support for one in ranked] == [1, 2, 0]
    assert [one.auc for one in ranked[:2]] == [1, 1]
    assert math.isnan(ranked[2].average_precision)
    mean = means(ranked)
    assert (mean.auc, mean.average_precision, mean.support) == (1, 1, 3)
    assert (mean.precisions == 1).all()


def test_several_labels_are_ranked_each_by_itself():
    ranked = rankings(np.array([[0.9, 0.1], [0.2, 0.3]]), np.array([[1, 1], [0, 0]]), classes="ab")
    assert [one.auc for one in ranked] == [1, 0]


def test_drawn_curves_never_lie_above_the_true_ones():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)
    scores = rng.random(300) + 0.5 * truth
    (one,) = rankings(np.stack([scores, scores], axis=1), np.stack([truth, truth], axis=1), classes="ab")[:1]
    found, precise = roc(scores, truth), precision_recall(scores, truth)
    for alarm, hit in zip(FALSE_ALARMS, one.hits, strict=True):
        assert hit == found.y[found.x <= alarm].max()
    for recall, precision in zip(RECALLS[1:], one.precisions[1:], strict=True):
        assert precision == precise.y[precise.x >= recall - 1e-12][0]


@pytest.mark.parametrize(("scores", "error"), [([0.1, np.nan], DataError), ([0.1], ShapeError), ([], ShapeError)])
def test_what_cannot_be_ranked_is_refused(scores, error):
    with pytest.raises(error):
        roc(np.array(scores), np.array([0, 1][: max(len(scores), 2)]))


@pytest.mark.parametrize("classes", [2, 3, 30])
def test_figures_are_drawn_and_stay_small(classes, tmp_path):
    rng = np.random.default_rng(0)
    probs = rng.random((100, classes))
    ranked = rankings(probs, rng.integers(0, classes, 100), classes=[f"${k}" for k in range(classes)])
    for draw in (roc_figure, precision_recall_figure):
        draw(ranked).savefig(tmp_path / "a.svg")
        assert (tmp_path / "a.svg").stat().st_size < 120_000
        draw([]).savefig(tmp_path / "b.png")
