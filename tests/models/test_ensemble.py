"""The arithmetic of ensembles."""

import numpy as np
import pytest
import torch
from torch import nn

from lamina.core.errors import LaminaError, ShapeError
from lamina.models import Model
from lamina.models.comparison import Comparison
from lamina.models.ensemble import checked_weights, combine, figures, learned_weights


def answers(members, samples, classes, *, seed=0):
    raw = np.random.default_rng(seed).normal(size=(members, samples, classes)) * 2
    return np.exp(raw) / np.exp(raw).sum(-1, keepdims=True)


def cross_entropy(probs, labels):
    return -np.log(probs[range(len(labels)), labels]).mean()


def test_a_single_member_is_itself():
    probs = answers(1, 5, 3)
    for average in ("probs", "logits"):
        assert combine(probs, [1.0], average=average) == pytest.approx(probs[0], abs=1e-6)


@pytest.mark.parametrize("average", ["probs", "logits"])
def test_learned_weights_are_the_best_of_a_fine_grid(average):
    probs, labels = answers(2, 200, 4), np.random.default_rng(1).integers(0, 4, 200)
    probs[0, range(200), labels] += 0.5
    probs /= probs.sum(-1, keepdims=True)
    grid = [(share, 1 - share) for share in np.linspace(0, 1, 1001)]
    losses = [cross_entropy(combine(probs, weights, average=average), labels) for weights in grid]
    weights = learned_weights(probs, labels, average=average)
    assert cross_entropy(combine(probs, weights, average=average), labels) <= min(losses) + 1e-5
    assert weights[0] == pytest.approx(grid[int(np.argmin(losses))][0], abs=5e-3)


def test_a_member_that_gives_the_truth_no_probability_breaks_nothing():
    probs = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.1, 0.9], [0.8, 0.2]]])
    weights = learned_weights(probs, np.array([1, 0]))
    assert np.isfinite(weights).all()
    assert sum(weights) == pytest.approx(1, abs=1e-5)


def test_weights_are_scaled_to_one():
    assert checked_weights(None, 4) == (0.25,) * 4
    assert checked_weights([1, 3], 2) == (0.25, 0.75)
    with pytest.raises(LaminaError, match="not all 0"):
        checked_weights([float("nan"), 1], 2)


def test_answers_and_labels_must_fit():
    with pytest.raises(ShapeError, match=r"\(2, 5, 3\) came with labels \(4,\)"):
        learned_weights(answers(2, 5, 3), np.zeros(4, np.int64))


def test_figures_of_probabilities_are_those_of_their_logits():
    torch.manual_seed(0)
    model = Model(nn.Linear(6, 4))
    told = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**told)
    x, y = torch.randn(50, 6), torch.randint(0, 4, (50,))
    probs = torch.softmax(model.net(x), -1).detach().numpy()
    assert figures(told, probs, y.numpy()) == pytest.approx(model.evaluate(x, y), rel=1e-5)


def test_figures_of_several_labels_are_those_of_their_logits():
    torch.manual_seed(0)
    model = Model(nn.Linear(6, 4))
    told = {"loss": nn.BCEWithLogitsLoss(reduction="none")}
    model.compile(**told)
    x, y = torch.randn(50, 6), torch.randint(0, 2, (50, 4)).float()
    probs = torch.sigmoid(model.net(x)).detach().numpy()
    assert figures(told, probs, y.numpy(), multi_label=True) == pytest.approx(model.evaluate(x, y), rel=1e-4)


def test_a_comparison_knows_which_figures_grow():
    table = Comparison(
        ["a", "b", "both"],
        [{"loss": 0.5, "accuracy": 0.8}, {"loss": 0.4, "accuracy": 0.7}, {"loss": 0.3, "accuracy": 0.9}],
    )
    assert table.gain == pytest.approx({"loss": -0.1, "accuracy": 0.1})
    lines = str(table).splitlines()
    assert lines[0].split() == ["loss", "(less", "is", "better)", "accuracy"]
    assert str(Comparison(["a", "b"], [{"loss": 0.5}, {"loss": 0.4}])).splitlines()[0].split() == ["loss"]
    assert [line.split() for line in lines[1:3]] == [["a", "0.5000", "80.00", "%"], ["b", "0.4000", "70.00", "%"]]
    assert lines[-1].split() == ["gain", "over", "the", "best", "of", "them", "-0.1000", "+10.00"]
