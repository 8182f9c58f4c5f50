"""Gradient norms of each layer on disk."""

import csv

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import models
from lamina.callbacks import GradientNorms
from lamina.core.errors import LaminaError
from lamina.training import Callback


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def model(**told):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    made = models.Model(net)
    made.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", device="cpu", **told)
    return made


X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = np.arange(40) % 3


class Watching(Callback):
    """What the gradients are after each step, by torch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs):
        net = self.loop.step.networks["net"]
        self.seen.append([float(net[at].weight.grad.norm()) for at in (0, 3)])


def test_the_norm_of_each_weight_is_written_every_so_many_steps(tmp_path):
    watching = Watching()
    model().fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=[GradientNorms(tmp_path / "g.csv", 2), watching])
    header, *body = rows(tmp_path / "g.csv")
    assert header == ["step", "0", "3"]  # no biases, no BatchNorm
    assert [int(row[0]) for row in body] == [2, 4, 6, 8, 10]
    told = np.array([[float(cell) for cell in row[1:]] for row in body])
    assert told == pytest.approx(np.array(watching.seen)[1::2], rel=1e-4)


def test_log_every_writes_them_into_the_runs_folder(tmp_path):
    model().fit(X, Y, batch_size=8, epochs=1, verbose=0, run=tmp_path / "run", log_every=1)
    assert len(rows(tmp_path / "run" / "gradients.csv")) == 1 + 5
    record = lamina.explain.gradient_norms(tmp_path / "run")
    assert record.steps.tolist() == [1, 2, 3, 4, 5]
    assert (record.norms > 0).all()


def test_without_a_file_it_goes_into_the_run_and_without_a_run_it_says_so(tmp_path):
    model().fit(X, Y, batch_size=8, verbose=0, run=tmp_path / "run", callbacks=[GradientNorms(every=5)])
    assert len(rows(tmp_path / "run" / "gradients.csv")) == 2
    with pytest.raises(LaminaError, match=r"without a run's folder.*run="):
        model().fit(X, Y, verbose=0, callbacks=[GradientNorms()])


def test_a_window_that_is_not_full_is_not_looked_at(tmp_path):
    model(update={"accumulate": 2}).fit(
        X, Y, batch_size=8, epochs=1, verbose=0, callbacks=[GradientNorms(tmp_path / "g.csv", 1)]
    )
    assert [row[0] for row in rows(tmp_path / "g.csv")[1:]] == ["2", "4"]


def test_frozen_layers_are_left_out(tmp_path):
    made = model()
    made.net[0].weight.requires_grad_(False)
    made.fit(X, Y, batch_size=8, verbose=0, callbacks=[GradientNorms(tmp_path / "g.csv", 1)])
    assert rows(tmp_path / "g.csv")[0] == ["step", "3"]


class Stopping(Callback):
    """Fails in the midst of an epoch, once."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, batch, logs):
        if self.loop.steps_done == self.at:
            raise RuntimeError("the power went")


def test_a_run_that_goes_on_writes_what_one_that_never_stopped_writes(tmp_path):
    told = {"batch_size": 8, "epochs": 2, "verbose": 0, "log_every": 1, "checkpoint_every": 2}
    model().fit(X, Y, run=tmp_path / "whole", **told)
    with pytest.raises(RuntimeError, match="power"):
        model().fit(X, Y, run=tmp_path / "cut", callbacks=[Stopping(8)], **told)
    model().fit(X, Y, run=tmp_path / "cut", resume=True, callbacks=[Stopping(0)], **told)
    assert rows(tmp_path / "cut" / "gradients.csv") == rows(tmp_path / "whole" / "gradients.csv")


def test_a_number_of_steps_is_needed():
    with pytest.raises(LaminaError, match="GradientNorms: every is 0"):
        GradientNorms(every=0)
