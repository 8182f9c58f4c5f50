"""Schedules of progress beside torch's, Keras's and their formulas."""

from __future__ import annotations

import pytest
import torch

from lamina.core.errors import LaminaError
from lamina.optimizers import schedules

STEPS = 50
lr_scheduler = torch.optim.lr_scheduler


def torchs(make, key="lr") -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = make(optimizer)
    values = []
    for _ in range(STEPS):
        values.append(optimizer.param_groups[0][key])
        optimizer.step()
        scheduler.step()
    return values


def test_cosine_and_linear_are_torchs() -> None:
    cosine = torchs(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS))
    linear = torchs(lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS))
    assert [schedules.Cosine()(step / STEPS) for step in range(STEPS)] == pytest.approx(cosine)
    assert [schedules.Linear()(step / STEPS) for step in range(STEPS)] == pytest.approx(linear)


def test_polynomial_is_torchs_and_the_formula_with_a_floor() -> None:
    expected = torchs(lambda optimizer: lr_scheduler.PolynomialLR(optimizer, STEPS, power=0.9))
    assert [schedules.Polynomial()(step / STEPS) for step in range(STEPS)] == pytest.approx(expected)
    floored = schedules.Polynomial(power=2.0, final=0.2)
    assert [floored(p) for p in (0.0, 0.5, 1.0, 1.5)] == pytest.approx([1.0, 0.4, 0.2, 0.2])  # 0.8 * 0.25 + 0.2


def test_one_cycle_is_torchs_in_rate_and_momentum() -> None:
    ours = schedules.OneCycleMomentum(warmup=14 / 49, final=0.04 / 1e4)  # torch puts the peak on step 0.3 * 50 - 1

    def make(optimizer):
        return lr_scheduler.OneCycleLR(optimizer, 1.0, STEPS, base_momentum=0.85, max_momentum=0.95)

    places = [step / (STEPS - 1) for step in range(STEPS)]
    assert [ours(place) for place in places] == pytest.approx(torchs(make))
    assert [ours.momentum(place) for place in places] == pytest.approx(torchs(make, "momentum"))
    assert schedules.OneCycle(14 / 49, 0.04 / 1e4)(0.5) == ours(0.5)
    assert not hasattr(schedules.OneCycle(), "momentum")


@pytest.mark.parametrize("schedule", [schedules.Cosine(0.2), schedules.Linear(0.2), schedules.OneCycle(0.2)])
def test_warmup_climbs_to_one_and_the_end_is_the_bottom(schedule: schedules.Schedule) -> None:
    climb = [schedule(step / 100) for step in range(21)]
    fall = [schedule(step / 100) for step in range(20, 101)]
    assert climb == sorted(climb)
    assert fall == sorted(fall, reverse=True)
    assert schedule(0.2) == pytest.approx(1.0)
    assert schedule(1.0) == pytest.approx(0.0)


def test_a_warmup_of_the_whole_training_ends_at_one() -> None:
    assert schedules.Linear(1.0)(0.5) == 0.5
    assert schedules.Constant()(0.3) == 1.0


def test_a_plateau_is_the_arguments_of_the_callback_and_leaves_the_rate_alone() -> None:
    import dataclasses

    from lamina.training import ReduceLROnPlateau

    plateau = schedules.Plateau(factor=0.5, patience=2)
    callback = ReduceLROnPlateau(**dataclasses.asdict(plateau))
    assert (callback.factor, callback.patience, callback.monitor) == (0.5, 2, "val_loss")
    assert plateau(0.7) == 1.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: schedules.Cosine(5), "warmup is 5"),
        (lambda: schedules.Polynomial(power=0), "power is 0"),
        (lambda: schedules.Polynomial(final=2), "final is 2"),
        (lambda: schedules.OneCycleMomentum(high=0.5), "high=0.5"),
        (lambda: schedules.Plateau(factor=1.5), "factor is 1.5"),
    ],
)
def test_settings_that_make_no_schedule_are_refused(make, says) -> None:
    with pytest.raises(LaminaError, match=says):
        make()
