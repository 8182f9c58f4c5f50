"""A run on disk."""

import csv
import os
import signal

import pytest
import torch
import yaml

from lamina import layers, models
from lamina.core.errors import LaminaError
from lamina.models import model as model_module
from lamina.training import Callback, Interrupted, RunFolder

X = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = (X.mean(dim=(1, 2, 3)) > 0.5).long()


def small_model(filters=4, metrics=("accuracy",)):
    torch.manual_seed(0)
    model = models.Sequential(
        [
            layers.Conv2D(filters, 3, activation="relu", input_shape=(1, 8, 8)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", list(metrics))
    return model


class PressCtrlC(Callback):
    def __init__(self, epoch, batch, number=signal.SIGINT):
        self.at, self.number = (epoch, batch), number

    def on_train_batch_end(self, batch, logs):
        if (self.loop.epoch, batch) == self.at:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def folders(monkeypatch):
    """Gives every run arguments that fit does not have."""

    def give(**options):
        monkeypatch.setattr(model_module, "RunFolder", lambda *args, **given: RunFolder(*args, **given | options))

    return give


def equal(one, other):
    states = one.net.state_dict(), other.net.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


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


# How it goes on -------------------------------------------------------------------------------------------------------


def test_sigterm_saves_prints_how_it_goes_on_and_resuming_ends_bit_equal(tmp_path, folders):
    whole, resumed = small_model(), small_model()
    fit(whole, tmp_path / "whole")
    folders(resume_hint="Go on with: lamina train --resume runs/cut")
    with pytest.raises(SystemExit) as raised:
        fit(small_model(), tmp_path / "cut", callbacks=[PressCtrlC(1, 1, signal.SIGTERM)])
    said = str(raised.value.code)
    assert said.splitlines()[0] == "Stopped by SIGTERM in epoch 2 of 3, after step 2 of 5."
    assert said.endswith("cut. Go on with: lamina train --resume runs/cut")
    fit(resumed, tmp_path / "cut", resume=True)
    assert equal(resumed, whole)


def test_the_library_says_how_it_is_called_to_go_on(tmp_path):
    run = tmp_path / "cut"
    with pytest.raises(Interrupted, match="the same call with resume=True") as raised:
        fit(small_model(), run, callbacks=[PressCtrlC(0, 1)])
    assert "--resume" not in str(raised.value)


def test_a_run_of_another_model_data_and_settings_is_refused_with_every_difference(tmp_path):
    run = tmp_path / "run"
    fit(small_model(), run, epochs=1)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(LaminaError) as raised:
        small_model(filters=5).fit(X[:30], 1 - Y[:30], batch_size=16, epochs=2, run=run, resume=True, verbose=0)
    said = str(raised.value)
    for part in (
        "batch_size was 8, and 16 came",
        "data: train samples was 40, and 30 came",
        "data: train content of targets was",
        "data: validation samples was 10, and nothing came",
        "network: net conv2d.weight was 4x1x3x3, and 5x1x3x3 came",
        "and 2 more of the network",
        "only epochs, precision, metrics may change",
    ):
        assert part in said
    assert "seed" not in said
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_the_same_shapes_of_other_data_are_refused(tmp_path):
    fit(small_model(), tmp_path, epochs=1)
    with pytest.raises(LaminaError, match="data: train content of inputs was"):
        small_model().fit(X * 0.5, Y, 8, 2, validation_data=(X[:10], Y[:10]), verbose=0, run=tmp_path, resume=True)


def test_epochs_and_metrics_may_change(tmp_path):
    fit(small_model(), tmp_path, epochs=1)
    history = fit(small_model(metrics=["top5"]), tmp_path, epochs=2, resume=True)
    assert history.epoch == [0, 1]
    assert str(history.history["top5"][0]) == str(history.history["accuracy"][1]) == "nan"
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert (rows[0]["top5"], rows[1]["accuracy"]) == ("nan", "nan")


def test_what_others_wrote_into_the_config_stays(tmp_path):
    fit(small_model(), tmp_path, epochs=1)
    with (tmp_path / "config.yaml").open("a") as stream:
        stream.write("data: photos\n")
    fit(small_model(), tmp_path, epochs=2, resume=True)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (config["data"], config["epochs"]) == ("photos", 2)


def test_a_process_that_does_not_write_reads_and_takes_part(tmp_path, folders):
    fit(small_model(), tmp_path / "run", epochs=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    folders(writes=False, every_steps=1)
    whole, other = small_model(), small_model()
    fit(whole, tmp_path / "whole", epochs=2)
    history = fit(other, tmp_path / "run", epochs=2, resume=True)
    assert history.epoch == [0, 1]
    assert equal(whole, other)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert not (tmp_path / "whole").exists()
