"""`lamina tune`, and `lamina train --config` on what it found."""

import csv
import functools
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import lamina
from lamina import tuner
from lamina.cli import tune
from lamina.cli.commands import app
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.tasks.classification import tunable_cnn

# The sets held out here have eight pictures.
pytestmark = pytest.mark.filterwarnings("ignore:The best trial's val_accuracy of [0-9.]+ on . pictures")

SMALL = {
    "blocks": tuner.integer(1, 2),
    "filters": tuner.choice(4, 8),
    "dropout": tuner.uniform(0.1, 0.5),
    "initial_scale": tuner.log_uniform(0.5, 2.0),
    "loss": tuner.choice("sparse_categorical_crossentropy", "mse"),
    "label_smoothing": tuner.uniform(0.0, 0.2, when={"loss": "sparse_categorical_crossentropy"}),
    "optimizer": tuner.choice("sgd", "adam"),
    "lr": tuner.log_uniform(1e-3, 1e-2),
    "momentum": tuner.uniform(0.0, 0.9, when={"optimizer": "sgd"}),
    "schedule": tuner.choice("cosine", "one_cycle"),
    "batch_size": tuner.choice(8, 16),
}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 80 pictures of two kinds, in the current directory, and a space of small networks."""
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tunable_cnn, "space", lambda: dict(SMALL))
    rng = np.random.default_rng(0)
    for index, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            pixels = (rng.random((32, 32)) * 200 + index * 20).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def lamina_(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_search_writes_its_best_and_train_repeats_it_exactly(photos):
    done = lamina_("tune", "photos", "--trials", 3, "--epochs", 2, "--output", "runs/t")
    assert done.exit_code == 0, done.output
    assert "3/3  trial 3" in done.output
    assert "(held out of the training pictures; the test pictures are not looked at)" in done.output
    told = f"Train it: lamina train {os.path.abspath('photos')} --config runs/t/best.yaml --output runs/t/best"
    assert done.output.splitlines()[-1] == told
    assert "It trains for 2 epochs, as a trial did; for a longer training add --epochs." in done.output
    names = {path.name for path in Path("runs/t").iterdir()}
    assert names == {"study.db", "tune.yaml", "best.yaml", "trials.csv", "slices.png"}
    best = yaml.safe_load(Path("runs/t/best.yaml").read_text())
    assert (best["data"], best["model"], best["epochs"]) == (os.path.abspath("photos"), "tunable_cnn", 2)
    assert best["network"]["input_shape"] == [1, 32, 32]

    done = lamina_("train", "--config", "runs/t/best.yaml", "--output", "runs/best")
    assert done.exit_code == 0, done.output
    last = list(csv.DictReader(Path("runs/best/results.csv").read_text().splitlines()))[-1]
    assert float(last["val_accuracy"]) == pytest.approx(best["found"]["val_accuracy"], abs=1e-6)
    trials = list(csv.DictReader(Path("runs/t/trials.csv").read_text().splitlines()))
    assert max(float(trial["val_accuracy"]) for trial in trials) == best["found"]["val_accuracy"]
    assert f"(trial {best['found']['trial']} of the search had {last['val_accuracy'][:3]}" in done.output
    config = yaml.safe_load(Path("runs/best/config.yaml").read_text())
    assert (config["model"], config["seed"]) == ("tunable_cnn", best["seed"])
    assert lamina.load("runs/best/last.safetensors").evaluate("photos")["accuracy"] >= 0


def test_training_by_a_config_has_the_trials_losses_to_the_last_bit(photos, monkeypatch):
    histories = []
    fit = lamina.Classifier.fit

    @functools.wraps(fit)  # search looks at its parameters
    def note(self, *arguments, **options):
        histories.append(fit(self, *arguments, **options))
        return histories[-1]

    monkeypatch.setattr(lamina.Classifier, "fit", note)
    assert lamina_("tune", "photos", "--trials", 1, "--epochs", 2).exit_code == 0
    assert lamina_("train", "--config", "runs/tune/best.yaml").exit_code == 0
    searched, trained = histories
    assert searched.history == trained.history


def test_an_interrupted_search_says_how_it_goes_on_and_needs_nothing_told_again(photos, monkeypatch):
    fit, calls = lamina.Classifier.fit, []

    @functools.wraps(fit)
    def second_is_interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments, **options)

    monkeypatch.setattr(lamina.Classifier, "fit", second_is_interrupted)
    options = ("--trials", 2, "--epochs", 1, "--limit", 60, "--seed", 3, "--output", "runs/t")
    stopped = lamina_("tune", "photos", *options)
    assert stopped.exit_code == 130
    assert "with 1 of 2 trials done. It goes on with: lamina tune --resume --output runs/t" in stopped.output
    assert Path("runs/t/best.yaml").exists()
    again = lamina_("tune", "photos", "--output", "runs/t")
    assert isinstance(again.exception, LaminaError)
    assert "already holds a search" in str(again.exception)
    other = lamina_("tune", "photos", "--output", "runs/t", "--resume", "--epochs", 2)
    assert "space epochs: 1 in the file, 2 now" in str(other.exception)
    done = lamina_("tune", "--resume", "--output", "runs/t")
    assert done.exit_code == 0, done.output
    assert "Going on with" in done.output
    assert "2/2  trial 2" in done.output
    assert len(calls) == 3
    assert "The study is finished (2 trials)." in lamina_("tune", "--resume", "--output", "runs/t").output


def test_a_search_without_data_is_told_what_to_type():
    pytest.importorskip("optuna")
    assert isinstance(lamina_("tune").exception, UnknownNameError)
    assert "lamina tune mnist" in str(lamina_("tune").exception)


def test_what_is_typed_goes_before_what_the_config_says(photos):
    Path("c.yaml").write_text(
        "data: photos\nlimit: 30\nepochs: 1\nbatch_size: 8\noptimizer: sgd\nmomentum: 0.5\nlr: 0.01\nmodel: fastconvnet\nseed: 5\n"
    )
    done = lamina_("train", "--config", "c.yaml", "--epochs", 2, "--optimizer", "adam", "--output", "runs/c")
    assert done.exit_code == 0, done.output
    config = yaml.safe_load(Path("runs/c/config.yaml").read_text())
    assert (config["epochs"], config["batch_size"], config["limit"], config["seed"]) == (2, 8, 30, 5)
    assert config["optimizer"].startswith("Adam(learning_rate=0.01")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "There is no file c.yaml"),
        ("optimiser: sgd", "The nearest known: optimizer"),
        ("lr: 1e-3", "lr: '1e-3'.*1.0e-3"),
        ("epochs: 2.5", "int was expected"),
        ("just words", "holds no settings"),
        ("a: [", "YAML was expected"),
    ],
)
def test_a_config_that_cannot_be_used_says_what_to_correct(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("c.yaml").write_text(text)
    with pytest.raises(LaminaError, match=words):
        tune.read_config(Path("c.yaml"))


def test_the_best_config_trains_on_all_pictures_and_says_what_the_search_had(photos):
    done = lamina_("tune", "photos", "--trials", 1, "--epochs", 1, "--limit", 40, "--output", "t")
    assert done.exit_code == 0, done.output
    assert "on all pictures, not the 40 of --limit" in done.output
    text = Path("t/best.yaml").read_text()
    assert "epochs: 1 is the length of a trial" in text
    best = yaml.safe_load(text)
    assert "limit" not in best
    assert best["found"]["limit"] == 40
    done = lamina_(*done.output.splitlines()[-1].removeprefix("Train it: lamina ").split())
    assert done.exit_code == 0, done.output
    assert "Settings: t/best.yaml" in done.output
    assert "80 train" in done.output
    assert "with 40 pictures)" in done.output


def test_a_search_takes_the_size_and_the_device(photos):
    options = ("--trials", 1, "--epochs", 1, "--size", "24x20", "--device", "cpu", "--output", "t")
    assert lamina_("tune", "photos", *options).exit_code == 0
    assert yaml.safe_load(Path("t/best.yaml").read_text())["network"]["input_shape"] == [1, 24, 20]
    assert yaml.safe_load(Path("t/tune.yaml").read_text())["size"] == "24x20"
    done = lamina_("train", "--config", "t/best.yaml", "--output", "run")
    assert done.exit_code == 0, done.output
    assert lamina.load("run/last.safetensors").preprocess.size == (24, 20)
    assert "--size '2x' is no size" in str(lamina_("tune", "photos", "--size", "2x", "--output", "u").exception)
    assert "no device" in str(lamina_("tune", "photos", "--device", "gpu", "--output", "u").exception)


def test_a_search_that_found_only_chance_warns(recwarn):
    def tried(figure):
        return SimpleNamespace(best=SimpleNamespace(figure=figure))

    with pytest.warns(UserWarning, match=r"0\.5600 on 100 pictures cannot be told from luck: .* 0\.50 \+- 0\.15"):
        tune._warn_of_chance(tried(0.56), [0, 1] * 50)
    recwarn.clear()
    tune._warn_of_chance(tried(0.7), [0, 1] * 50)
    assert not recwarn


def test_a_run_is_done_again_by_its_own_config(photos):
    first = ("--model", "fastconvnet", "--epochs", 1, "--batch-size", 8, "--lr", 0.002, "--limit", 60, "--seed", 3)
    assert lamina_("train", "photos", *first, "--output", "runs/a").exit_code == 0
    done = lamina_("train", "--config", "runs/a/config.yaml", "--output", "runs/b")
    assert done.exit_code == 0, done.output
    assert "Settings: runs/a/config.yaml, of an earlier run" in done.output
    one, two = (yaml.safe_load(Path(f"runs/{run}/config.yaml").read_text()) for run in "ab")
    assert one["asked"] == two["asked"]
    curves = [list(csv.DictReader(Path(f"runs/{run}/results.csv").read_text().splitlines())) for run in "ab"]
    assert curves[0][-1]["val_loss"] == curves[1][-1]["val_loss"]
    done = lamina_("train", "--config", "runs/a/config.yaml", "--seed", 4, "--output", "runs/c")
    assert yaml.safe_load(Path("runs/c/config.yaml").read_text())["asked"]["seed"] == 4


def test_a_run_by_a_config_of_the_tuner_is_done_again_too(photos):
    assert lamina_("tune", "photos", "--trials", 1, "--epochs", 1, "--output", "t").exit_code == 0
    assert lamina_("train", "--config", "t/best.yaml", "--output", "a").exit_code == 0
    config = tune.read_config(Path("a/config.yaml"))
    assert config["network"]["input_shape"] == [1, 32, 32]
    done = lamina_("train", "--config", "a/config.yaml", "--output", "b")
    assert done.exit_code == 0, done.output
    assert Path("a/results.csv").read_text().split(",")[:1] == Path("b/results.csv").read_text().split(",")[:1]


def test_a_run_that_cannot_be_done_again_says_why(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("data: mnist\nmetrics: [accuracy]\nmodel: nets.py:make\nasked: {model: 'gone/nets.py:make'}\n")
    with pytest.raises(LaminaError, match=r"made by gone/nets.py:make, and that file is not there"):
        tune.read_config(path)
    path.write_text("metrics: [accuracy]\nmodel: cnn\nepochs: 3\noptimizer: Adam()\n")
    with pytest.raises(LaminaError, match="a run that Python code began"):
        tune.read_config(path)
