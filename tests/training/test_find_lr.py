"""The range test and the verdict on problems whose answer is known."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from lamina.core.errors import DataError, LaminaError
from lamina.optimizers import SGD
from lamina.structures.batch import Logs
from lamina.training import Runtime, Update
from lamina.training.check_lr import check_lr
from lamina.training.find_lr import RateTest, find_lr, smooth

FLOAT32 = Runtime("cpu", precision="float32")


class Bowl:
    """Minimises curvature / 2 * |w - batch|^2: an update shrinks w - batch by 1 - rate * curvature; beyond 2 / curvature it grows."""

    def __init__(self, curvature: float = 1.0, **options) -> None:
        self.net = nn.Linear(4, 1, bias=False)
        nn.init.ones_(self.net.weight)
        self.curvature = curvature
        self.networks, self.metrics = {"net": self.net}, {}
        self.updates = {"net": Update(self.net, SGD(lr=0.3), runtime=FLOAT32, **options)}
        self.rates: list[float] = []

    def train(self, batch) -> Logs:
        update = self.updates["net"]
        loss = self.curvature / 2 * ((self.net.weight - batch) ** 2).sum()
        loss = update(loss)
        if not self.rates or update.count > len(self.rates):
            self.rates.append(update.optimizer.param_groups[0]["lr"])
        return Logs(1, loss=loss)

    def evaluate(self, batch) -> Logs:
        raise NotImplementedError


BATCHES = [0.0]
NOISE = [0.1, -0.2, 0.15, -0.1, 0.05, 0.2, -0.15]


def test_rates_rise_by_one_factor_and_losses_are_those_before_each_update() -> None:
    test = find_lr(Bowl(), BATCHES, start=1e-3, end=1e-1, steps=21)
    assert test.rates[0] == 1e-3
    assert test.rates[-1] == pytest.approx(1e-1)
    assert test.rates[10] == pytest.approx(1e-2)
    assert test.losses[0] == 2.0  # 4 weights of 1
    assert test.losses[1] == pytest.approx(2.0 * (1 - 1e-3) ** 2)
    weight = math.prod(1 - rate for rate in test.rates[:-1])
    assert test.losses[-1] == pytest.approx(2.0 * weight**2, rel=1e-4)
    assert not test.diverged


@pytest.mark.parametrize("steps", [33, 65, 257])
def test_smoothing_is_as_wide_for_any_number_of_steps_and_not_late(steps: int) -> None:
    rates = [10 ** (-8 + 8 * i / (steps - 1)) for i in range(steps)]
    stairs = smooth(rates, [1.0 if rate < 0.99e-4 else 0.0 for rate in rates])
    middle = steps // 2
    assert stairs[middle] == pytest.approx(0.5, abs=0.2)  # where the step is
    for apart, expected in ((0.5, 0.0228), (-0.5, 0.9772)):  # two standard deviations of the bell
        index = middle + round(apart * (steps - 1) / 8)
        assert stairs[index] == pytest.approx(expected, abs=0.05)


def test_a_loss_that_blew_up_does_not_hide_the_minimum_beside_it() -> None:
    rates = [10 ** (-4 + i / 10) for i in range(40)]
    falling = [2.0 - i / 20 for i in range(38)]
    assert int(min(range(40), key=smooth(rates, [*falling, 1e30, 1e30]).__getitem__)) >= 30


@pytest.mark.parametrize("curvature", [0.1, 1.0, 100.0])
def test_it_ends_where_the_loss_diverges_and_suggests_less(curvature: float) -> None:
    test = find_lr(Bowl(curvature), NOISE, start=1e-6, end=1e3)
    assert test.diverged
    assert len(test.rates) < 100
    assert test.rates[-1] > 2 / curvature  # where gradient descent begins to diverge
    assert set(test.suggestions) == {"steepest", "valley", "minimum / 10"}
    assert all(0.001 / curvature < rate < 2 / curvature for rate in test.suggestions.values())
    assert test.suggestion == test.suggestions["valley"]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_verdict_on_rates_around_the_best_one(scale: float) -> None:
    words = [check_lr(Bowl(scale), BATCHES, rate / scale).word for rate in (1e-6, 1e-3, 1.0, 3.0, 100.0)]
    assert words == ["too low", "too low", "good", "diverging", "diverging"]


def test_a_verdict_tells_the_numbers_it_rests_on() -> None:
    verdict = check_lr(Bowl(), BATCHES, 0.01, steps=40)
    mean = sum(2 * (1 - 0.01) ** (2 * step) for step in range(30, 40)) / 10
    assert verdict.losses[0.01] == pytest.approx(mean, rel=1e-4)
    assert verdict.untrained == 2.0
    assert list(verdict.losses) == pytest.approx([0.001, 0.01, 0.1])
    assert "0.1" in str(verdict)
    told = json.loads(json.dumps(check_lr(Bowl(), BATCHES, 1e30).to_dict()))
    assert told["word"] == "diverging"
    assert None in told["losses"].values()


def test_a_rate_whose_tenth_learns_more_is_too_high() -> None:
    words = [check_lr(Bowl(), NOISE, rate).word for rate in (1e-4, 0.1, 1.97, 3.0)]
    assert words == ["too low", "good", "too high", "diverging"]  # near 2 the weights leap from batch to batch


class Deaf(Bowl):
    """Its loss moves from batch to batch, and with no weight."""

    def train(self, batch) -> Logs:
        return Logs(1, loss=self.updates["net"](0.0 * self.net.weight.sum() + 2.0 + batch))


@pytest.mark.parametrize("batches", [BATCHES, NOISE])
def test_where_the_loss_falls_at_no_rate_the_verdict_says_so(batches) -> None:
    for rate in (1e-4, 0.1, 10.0):
        verdict = check_lr(Deaf(), batches, rate)
        assert verdict.word == "nothing learned"
        assert "did not fall at any rate" in str(verdict)
        assert "Check the labels, the loss and the network." in str(verdict)
        assert min(verdict.losses) <= 1e-5  # others than the neighbours were tried
        assert max(verdict.losses) >= 1.0
    test = find_lr(Deaf(), batches, check=0.1)
    assert test.suggestions == {}
    assert test.verdict.word == "nothing learned"
    assert len(test.verdict.losses) == 3, "the range test has tried the others"


def test_a_rate_far_from_all_that_learn_is_too_low_or_too_high() -> None:
    low = check_lr(Bowl(), NOISE, 1e-7)
    assert (low.word, max(low.losses) > 1e-3) == ("too low", True)
    assert find_lr(Bowl(), NOISE, check=1e-7).verdict.word == "too low"
    high = check_lr(Bowl(), BATCHES, 300.0)
    assert (high.word, min(high.losses) < 2.0) == ("diverging", True)


def test_a_loss_that_only_fell_to_that_of_guessing_has_learned_nothing() -> None:
    lowest = find_lr(Bowl(), NOISE)
    assert lowest.suggestions
    guessed = find_lr(Bowl(), NOISE, guessing=0.0, check=0.1)  # no loss of the bowl is below 0
    assert guessed.suggestions == {}
    assert guessed.verdict.word == "nothing learned"
    assert "did not fall below 0, that of the best guess" in str(guessed)
    assert check_lr(Bowl(), NOISE, 0.1, guessing=1.0).word == "good"


def test_small_data_is_told_to_have_been_gone_through_often() -> None:
    assert "A run went 11 times through the data" in str(check_lr(Bowl(), NOISE, 0.1))
    assert "through the data" not in str(check_lr(Bowl(), NOISE * 12, 0.1))


def test_more_steps_suggest_the_same_rates() -> None:
    def fall(steps: int) -> RateTest:
        """A gradient flow: the loss is a function of the sum of the rates so far."""
        rates = tuple(10 ** (-7 + 8 * i / (steps - 1)) for i in range(steps))
        sums = [sum(rates[: i + 1]) for i in range(steps)]
        losses = tuple(2.0 / (1 + 20 * total) for total in sums)
        return RateTest(rates, losses, smooth(rates, losses), diverged=False, pace=(steps - 1) / 8)

    few, usual, many = (fall(steps).suggestions["valley"] for steps in (60, 100, 200))
    assert max(few, usual, many) / min(few, usual, many) < 1.5


def test_accumulating_updates_get_all_the_batches_they_want() -> None:
    step = Bowl(accumulate=3)
    test = find_lr(step, BATCHES, start=1e-3, end=1e-1, steps=10)
    assert test.losses[1] == pytest.approx(2.0 * (1 - 1e-3) ** 2)


def test_schedule_rate_and_weights_are_those_from_before() -> None:
    step = Bowl(schedule=lambda progress: 1 - progress)
    step.updates["net"].plan(4)
    find_lr(step, BATCHES, check=0.1)
    assert torch.equal(step.net.weight, torch.ones(1, 4))
    assert step.net.weight.grad is None
    assert (step.updates["net"].count, step.updates["net"].learning_rate) == (0, 0.3)
    step.train(0.0)
    assert step.updates["net"].optimizer.param_groups[0]["lr"] == 0.3


def test_where_nothing_is_learned_nothing_is_suggested() -> None:
    test = RateTest(tuple(10.0**i for i in range(8)), (1.0, 1.1) * 4, (1.0, 1.05) * 4, diverged=False)
    assert test.suggestions == {}
    assert "did not fall at any rate" in str(test)
    with pytest.raises(LaminaError, match="did not fall at any rate"):
        _ = test.suggestion


def test_on_a_flat_floor_the_first_of_it_is_the_minimum() -> None:
    rates = tuple(10.0 ** (i / 4) for i in range(-28, 5))
    losses = tuple(4.0 if i < 12 else 4.0 - 0.4 * (i - 12) if i < 17 else 2.0 - 1e-4 * i for i in range(33))
    test = RateTest(rates, losses, losses, diverged=False)
    assert test.suggestions["minimum / 10"] == pytest.approx(rates[17] / 10)
    assert rates[12] <= test.suggestions["steepest"] <= rates[17]


def test_the_valley_is_where_the_loss_has_fallen_half_its_way() -> None:
    rates = tuple(10.0 ** (i / 4) for i in range(-28, 5))
    losses = tuple(4.0 if i < 12 else max(4.0 - 0.2 * (i - 12), 2.0) for i in range(33))
    test = RateTest(rates, losses, losses, diverged=False)
    assert test.suggestions["valley"] == pytest.approx(rates[17])


def test_the_picture_shows_the_curve_and_the_suggestions(tmp_path) -> None:
    test = find_lr(Bowl(), BATCHES, start=1e-6, end=1e3, check=0.1)
    figure = test.plot(path=tmp_path / "lr.png")
    legend = figure.legends[0]
    labels = [text.get_text() for text in legend.get_texts()]
    assert [label.split(":")[0] for label in labels][2:] == ["steepest", "valley", "minimum / 10", "given (good)"]
    curve, words = (part.get_window_extent() for part in (figure.axes[0], legend))
    assert words.x0 > curve.x1, "beside the curve, not over it"
    assert figure.axes[0].get_xscale() == "log"
    assert (tmp_path / "lr.png").stat().st_size > 5000
    assert json.loads(json.dumps(test.to_dict()))["verdict"]["word"] == "good"


def test_data_that_would_be_used_up_is_refused_and_no_data_too() -> None:
    for function in (find_lr, lambda step, batches: check_lr(step, batches, 0.1)):
        with pytest.raises(DataError, match="gone once they have been used"):
            function(Bowl(), iter([0.0, 0.0]))
        with pytest.raises(DataError, match="no batch"):
            function(Bowl(), [])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: find_lr(Bowl(), BATCHES, start=1.0, end=0.1), "start=1.0"),
        (lambda: find_lr(Bowl(), BATCHES, steps=3), "steps=3"),
        (lambda: check_lr(Bowl(), BATCHES, 0.0), "rate 0.0"),
        (lambda: find_lr(Bowl(math.nan), BATCHES), "no number"),
        (lambda: check_lr(Bowl(math.nan), BATCHES, 0.1), "no number"),
    ],
)
def test_bad_settings_and_losses_are_refused(call, says: str) -> None:
    with pytest.raises(LaminaError, match=says):
        call()


def test_a_range_test_at_a_prompt_is_its_summary_and_no_tuples():
    test = RateTest((1e-3, 1e-2, 1e-1), (1.0, 0.9, 0.8), (1.0, 0.9, 0.8), False)
    assert repr(test) == str(test)
    assert repr(test).startswith("Learning-rate range test: 3 steps")
