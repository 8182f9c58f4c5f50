"""What a search shows while it runs."""

import io

import pytest
from rich.console import Console

from lamina import tuner
from lamina.core.errors import LaminaError
from lamina.training.tuner.progress import SearchReport, reporter
from lamina.training.tuner.study import Trial

SPACE = {"lr": tuner.uniform(0.0, 1.0)}


class Tried:
    monitor, path = "val_accuracy", "runs/study.db"

    def __init__(self):
        self.trials = []

    @property
    def best(self):
        done = [trial for trial in self.trials if trial.outcome == "done"]
        if not done:
            raise LaminaError("None.", "", "")
        return max(done, key=lambda trial: trial.figure)


def shown(*, terminal, already=0):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=150, color_system=None)
    study = Tried()
    report = reporter(study, 4, "auto", console=console)
    report.begin(study, already)
    for number, (outcome, figure, reason) in enumerate(
        [
            ("done", 0.5, ""),
            ("impossible", None, "Too small."),
            ("failed", None, "loss was nan."),
            ("done", 0.75, ""),
            ("done", 0.6, ""),
        ],
        start=1,
    ):
        trial = Trial({"lr": 0.5}, SPACE, number=number, seed=0)
        report.trial(trial)
        report.step(0, 2)
        trial.outcome, trial.reason, trial.seconds = outcome, reason, 1.5
        trial.figures = () if figure is None else (figure,)
        study.trials.append(trial)
        report.done(trial, study)
    report.end()
    return console.file.getvalue()


def test_a_line_a_trial_says_its_figure_or_why_it_has_none():
    assert shown(terminal=False).splitlines() == [
        "1/4  trial 1  1.5 s  val_accuracy 0.5000",
        "1/4  trial 2  1.5 s  impossible: Too small. Not counted, drawn again.",
        "2/4  trial 3  1.5 s  failed: loss was nan.",
        "3/4  trial 4  1.5 s  val_accuracy 0.7500  the best so far",
        "4/4  trial 5  1.5 s  val_accuracy 0.6000  (best 0.7500)",
    ]


def test_a_bar_shows_trials_done_epoch_best_and_time_left():
    text = shown(terminal=True)
    assert "2/4 trials" in text
    assert "trial 4" in text
    assert "best val_accuracy 0.5000" in text
    assert "0:0" in text
    assert "left" in text


def test_a_study_that_goes_on_or_is_finished_says_so():
    assert "Going on with runs/study.db: 3 of 4 trials are there." in shown(terminal=False, already=3)
    assert "The study is finished (4 trials)." in shown(terminal=False, already=4)


def test_verbose_0_shows_nothing_and_an_unknown_one_is_refused():
    assert type(reporter(Tried(), 4, 0)) is SearchReport
    with pytest.raises(LaminaError, match="verbose is 3"):
        reporter(Tried(), 4, 3)
