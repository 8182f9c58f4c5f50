"""A warm-up in front of any schedule, and any schedule held within each epoch."""

from __future__ import annotations

import pytest
import torch

from lamina.core.errors import LaminaError
from lamina.optimizers import schedules


def test_a_warmup_in_front_of_a_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    lr_scheduler = torch.optim.lr_scheduler
    warm = lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=20)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, 80)
    scheduler = lr_scheduler.SequentialLR(optimizer, [warm, cosine], [20])
    expected = []
    for _ in range(100):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    by_share = schedules.Warmup("cosine", share=0.2, start=0.1)
    by_epochs = schedules.Warmup(schedules.Cosine(), epochs=2, total=10, start=0.1)
    assert schedules.factors(by_share, epochs=10, steps_per_epoch=10) == pytest.approx(expected)
    assert schedules.factors(by_epochs, epochs=10, steps_per_epoch=10) == pytest.approx(expected)


def test_a_warmup_of_a_share_is_what_cosine_has_itself() -> None:
    inside, outside = schedules.Cosine(0.25), schedules.Warmup("cosine", share=0.25)
    assert [outside(p / 40) for p in range(41)] == pytest.approx([inside(p / 40) for p in range(41)])


def test_behind_a_warmup_a_schedule_of_epochs_begins_at_its_beginning() -> None:
    pieces = schedules.PiecewiseConstant(rates=(0.1, 0.01), epochs=(5, 5))
    warm = schedules.Warmup(pieces, epochs=2)
    assert [warm(epoch) for epoch in (0, 1, 2, 6.9, 7)] == pytest.approx([0.0, 0.05, 0.1, 0.1, 0.01])
    assert (warm.base_rate, warm.length, warm.unit) == (1.0, 12.0, "epochs")


def test_a_warmup_climbs_to_the_first_rate_of_what_follows() -> None:
    low = schedules.Warmup(lambda progress: 0.5, share=0.5)
    assert [low(p) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.25, 0.5, 0.5]
    assert schedules.Warmup("linear", share=1.0)(0.5) == 0.5


@pytest.mark.parametrize("steps", [3, 7, 391])
def test_held_within_each_epoch_it_changes_between_epochs_only(steps: int) -> None:
    held = schedules.factors(schedules.PerEpoch("cosine", total=6), epochs=6, steps_per_epoch=steps)
    expected = [schedules.Cosine()(epoch / 6) for epoch in range(6) for _ in range(steps)]
    assert held == expected
    exponential = schedules.PerEpoch(schedules.Exponential(c=2))
    assert [exponential(epoch) for epoch in (2.0, 2.5, 2.99)] == [schedules.Exponential(c=2)(2)] * 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: schedules.Warmup("cosine", epochs=5), "total=30"),
        (lambda: schedules.Warmup("step", share=0.1), "measured in epochs"),
        (lambda: schedules.Warmup("cosine", share=0.1, epochs=5, total=30), "Leave one"),
        (lambda: schedules.Warmup("cosine", share=1.5), "share is 1.5"),
        (lambda: schedules.Warmup("cosine", epochs=5, total=5), "total=5"),
        (lambda: schedules.Warmup("cosin"), "'cosine'"),
        (lambda: schedules.Warmup("one_cycle_momentum"), "moves the momentum"),
        (lambda: schedules.PerEpoch("cosine"), "total=30"),
    ],
)
def test_settings_that_make_no_schedule_are_refused(make, says: str) -> None:
    with pytest.raises(LaminaError, match=says):
        make()
