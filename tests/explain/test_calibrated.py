import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.explain import calibration, fit_temperature, reliability_figure, sureness_figure
from lamina.explain.calibrated import to_probs


def drawn(count=20_000, classes=5, seed=0):
    """Logits, and labels drawn from their softmax: perfectly calibrated answers."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, classes))
    edges = to_probs(logits).cumsum(axis=1)
    return logits, np.minimum((rng.random(count)[:, None] > edges).sum(axis=1), classes - 1)


def test_perfectly_calibrated_answers_have_no_error_but_chance():
    logits, labels = drawn()
    found = calibration(to_probs(logits), labels)
    assert found.ece < 0.015
    assert found.classwise < 0.01
    assert abs(found.overconfidence) < 0.01
    assert calibration(to_probs(logits), labels, by="count").ece < 0.015


def test_overconfident_answers_are_told():
    logits, labels = drawn()
    found = calibration(to_probs(3 * logits), labels)
    assert found.overconfidence > 0.1
    assert found.ece == pytest.approx(found.overconfidence, abs=0.01)


def test_the_error_is_that_of_a_sum_by_hand():
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    found = calibration(probs, [0, 1, 0, 1], bins=10)
    # 0.9: two answers, half right; 0.6 and 0.7: one each, right. Guo 2017, eq. 3 and 5.
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.25 * 0.4 + 0.25 * 0.3)
    assert found.mce == pytest.approx(0.4)
    assert [group.count for group in found.bins] == [1, 1, 2]
    assert found.brier == pytest.approx((2 * 0.01 + 2 * 0.81 + 2 * 0.16 + 2 * 0.09) / 4)
    assert found.nll == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.7]).mean())
    assert found.confidence == pytest.approx(0.775)


def test_a_confidence_on_the_edge_lies_in_the_bin_below_as_in_the_paper():
    probs = np.array([[0.5, 0.5], [0.5, 0.5], [0.51, 0.49]])
    assert [group.count for group in calibration(probs, [0, 0, 0], bins=2).bins] == [2, 1]


def test_bins_of_equal_count_share_out_the_answers_and_keep_equal_confidences_together():
    top = np.linspace(0.5, 0.99, 30)
    found = calibration(np.stack([top, 1 - top], axis=1), np.zeros(30, int), bins=5, by="count")
    assert [group.count for group in found.bins] == [7, 6, 6, 6, 5]
    same = np.tile([[0.8, 0.2]], (30, 1))
    assert [group.count for group in calibration(same, np.zeros(30, int), bins=5, by="count").bins] == [30]


def test_sure_and_right_is_without_error_and_one_sample_is_enough():
    found = calibration(np.eye(3)[[1]], [1])
    assert (found.ece, found.mce, found.brier, found.count) == (0, 0, 0, 1)
    assert found.nll == pytest.approx(0, abs=1e-9)


def test_a_class_without_pictures_does_not_count_class_by_class():
    probs = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    assert calibration(probs, [0, 1]).classwise == pytest.approx((0.2 + 0.2 + 0.1 + 0.3) / 4)


def test_several_labels_a_picture_are_each_an_answer():
    probs, labels = np.array([[0.9, 0.2], [0.9, 0.2]]), np.array([[1, 0], [0, 0]])
    found = calibration(probs, labels, bins=10)
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.2)
    assert found.brier == pytest.approx((0.01 + 0.81 + 0.04 + 0.04) / 4)


def test_takes_a_model_and_its_data():
    probs, labels = np.array([[0.9, 0.1], [0.4, 0.6]]), [0, 1]
    model = SimpleNamespace(predict=lambda _: probs)
    data = SimpleNamespace(images=np.zeros((2, 1, 4, 4), np.uint8), labels=np.array(labels), classes=("a", "b"))
    assert calibration(model, data).ece == pytest.approx(calibration(probs, labels).ece, abs=1e-6)


@pytest.mark.parametrize("factor", [0.4, 2.5])
@pytest.mark.parametrize("form", ["logits", "probs", "float32"])
def test_the_temperature_that_was_put_in_is_found(factor, form):
    logits, labels = drawn()
    given = {"logits": logits * factor, "probs": to_probs(logits * factor)}.get(form)
    given = torch.softmax(torch.tensor(logits * factor).float(), 1) if given is None else given
    found = fit_temperature(given, labels)
    assert found.value == pytest.approx(factor, rel=0.04)
    assert found.after.ece < 0.02 < found.before.ece
    assert found.after.nll < found.before.nll
    assert "expected calibration error" in str(found)


def test_the_temperature_is_where_the_likelihood_is_greatest():
    logits, labels = drawn(2000)
    best = fit_temperature(2 * logits, labels).value

    def nll(temperature):
        return calibration(to_probs(2 * logits / temperature), labels).nll

    assert nll(best) < min(nll(0.99 * best), nll(1.01 * best))


def test_several_labels_have_one_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 4))
    labels = (rng.random(logits.shape) < to_probs(logits, several=True)).astype(int)
    assert fit_temperature(3 * logits, labels).value == pytest.approx(3, rel=0.06)
    assert fit_temperature(to_probs(3 * logits, several=True), labels).value == pytest.approx(3, rel=0.06)


def test_what_it_does_is_measured_on_pictures_that_it_was_not_fitted_to():
    """Labels that are noise in one half and sure in the other: what suits one half is wrong for the other."""
    logits, labels = drawn(2000)
    halves = np.random.default_rng(0).permutation(2000)
    noise, sure = halves[:1000], halves[1000:]
    labels[noise] = np.random.default_rng(1).integers(0, 5, 1000)
    labels[sure] = logits[sure].argmax(axis=1)
    labels[sure[:10]] = logits[sure[:10]].argsort(axis=1)[:, -2]
    assert fit_temperature(logits, labels, seed=0).after.ece > 0.2


def test_without_a_mistake_the_temperature_stays_and_that_is_said():
    with pytest.warns(UserWarning, match="Not one mistake in 3"):
        assert fit_temperature(3 * np.eye(3), [0, 1, 2]).value == 1


def test_answers_that_say_nothing_end_at_a_bound():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_temperature(rng.normal(size=(500, 3)), rng.integers(0, 3, 500))
    assert 1 < found.value <= 51


@pytest.mark.parametrize(
    ("probs", "labels", "error", "said"),
    [
        (np.array([[np.nan, 1.0]]), [0], DataError, "not finite"),
        (np.array([[3.0, -1.0]]), [0], DataError, r"Probabilities were expected.*softmax"),
        (np.eye(2), [0, 2], DataError, "name no class"),
        (np.eye(2), [[1, 0, 0]], ShapeError, r"\(N, K\)"),
        (np.eye(2), [[1, 2], [0, 0]], DataError, "hold 2"),
        (np.zeros((0, 2)), np.zeros(0, int), DataError, "empty"),
    ],
)
def test_what_is_no_answer_is_refused(probs, labels, error, said):
    with pytest.raises(error, match=said):
        calibration(probs, np.asarray(labels))


def test_wrong_bins_are_refused():
    with pytest.raises(LaminaError, match="kind of bins"):
        calibration(np.eye(2), [0, 1], by="size")
    with pytest.raises(DataError, match="bins is 0"):
        calibration(np.eye(2), [0, 1], bins=0)
    with pytest.raises(DataError, match="1 answer came"):
        fit_temperature(np.eye(2)[[0]], [1])


@pytest.mark.parametrize("probs", [np.eye(2), np.eye(2)[::-1], np.array([[0.7, 0.3], [0.2, 0.8]])])
def test_figures_are_drawn_for_good_and_bad_answers(probs, tmp_path):
    found = calibration(probs, [0, 1])
    reliability_figure(found, beside=found).savefig(tmp_path / "a.png")
    sureness_figure(calibration(probs, [0, 1], by="count")).savefig(tmp_path / "b.png")
    assert found.to_dict()["ece"] == found.ece
