"""Schedules beside torch's."""

from __future__ import annotations

import pytest
import torch

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.optimizers import schedules

STEPS = 50


def torchs(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_and_linear_are_torchs() -> None:
    lr_scheduler = torch.optim.lr_scheduler
    cosine = torchs(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS))
    linear = torchs(lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS))
    assert [schedules.Cosine()(step / STEPS) for step in range(STEPS)] == pytest.approx(cosine)
    assert [schedules.Linear()(step / STEPS) for step in range(STEPS)] == pytest.approx(linear)


def test_one_cycle_is_torchs() -> None:
    ours = schedules.OneCycle(warmup=14 / 49, final=0.04 / 1e4)  # torch puts the peak on step 0.3 * 50 - 1
    expected = torchs(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, STEPS, cycle_momentum=False)
    )
    assert [ours(step / (STEPS - 1)) for step in range(STEPS)] == pytest.approx(expected)


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


def test_names_and_functions_are_taken() -> None:
    assert schedules.get("cosine") == schedules.Cosine()
    assert {name: schedules.get(name)(0.0) for name in schedules.SCHEDULES}["one_cycle"] == pytest.approx(0.04)
    assert schedules.get(schedules.Linear(0.1)) == schedules.Linear(0.1)
    assert schedules.get(schedules.Linear) == schedules.Linear()
    assert schedules.get(abs) is abs
    assert schedules.get(None) is None
    for wrong in (3, dict):
        with pytest.raises(LaminaError, match=r"The schedule is.*cosine, linear"):
            schedules.get(wrong)  # type: ignore[call-overload]
    with pytest.raises(UnknownNameError, match="'cosine'"):
        schedules.get("cosin")
    with pytest.raises(LaminaError, match="warmup is 5"):
        schedules.Cosine(5)
