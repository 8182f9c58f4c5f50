"""Curves on disk: a row an epoch, and a row every so many steps."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lamina import models
from lamina.core.errors import LaminaError
from lamina.metrics.metric import MeanMetric, Metric
from lamina.structures.batch import Logs
from lamina.training import Callback, Loop, Runtime, Update
from lamina.training.curves import CSVLogger, StepLogger


class Doubled(MeanMetric):
    """The mean of twice the outputs."""

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs * 2


class Latest(Metric):
    """No mean: the last value of all so far."""

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        self.sums = (outputs[-1],)

    def value(self, *sums: Tensor) -> Tensor:
        return sums[0]


class Figures:
    """A step whose losses are the batches; its learning rate is 1 less a hundredth a step."""

    def __init__(self) -> None:
        self.networks: dict[str, nn.Module] = {"net": nn.Linear(1, 1)}
        runtime = Runtime("cpu", precision="float32")
        self.updates = {"net": Update(self.networks["net"], lambda p: torch.optim.SGD(p, lr=1.0), runtime=runtime)}
        self.metrics: dict[str, Any] = {"doubled": Doubled("doubled"), "latest": Latest("latest")}

    def train(self, batch: float) -> Logs:
        self.updates["net"].learning_rate -= 0.01
        value = torch.tensor([float(batch)])
        for metric in self.metrics.values():
            metric.update(value, value)
        return Logs(4, loss=value[0])

    evaluate = train


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def train(callback: Callback, epochs: int = 1, batches: Any = (1, 2, 3, 6, 10), **more: Any) -> Loop:
    loop = Loop(Figures(), callbacks=[callback])
    loop.fit(list(batches), epochs=epochs, **more)
    return loop


def test_a_csv_has_a_row_an_epoch_and_goes_on_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "log.csv"
    one, two = ["0", "4.0", "3.0", "2.0"], ["1", "4.0", "3.0", "2.0"]
    train(CSVLogger(path), 2, [1, 3])
    assert rows(path) == [["epoch", "doubled", "latest", "loss"], one, two]
    train(CSVLogger(path, append=True), 1, [1, 3])
    assert rows(path)[2:] == [two, one]


@pytest.mark.parametrize("before", [0, 1])
def test_a_row_that_was_written_before_a_kill_and_after_the_checkpoint_is_not_there_twice(
    tmp_path: Path, before: int
) -> None:
    path = tmp_path / "log.csv"
    if before:  # of another run
        train(CSVLogger(path), 1, [1, 3])
    loop = train(CSVLogger(path, append=True), 2, [1, 3])
    state = loop.state_dict()
    state["history"]["epoch"].pop()  # as it was saved an epoch earlier
    state["position"] |= {"epoch": 0, "epochs_done": 1, "steps_done": 2}
    again = Loop(Figures(), callbacks=[CSVLogger(path, append=True)])
    again.load_state_dict(state)
    again.fit([1, 3], epochs=3, initial_epoch=1)
    assert [row[0] for row in rows(path)] == ["epoch", *["0"] * before, "0", "1", "2"]


def test_rows_are_taken_away_without_a_moment_at_which_the_file_is_half_written(
    tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "steps.csv"
    loop = train(StepLogger(path, every=2))
    whole = path.read_bytes()
    again = Loop(Figures(), callbacks=[StepLogger(path, every=2)])
    again.load_state_dict(loop.state_dict())

    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(RuntimeError, match="killed"):
        again.fit([1, 2], epochs=2, initial_epoch=1)
    assert path.read_bytes() == whole


def test_a_row_every_few_steps_tells_the_means_since_the_last(tmp_path: Path) -> None:
    path = tmp_path / "run" / "steps.csv"
    train(StepLogger(path, every=2), epochs=2)
    assert rows(path) == [
        ["step", "epoch", "learning_rate", "loss", "doubled", "latest"],
        ["2", "1", "0.98", "1.5", "3", "2"],
        ["4", "1", "0.96", "4.5", "9", "6"],
        ["6", "2", "0.94", "1", "2", "1"],  # the last step of an epoch that no row is due for has none
        ["8", "2", "0.92", "2.5", "5", "3"],
        ["10", "2", "0.9", "8", "16", "10"],
    ]


def test_an_interval_longer_than_an_epoch_never_mixes_two(tmp_path: Path) -> None:
    train(StepLogger(tmp_path / "steps.csv", every=3), epochs=3, batches=[1, 5])
    assert [(row[0], row[1], row[3]) for row in rows(tmp_path / "steps.csv")[1:]] == [("3", "2", "1"), ("6", "3", "3")]


def test_a_resumed_run_writes_the_rows_that_one_never_stopped_has(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    train(StepLogger(whole, every=2), epochs=2)

    class Saved(Callback):
        state: Any = None

        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            if self.loop.steps_done == 3:
                self.state = self.loop.state_dict()

    saved, logger = Saved(), StepLogger(cut, every=2)
    Loop(Figures(), callbacks=[logger, saved]).fit([1, 2, 3, 6, 10], epochs=1)
    assert len(rows(cut)) == 3  # the row of step 4 came after the checkpoint, and will come again
    loop = Loop(Figures(), callbacks=[StepLogger(cut, every=2)])
    loop.load_state_dict(saved.state)
    loop.fit([1, 2, 3, 6, 10], epochs=2)
    assert rows(cut) == rows(whole)


def test_a_fit_that_is_no_resumed_run_begins_the_file_anew(tmp_path: Path) -> None:
    logger = StepLogger(tmp_path / "steps.csv", every=5)
    for _ in range(2):
        train(logger)
    assert len(rows(tmp_path / "steps.csv")) == 2


@pytest.mark.parametrize("every", [0, -1, 2.5, "epoch"])
def test_an_interval_is_a_number_of_steps(every: Any) -> None:
    with pytest.raises(LaminaError, match=r"StepLogger: every is .* 1 or more"):
        StepLogger(every=every)


def test_the_rate_of_a_row_is_the_one_that_the_schedule_gave(tmp_path):
    torch.manual_seed(0)
    model = models.Model(torch.nn.Linear(4, 2))
    model.compile("sgd", "sparse_categorical_crossentropy", schedule="linear", device="cpu", precision="float32")
    x, y = torch.randn(40, 4), torch.zeros(40, dtype=torch.int64)
    model.fit(x, y, batch_size=10, epochs=1, run=tmp_path / "run", log_every=1, verbose=0)
    with (tmp_path / "run" / "steps.csv").open(newline="") as stream:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(stream)]
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
