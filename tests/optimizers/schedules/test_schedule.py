"""Schedules tabulated and drawn."""

from __future__ import annotations

import matplotlib.image
import pytest

from lamina.core.errors import LaminaError
from lamina.optimizers import schedules


def test_a_table_has_the_factor_of_each_update() -> None:
    assert schedules.factors(schedules.Linear(), epochs=2, steps_per_epoch=2) == [1.0, 0.75, 0.5, 0.25]
    halved = schedules.StepDecay(0.5, every=1)
    assert schedules.factors(halved, epochs=2, steps_per_epoch=2) == [1.0, 1.0, 0.5, 0.5]


def test_the_drawn_line_is_the_rate_at_each_epoch(tmp_path) -> None:
    figure = schedules.PiecewiseConstant(rates=(0.1, 0.01), epochs=(5,)).plot(10, 4, path=tmp_path / "rates.png")
    x, y = figure.axes[0].lines[0].get_data()
    rates = dict(zip(x, y, strict=True))
    assert (rates[4.75], rates[5.0], rates[10.0]) == (0.1, 0.01, 0.01)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("epoch", "learning rate")
    assert matplotlib.image.imread(tmp_path / "rates.png").shape[0] > 300


def test_the_base_rate_is_drawn_into_it() -> None:
    figure = schedules.Cosine().plot(5, 10, lr=0.3)
    assert max(figure.axes[0].lines[0].get_ydata()) == pytest.approx(0.3)
    assert schedules.Cosine().plot(5).axes[0].get_ylabel() == "factor of the learning rate"


def test_momentum_is_drawn_below_and_functions_are_drawn_too() -> None:
    figure = schedules.OneCycleMomentum().plot(5)
    assert [axes.get_ylabel() for axes in figure.axes] == ["factor of the learning rate", "momentum"]
    assert min(figure.axes[1].lines[0].get_ydata()) == pytest.approx(0.85, abs=1e-4)
    assert max(schedules.plot(lambda progress: 2 - progress, 3).axes[0].lines[0].get_ydata()) == 2.0


def test_as_many_epochs_are_drawn_as_the_schedule_wants() -> None:
    assert schedules.StepDecay(at=(15, 25)).plot().axes[0].lines[0].get_xdata()[-1] == pytest.approx(26)


def test_a_training_of_no_epochs_cannot_be_drawn() -> None:
    with pytest.raises(LaminaError, match="epochs=0"):
        schedules.Cosine().plot(0)
