import math
from types import SimpleNamespace

import numpy as np
import pytest

from lamina.core.errors import DataError
from lamina.explain import curves_figure, learning_curves

HISTORY = {
    "f1": [0.1, 0.2, 0.3],
    "accuracy": [0.5, 0.7, 0.8],
    "loss": [1.0, 0.5, 0.4],
    "val_loss": [0.9, 0.45, 0.6],
    "val_accuracy": [0.6, 0.75, 0.7],
    "lr": [1.0, 1.0, 1.0],
}


def test_pairs_training_with_validation_loss_and_accuracy_first():
    loss, accuracy, f1 = learning_curves(HISTORY)
    assert (loss.name, accuracy.name, f1.name) == ("loss", "accuracy", "f1")
    assert loss.epochs == (1, 2, 3)
    assert (loss.train, loss.validation) == ((1.0, 0.5, 0.4), (0.9, 0.45, 0.6))
    assert all(math.isnan(value) for value in f1.validation)


def test_the_best_epoch_is_the_lowest_loss_and_the_highest_accuracy_of_validation():
    loss, accuracy, f1 = learning_curves(HISTORY)
    assert loss.best == (2, 0.45)
    assert accuracy.best == (2, 0.75)
    assert f1.best == (3, 0.3)  # without validation: of training


def test_takes_what_fit_returns():
    fitted = SimpleNamespace(history={"loss": [3.0, 2.0]}, epoch=[4, 5])
    assert learning_curves(fitted)[0].epochs == (4, 5)


def test_reads_results_csv_with_gaps(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("epoch,loss,val_loss,learning_rate\n0,1.5,,0.1\n1,1.0,0.9,0.1\n2,0.8,,0.1\n")
    (loss,) = learning_curves(path)
    assert loss.epochs == (1, 2, 3)
    assert loss.train == (1.5, 1.0, 0.8)
    assert loss.best == (2, 0.9)


def test_a_run_that_finished_no_epoch_has_no_curves(tmp_path):
    (tmp_path / "results.csv").write_text("epoch,loss\n")
    assert learning_curves(tmp_path / "results.csv") == ()
    assert learning_curves({}) == ()
    assert learning_curves({"loss": [math.nan]}) == ()
    assert curves_figure({}).texts[0].get_text() == "no epoch was finished"


def test_draws_training_dashed_validation_solid_and_accuracy_in_per_cent():
    figure = curves_figure(HISTORY)
    figure.canvas.draw()
    loss, accuracy, _ = figure.axes
    train, validation, best = loss.lines
    assert train.is_dashed()
    assert not validation.is_dashed()
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 0.45)
    assert np.allclose(accuracy.lines[0].get_ydata(), [50, 70, 80])
    assert accuracy.get_yticklabels()[1].get_text().endswith(" %")


def test_one_epoch_is_a_point_at_a_whole_number():
    figure = curves_figure({"loss": [0.5]})
    figure.canvas.draw()
    (axes,) = figure.axes
    assert axes.lines[0].get_marker() == "o"
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_gaps_are_bridged():
    figure = curves_figure({"loss": [3.0, math.nan, 1.0]})
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 3]


BROKEN = {
    "a missing file": ("nowhere/results.csv", r"no file nowhere.results.csv.*results.csv of a run.*existing run"),
    "no history": (17, r"A int came.*what `fit` returned.*None"),
    "text": ({"loss": ["low"]}, r"'loss'.*no numbers.*one number for each epoch.*results.csv"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_says_what_came_what_was_expected_and_what_to_do(case):
    history, text = BROKEN[case]
    with pytest.raises(DataError, match=text):
        learning_curves(history)
