"""The pictures of a search, looked at as data."""

import itertools
import math

import pytest

from lamina import tuner
from lamina.training.tuner import figures as study_figures
from lamina.training.tuner.space import Choice
from lamina.training.tuner.study import Trial

SPACE = {
    "lr": tuner.log_uniform(1e-4, 1e-1),
    "scale": tuner.log_uniform(0.5, 2.0),
    "loss": tuner.choice("sparse_categorical_crossentropy", "mse"),
    "width": tuner.integer(4, 32),
    "epochs": 3,
}


class Tried:
    """A study of made-up figures."""

    def __init__(self, figures):
        self.space, self.monitor, self.more_is_better = SPACE, "val_accuracy", True
        values = {"lr": 1e-2, "scale": 1.0, "loss": "mse", "width": 8, "epochs": 3}
        self.trials = [
            Trial(
                values,
                SPACE,
                number=number,
                seed=0,
                outcome="stopped early" if number == 2 else "done",
                figures=(figure,),
            )
            for number, figure in enumerate(figures, start=1)
        ]
        self.best = max(self.trials, key=lambda trial: trial.figure)

    def importance(self):
        return {"lr": 0.75, "width": 0.25}


def test_each_drawn_value_has_a_panel_with_its_whole_range_and_every_trial():
    figure = study_figures.slices(Tried([0.5, 0.2, 0.9]))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["lr", "scale", "loss", "width"]
    assert all(len(axes.collections) == 3 for axes in panels)
    low, high = panels[0].get_xlim()
    assert low < 1e-4
    assert high > 1e-1
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["0.0001", "0.001", "0.01", "0.1"]
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["0.5", "1", "2"]
    assert [label.get_text() for label in panels[2].get_xticklabels()] == ["sparse_catego…", "mse"]
    assert figure.get_suptitle() == "2 trials (filled), 1 stopped early (hollow), best: trial 3"


def test_no_two_words_of_a_picture_with_many_panels_touch():
    pytest.importorskip("optuna")
    from lamina.tasks.classification import tunable_cnn

    tried = Tried([0.5])
    tried.space = tunable_cnn.space()
    values = {
        name: next(iter(entry.options.values())) if isinstance(entry, Choice) else entry.low
        for name, entry in tried.space.items()
    }
    tried.trials = [Trial(values, tried.space, number=1, seed=0, outcome="done", figures=(0.5,))]
    tried.best = tried.trials[0]
    figure = study_figures.slices(tried)
    assert round(110 * figure.get_figwidth()) == 1001, "pixels, as it is looked at"
    figure.draw_without_rendering()  # lays it out
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == len(tried.space)
    for axes in panels:
        for other in panels:
            title = other._left_title.get_window_extent()
            assert not any(label.get_window_extent().overlaps(title) for label in axes.get_xticklabels())
        upright = [label for label in axes.get_xticklabels() if label.get_text() and not label.get_rotation()]
        boxes = [label.get_window_extent() for label in upright]
        assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes)), axes.get_title("left")


def test_a_trial_far_below_the_others_does_not_press_them_together():
    figure = study_figures.slices(Tried([0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.1]))
    assert figure.axes[0].get_ylim()[0] > 0.8
    assert "1 outside the frame" in figure.get_suptitle()


def test_importance_is_a_bar_each_the_largest_on_top():
    axes = study_figures.importance(Tried([0.1, 0.2])).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["width", "lr"]
    assert [bar.get_width() for bar in axes.patches] == [25.0, 75.0]


def test_without_a_figure_there_is_no_picture():
    assert study_figures.slices(Tried([math.nan])) is None


@pytest.mark.parametrize("more_is_better", [True, False])
def test_the_frame_keeps_the_good_ones(more_is_better):
    tried = Tried([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 50.0])
    tried.more_is_better = more_is_better
    top = study_figures.slices(tried).axes[0].get_ylim()[1]
    assert (top > 50) == more_is_better
