"""Reports on regressors: numbers beside the true ones."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import explain, metrics
from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.explain import numbers_sections
from lamina.explain.subject import Numbers

NAMES = ("height", "<b>weight")
HEADINGS = ("Worst answers", "Predicted against true", "Residuals", "Per number", "Layers", "How it was made")


def subject(truths, answers, names=NAMES, **told):
    truths, answers = np.array(truths, float), np.array(answers, float)
    images = np.zeros((len(truths), 1, 8, 8), np.uint8)
    return Numbers(SimpleNamespace(), images, truths, answers, names[: truths.shape[1]], **told)


@pytest.fixture(scope="module")
def trained():
    """A regressor of the mean of a picture, with the pictures and the numbers."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = (rng.integers(20, 236, (40, 1, 1, 1)) + rng.integers(-20, 20, (40, 1, 8, 8))).astype(np.uint8)
    values = images.mean((1, 2, 3))
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    model = lamina.Regressor(net, names=["<b>light"])
    history = model.fit(images, values, epochs=2, verbose=0, validation_split=0.2)
    return model, images, values, history


def test_a_regressors_report_needs_nothing_but_itself_and_escapes_names(trained, tmp_path):
    model, images, values, history = trained
    path = explain.report(model, (images, values), path=tmp_path / "report.html", history=history)
    page = path.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    assert "<b>light" not in page
    assert "&lt;b&gt;light" in page
    assert "40 pictures, 1 number " in page
    for heading in (*HEADINGS, "Learning curves", "First filters"):
        assert f"<h2>{heading}</h2>" in page
    assert f"{model.evaluate(images, values, verbose=0)['r2']:.3f}<small>R&sup2;" in page


def test_the_picture_that_is_farthest_off_comes_first_with_truth_answer_and_difference():
    told = numbers_sections.worst(subject([[1.0], [2.0], [3.0]], [[1.5], [2.0], [0.5]]))
    captions = re.findall(
        r'class="said">([^<]+)</b><b class="truth">([^<]+)</b></div><figcaption>([^<]+)<span>#(\d)', told
    )
    assert captions == [("0.5", "3", "\N{MINUS SIGN}2.5", "2"), ("1.5", "1", "+0.5", "0"), ("2", "2", "0", "1")]
    assert numbers_sections.worst(subject([[1.0], [2.0]], [[1.0], [2.0]], shown=1)).count("<figure>") == 1


def test_of_several_numbers_each_is_measured_by_its_own_spread():
    truths = [[0.0, 0.0], [1000.0, 1.0], [2000.0, 2.0], [3000.0, 3.0]]
    answers = [[50.0, 0.0], [1000.0, 3.0], [2000.0, 2.0], [3000.0, 3.0]]
    told = numbers_sections.worst(subject(truths, answers))
    assert re.search(r"<figcaption>.*?&lt;b&gt;weight: 3 for 1, \+2</div>", told)[0].count("<div>") == 2
    assert re.findall(r"<span>#(\d)", told)[:2] == ["1", "0"]


def test_the_figures_are_those_of_the_metrics_and_a_number_that_never_changes_has_no_r2():
    rng = np.random.default_rng(0)
    truths, answers = rng.normal(size=(2, 30, 2))
    one = subject(truths, answers)
    score = metrics.R2Score()
    score.update(torch.from_numpy(answers), torch.from_numpy(truths))
    assert numbers_sections.r2(one).mean() == pytest.approx(float(score.compute()))
    truths[:, 0] = 7.0
    page = numbers_sections.per_number(subject(truths, answers)) + numbers_sections.headline(subject(truths, answers))
    assert "&ndash;" in page
    assert "nan" not in page


def test_every_number_has_its_figures_up_to_a_bound_the_worst_first():
    rng = np.random.default_rng(0)
    truths = rng.normal(size=(50, 11))
    answers = truths + rng.normal(size=truths.shape) * np.linspace(0.1, 2.0, 11)
    many = subject(truths, answers, tuple(f"n{at}" for at in range(11)))
    worst = [f"n{at}" for at in np.argsort(numbers_sections.r2(many))[:8]]
    for section in (numbers_sections.against_truth, numbers_sections.residuals):
        told = section(many)
        assert re.findall(r"<h3>(n\d+)</h3>", told) == worst
        assert "Of 11 numbers the 8" in told


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_single_picture_and_perfect_answers_are_drawn(value):
    one = subject([[value]], [[value]])
    for section in (numbers_sections.headline, numbers_sections.worst, numbers_sections.against_truth):
        assert section(one)
    assert numbers_sections.residuals(one)
    assert numbers_sections.per_number(one)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (np.zeros((4, 1, 8, 8), np.uint8), DataError, "A ndarray came as data"),
        ((np.zeros((4, 1, 8, 8), np.uint8), None), DataError, "without numbers"),
        ((np.zeros((4, 1, 8, 8), np.uint8), np.zeros((4, 2))), ShapeError, "y has 2 numbers"),
        ((np.zeros((4, 1, 8, 8), np.uint8), np.zeros(3)), DataError, "4 pictures and y has 3"),
    ],
)
def test_pictures_without_the_numbers_of_this_regressor_are_refused(trained, tmp_path, data, error, said):
    with pytest.raises(error, match=said):
        explain.report(trained[0], data, path=tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_regressor_that_has_learnt_nothing_is_refused(tmp_path):
    with pytest.raises(LaminaError, match="no weights yet"):
        explain.report(
            lamina.Regressor("lenet5"), (np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4)), path=tmp_path / "a.html"
        )
