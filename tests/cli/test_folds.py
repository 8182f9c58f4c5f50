"""`lamina train --folds` and `--balance`, as they are typed."""

import csv
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import lamina
from lamina.cli import folds, opening, work
from lamina.core.errors import DataError, UnknownNameError
from lamina.data import Splits
from lamina.training import RunFolder

PLAIN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(4), nn.Linear(16 * channels, classes)

    def forward(self, x):
        return self.head(self.pool(x).flatten(1))
"""
TRAIN = ("train", "photos", "--model", "mine.py:make", "--epochs", 2, "--batch-size", 8, "--device", "cpu")


@pytest.fixture
def typed(typed_in, tmp_path):
    rng = np.random.default_rng(0)
    for index, (name, count) in enumerate((("dark", 24), ("light", 9))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            pixels = (rng.random((16, 16)) * 100 + index * 120).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "mine.py").write_text(
        PLAIN + "\ndef make(num_classes, in_channels):\n    return Net(in_channels, num_classes)\n"
    )
    return typed_in(tmp_path)


def config(run):
    return yaml.safe_load((Path(run) / "config.yaml").read_text())


def figures(run):
    with (Path(run) / "folds.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_each_fold_is_a_run_and_the_table_tells_what_they_reach(typed):
    code, out, err = typed(*TRAIN, "--folds", 3, "--balance", "under", "-o", "run")
    assert code == 0, err
    assert "Fold 3 of 3: run/fold-3" in out
    assert "22 train, 11 validation pictures of 2 classes, of which the 11 are fold 3" in out
    rows = re.findall(r"^(fold \d|mean|std) +[\d.]+ +[\d.]+ % +[\d.]+ %$", out, re.MULTILINE)
    assert rows == ["fold 1", "fold 2", "fold 3", "mean", "std"]
    header, *table = figures("run")
    assert header == ["fold", "loss", "accuracy", "balanced_accuracy"]
    accuracies = [float(row[2]) for row in table[:3]]
    assert float(table[3][2]) == pytest.approx(np.mean(accuracies), abs=1e-5)
    for fold in (1, 2, 3):
        run = Path(f"run/fold-{fold}")
        assert {"fold": fold, "folds": 3, "balance": "under"}.items() <= config(run).items()
        assert (run / "report.html").exists()
        # 16 dark and 6 light ones: an epoch holds 12.
        assert "balanced_accuracy" in (run / "results.csv").read_text().splitlines()[0]
        told = work.evaluate(run, None, split=None, format=None, model=None)
        assert (told["split"], told["pictures"]) == ("validation", 11)
        assert work.evaluate(run, "photos", split=None, format=None, model=None)["loss"] == pytest.approx(told["loss"])
    code, _, err = typed("ensemble", "run/fold-1", "run/fold-2", "--data", "photos")
    assert (code, "no member was trained on" in err) == (1, True)


def test_folds_that_were_stopped_go_on_and_end_as_if_they_had_not_been(typed, monkeypatch):
    code, _, err = typed(*TRAIN, "--folds", 3, "-o", "whole")
    assert code == 0, err
    saved = RunFolder.on_epoch_end

    def stopped(self, epoch, logs):
        saved(self, epoch, logs)
        if self.folder.name == "fold-2" and epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_epoch_end", stopped)
        code, _, err = typed(*TRAIN, "--folds", 3, "-o", "run")
    assert code == 130
    before = Path("run/fold-1/last.safetensors").stat().st_mtime_ns
    assert not Path("run/fold-3").exists()
    with monkeypatch.context() as patch:
        patch.chdir("run")
        code, out, err = typed("train", "--resume")
    assert code == 0, err
    assert "fold-1 is finished" in out
    assert Path("run/fold-1/last.safetensors").stat().st_mtime_ns >= before
    assert figures("run") == figures("whole")
    options = work.TrainOptions(output=Path("run"), resume=True, folds=4)
    begun = work.as_begun(None, options, given={"output", "resume", "folds"})
    with pytest.raises(UnknownNameError, match="The folds in run have folds 3, and 4 came"):
        work.train(*begun)


def test_folds_of_a_few_pictures_are_measured_on_those_alone(typed):
    code, _, err = typed(*TRAIN, "--folds", 2, "--limit", 12, "-o", "run")
    assert code == 0, err
    for data in (None, "photos"):
        told = work.evaluate(Path("run/fold-1"), data, split=None, format=None, model=None)
        assert (told["split"], told["pictures"]) == ("validation", 6)
    curve = Path("run/fold-1/results.csv").read_text().splitlines()
    last = work.evaluate(Path("run/fold-1/last.safetensors"), None, split=None, format=None, model="mine.py:make")
    assert last["loss"] == pytest.approx(float(curve[-1].split(",")[curve[0].split(",").index("val_loss")]), rel=1e-4)


def test_folds_are_fine_tuned_and_trained_by_recipes_too(typed):
    data = opening.open_data("photos", None).train
    lent = lamina.Classifier("fastconvnet")
    lent.fit(data, epochs=0, verbose=0)
    lent.save("lent.safetensors")
    given = ("train", "photos", "--folds", 2, "--epochs", 1, "--device", "cpu")
    code, _, err = typed(*given, "--model", "fastconvnet", "--weights", "lent.safetensors", "-o", "tuned")
    assert code == 0, err
    # A bare file tells which pictures it was not trained on.
    assert lamina.load("tuned/fold-2/last.safetensors").split.items() >= {"fold": 1, "folds": 2, "of": 33}.items()
    code, out, err = typed(*given, "--recipe", "mnist_fast", "-o", "recipe")
    assert code == 0, err
    assert [row[0] for row in figures("recipe")] == ["fold", "1", "2", "mean", "std"]
    assert "--recipe" not in out


def test_a_run_is_not_written_over_and_wrong_options_leave_nothing(typed):
    code, _, err = typed("train", "potos", *TRAIN[2:], "--folds", 3, "-o", "run")
    assert code == 2, err
    assert not Path("run").exists()
    assert typed(*TRAIN, "--folds", 1, "-o", "run")[0] == 2
    code, _, err = typed(*TRAIN, "--folds", 2, "--balance", "undr", "-o", "run")
    assert (code, "--balance 'undr' is not known" in err) == (2, True)
    assert work.TrainOptions(balance="none") == work.TrainOptions()  # as the help shows what is usual
    code, _, err = typed("train", "--recipe", "mnist_fast", "--balance", "over", "-o", "run")
    assert (code, "--recipe came beside --balance" in err) == (2, True)
    assert not Path("run").exists()
    Path("run").mkdir()
    Path("run/config.yaml").write_text("data: photos\n")
    code, _, err = typed(*TRAIN, "--folds", 2, "-o", "run")
    assert (code, "already holds a run" in err) == (1, True)


def test_folds_are_cut_from_training_pictures_and_leave_the_test_alone(typed):
    train = opening.open_data("photos", None).train
    cut = opening.fold_of(Splits(train, train, name="all", others={"more": train}), 2, 3)
    assert set(cut.parts()) == {"train", "validation"}
    assert (len(cut.train), len(cut.validation)) == (22, 11)
    with pytest.raises(DataError, match="all has no training pictures"):
        opening.fold_of(Splits(None, train, name="all"), 1, 3)


def test_many_folds_are_named_in_short_as_a_shell_finds_them(tmp_path):
    runs = [tmp_path / "my runs" / f"fold-{number}" for number in range(1, 31)]
    for run in runs:
        run.mkdir(parents=True)
    short = folds._members(runs)
    assert short == f"'{tmp_path}/my runs'/fold-*"
    if os.name == "posix":
        found = subprocess.run(f"printf '%s\\n' {short}", shell=True, capture_output=True, text=True, check=True)
        assert sorted(found.stdout.splitlines()) == sorted(map(str, runs))
    assert folds._members(runs[:3]).count("fold-") == 3
    assert folds._members(runs[:4]).count("fold-") == 4, "the shell would find the others too"
