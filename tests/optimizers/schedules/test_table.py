"""Schedules by name, and schedules that do not fit the length of training."""

from __future__ import annotations

import pytest

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.optimizers import schedules


def test_names_classes_and_functions_are_taken() -> None:
    assert schedules.get("cosine") == schedules.Cosine()
    assert {name: schedules.get(name)(0.0) for name in schedules.SCHEDULES}["one_cycle"] == pytest.approx(0.04)
    assert schedules.get(schedules.Linear(0.1)) == schedules.Linear(0.1)
    assert schedules.get(schedules.Linear) == schedules.Linear()
    assert schedules.get(abs) is abs
    assert schedules.get(None) is None


def test_what_is_no_schedule_is_refused_with_the_names() -> None:
    for wrong in (3, dict):
        with pytest.raises(LaminaError, match=r"The schedule is.*cosine, "):
            schedules.get(wrong)  # type: ignore[call-overload]
    with pytest.raises(UnknownNameError, match="'cosine'"):
        schedules.get("cosin")


PIECES = schedules.PiecewiseConstant(rates=(0.1, 0.01, 0.001), epochs=(5, 5))
WHOLE = schedules.PiecewiseConstant(rates=(0.1, 0.01, 0.001), epochs=(5, 5, 5))


@pytest.mark.parametrize(
    ("schedule", "epochs", "fitting"),
    [
        (PIECES, 10, 11),
        (WHOLE, 10, 15),
        (WHOLE, 20, 15),
        (schedules.StepDecay(every=30), 5, 31),
        (schedules.StepDecay(at=(15, 25)), 20, 26),
        (schedules.CosineRestarts(), 12, 30),
        (schedules.CosineRestarts(first=4, multiply=1), 10, 12),
        (schedules.Cyclic(half=4), 20, 24),
        (schedules.Warmup("cosine", epochs=5, total=90), 30, 90),
        (schedules.Warmup(PIECES, epochs=2), 12, 13),
        (schedules.Warmup("exponential", epochs=5), 3, 6),
        (schedules.PerEpoch("cosine", total=30), 10, 30),
        (schedules.PerEpoch(schedules.Cyclic(half=4)), 4, 8),
    ],
)
def test_a_schedule_longer_or_shorter_than_training_is_told(schedule, epochs: int, fitting: int) -> None:
    text = schedules.check_length(schedule, epochs)
    assert f"{epochs} epochs" in text
    assert f"Train {fitting} epochs" in text
    assert text.count(". ") == 2  # what came, what was expected, what to do
    assert schedules.check_length(schedule, fitting) is None


@pytest.mark.parametrize("schedule", [None, abs, "cosine", "exponential", "one_cycle", "plateau", "warmup"])
def test_a_schedule_that_fits_any_training_is_let_pass(schedule) -> None:
    assert all(schedules.check_length(schedules.get(schedule), epochs) is None for epochs in (1, 7, 300))
