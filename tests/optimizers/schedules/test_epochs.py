"""Schedules measured in epochs: numbers by hand, torch's and Keras's, and the updates that they really make."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lamina.core.errors import LaminaError
from lamina.optimizers import SGD, schedules
from lamina.training import Runtime, Update

lr_scheduler = torch.optim.lr_scheduler
PIECES = schedules.PiecewiseConstant(rates=(0.1, 0.01, 0.001), epochs=(5, 5))


def torchs(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def rates_of_updates(schedule, optimizer, *, epochs: int, steps: int) -> list[float]:
    """The learning rates of a training, as the optimizer has them."""
    net = nn.Linear(1, 1)
    update = Update(net, optimizer, runtime=Runtime("cpu", precision="float32"), schedule=schedule)
    update.plan(epochs * steps, epochs=epochs)
    seen = []
    for _ in range(epochs * steps):
        update(net(torch.ones(1, 1)).sum() * 0.0)
        seen.append(update.optimizer.param_groups[0]["lr"])
    return seen


@pytest.mark.parametrize("optimizer", [SGD(lr=0.5), "sgd"])
@pytest.mark.parametrize("steps", [1, 3, 49])
def test_absolute_rates_are_exactly_those_whatever_the_optimizers(optimizer, steps: int) -> None:
    seen = rates_of_updates(PIECES, optimizer, epochs=12, steps=steps)
    assert seen == [0.1] * 5 * steps + [0.01] * 5 * steps + [0.001] * 2 * steps


def test_factors_multiply_the_optimizers_rate() -> None:
    schedule = schedules.PiecewiseConstant(factors=(1.0, 0.5), epochs=(1,))
    assert rates_of_updates(schedule, SGD(lr=0.2), epochs=2, steps=2) == [0.2, 0.2, 0.1, 0.1]
    assert schedule.base_rate is None
    assert schedules.PiecewiseConstant() == schedules.PiecewiseConstant(factors=[1.0, 0.1, 0.01], epochs=[5, 5])


def test_exponential_is_the_formula_torchs_and_keras() -> None:
    assert schedules.Exponential(c=5)(5) == pytest.approx(0.36788, abs=1e-5)  # 1/e
    assert schedules.Exponential(c=5)(10) == pytest.approx(0.13534, abs=1e-5)
    gamma = math.exp(-1 / 7)
    expected = torchs(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma), 20)
    assert [schedules.Exponential(c=7)(epoch) for epoch in range(20)] == pytest.approx(expected)
    keras = [math.exp(-1.0) ** (step / 70) for step in range(100)]  # ExponentialDecay: rate ** (step / decay_steps)
    assert schedules.factors(schedules.Exponential(c=7), epochs=10, steps_per_epoch=10) == pytest.approx(keras)


def test_steps_are_torchs() -> None:
    every = torchs(lambda optimizer: lr_scheduler.StepLR(optimizer, 3, 0.5), 10)
    at = torchs(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [15, 25], 0.1), 30)
    assert [schedules.StepDecay(0.5, every=3)(epoch) for epoch in range(10)] == pytest.approx(every)
    assert [schedules.StepDecay(at=(15, 25))(epoch) for epoch in range(30)] == pytest.approx(at)
    assert schedules.StepDecay(at=(15, 25))(14.999) == 1.0


@pytest.mark.parametrize("multiply", [1, 2])
def test_cosine_with_restarts_is_torchs(multiply: int) -> None:
    steps = 5

    def make(optimizer):
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3 * steps, T_mult=multiply, eta_min=0.1)

    schedule = schedules.CosineRestarts(first=3, multiply=multiply, final=0.1)
    ours = schedules.factors(schedule, epochs=21, steps_per_epoch=steps)
    assert ours == pytest.approx(torchs(make, 21 * steps))
    assert schedule(1.5) == pytest.approx(0.55)  # the middle of 1 and 0.1


@pytest.mark.parametrize("steps", [3, 7, 49, 391])
def test_a_restart_is_never_late_by_rounding(steps: int) -> None:
    ours = schedules.factors(schedules.CosineRestarts(first=1, multiply=1), epochs=30, steps_per_epoch=steps)
    assert ours[::steps] == pytest.approx([1.0] * 30)


@pytest.mark.parametrize("shape", ["triangular", "triangular2", "exp_range"])
def test_cyclic_is_torchs_with_smiths_three_shapes(shape) -> None:
    steps, gamma = 5, 0.9

    def make(optimizer):
        return lr_scheduler.CyclicLR(
            optimizer, 0.25, 1.0, step_size_up=2 * steps, mode=shape, gamma=gamma ** (1 / steps), cycle_momentum=False
        )

    schedule = schedules.Cyclic(half=2, lowest=0.25, shape=shape, gamma=gamma)
    assert schedules.factors(schedule, epochs=12, steps_per_epoch=steps) == pytest.approx(torchs(make, 12 * steps))


def test_cyclic_by_hand() -> None:
    schedule = schedules.Cyclic(half=2, lowest=0.2)
    assert [schedule(epoch) for epoch in (0, 1, 2, 3, 4, 5)] == pytest.approx([0.2, 0.6, 1.0, 0.6, 0.2, 0.6])
    halved = schedules.Cyclic(half=2, lowest=0.2, shape="triangular2")
    assert [halved(epoch) for epoch in (2, 6, 10)] == pytest.approx([1.0, 0.6, 0.4])  # 0.2 + 0.8, 0.4, 0.2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: schedules.PiecewiseConstant(rates=(0.1, 0.01), epochs=(5, 5, 5)), "all but the last"),
        (lambda: schedules.PiecewiseConstant(rates=(0.1,), factors=(1,), epochs=()), "Either rates or factors"),
        (lambda: schedules.PiecewiseConstant(rates=(0.1, -0.01), epochs=(5,)), "not negative"),
        (lambda: schedules.PiecewiseConstant(rates=(0.1, 0.01), epochs=(0,)), "above 0"),
        (lambda: schedules.Exponential(c=0), "c is 0"),
        (lambda: schedules.StepDecay(every=3, at=(1,)), "Either every or at"),
        (lambda: schedules.StepDecay(every=-3), "above 0"),
        (lambda: schedules.StepDecay(factor=-1), "factor=-1"),
        (lambda: schedules.CosineRestarts(multiply=0.5), "multiply=0.5"),
        (lambda: schedules.Cyclic(shape="square"), "triangular2"),
        (lambda: schedules.Cyclic(half=0), "half is 0"),
    ],
)
def test_settings_that_make_no_schedule_are_refused(make, says: str) -> None:
    with pytest.raises(LaminaError, match=says):
        make()
