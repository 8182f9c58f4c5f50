"""A run on disk."""

import csv
import os
import signal

import pytest
import torch
import yaml

from lamina import layers, models
from lamina.training import Callback, Interrupted

X = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = (X.mean(dim=(1, 2, 3)) > 0.5).long()


def small_model():
    torch.manual_seed(0)
    model = models.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(1, 8, 8)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


class PressCtrlC(Callback):
    def __init__(self, epoch, batch):
        self.at = (epoch, batch)

    def on_train_batch_end(self, batch, logs):
        if (self.loop.epoch, batch) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def fit(model, run, **options):
    options = {"epochs": 3, "batch_size": 8, "validation_data": (X[:10], Y[:10]), "verbose": 0} | options
    return model.fit(X, Y, run=run, **options)


def test_a_run_holds_config_curves_and_models(tmp_path):
    run = tmp_path / "run"
    history = fit(small_model(), run)
    assert {p.name for p in run.iterdir()} >= {
        "config.yaml",
        "results.csv",
        "best.safetensors",
        "last.safetensors",
        "last.ckpt",
    }
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["epochs"] == 3
    assert config["batch_size"] == 8
    rows = list(csv.DictReader((run / "results.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(history.history["val_loss"], rel=1e-5)


def test_without_a_run_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_model().fit(X, Y, verbose=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [(0, 2), (1, 0), (2, 4)])
def test_ctrl_c_saves_the_run_and_resuming_ends_bit_equal(tmp_path, at):
    whole = small_model()
    fit(whole, tmp_path / "whole")
    with pytest.raises(Interrupted, match="resume"):
        fit(small_model(), tmp_path / "cut", callbacks=[PressCtrlC(*at)])
    resumed = small_model()
    history = fit(resumed, tmp_path / "cut", resume=True)
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name
    assert history.epoch == [0, 1, 2]
    assert (tmp_path / "cut" / "results.csv").read_text() == (tmp_path / "whole" / "results.csv").read_text()


def test_an_existing_run_is_not_written_over_and_the_error_names_both_ways(tmp_path):
    fit(small_model(), tmp_path / "run", epochs=1)
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"resume=True.*another folder"):
        fit(small_model(), tmp_path / "run", epochs=1)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_resuming_starts_a_run_that_is_not_there_and_says_when_one_is_finished(tmp_path, capsys):
    fit(small_model(), tmp_path / "run", epochs=1, resume=True)
    fit(small_model(), tmp_path / "run", epochs=1, resume=True)
    assert "finished (1 epochs)" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_named(tmp_path):
    fit(small_model(), tmp_path / "run", epochs=1)
    (tmp_path / "run" / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read"):
        fit(small_model(), tmp_path / "run", epochs=2, resume=True)
