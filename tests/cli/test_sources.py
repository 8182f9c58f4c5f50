"""Training on archives, tables and shards, on several labels a picture, and on what has no classes, as it is typed."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lamina import data
from lamina.cli import opening

NET = """
from torch import nn

def make(num_classes, in_channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))
"""
COLOURS = ("red", "green", "blue")


@pytest.fixture
def typed(typed_in, tmp_path):
    """A folder of thirty squares with one colour each, and a function that makes a network."""
    rng = np.random.default_rng(0)
    for index in range(30):
        pixels = rng.integers(0, 60, (12, 12, 3), dtype=np.uint8)
        pixels[..., index % 3] += 180
        path = tmp_path / "squares" / COLOURS[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (tmp_path / "mine.py").write_text(NET)
    return typed_in(tmp_path)


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "labels"), *rows])


def squares():
    return sorted(Path("squares").rglob("*.png"))


def as_zip():
    with zipfile.ZipFile("squares.zip", "w") as file:
        for path in squares():
            file.write(path)
    return "squares.zip"


def as_table():
    table(Path("squares/labels.csv"), [(f"{path.parent.name}/{path.name}", path.parent.name) for path in squares()])
    return "squares/labels.csv"


def as_zipped_table():
    as_table()
    with zipfile.ZipFile("squares.zip", "w") as file:
        for path in (*squares(), Path("squares/labels.csv")):
            file.write(path, path.relative_to("squares"))
    return "squares.zip/labels.csv"


def as_shards():
    data.write_shards(data.open("squares"), "shards")
    return "shards"


TRAIN = ("--model", "mine.py:make", "--epochs", 1, "--batch-size", 8, "--device", "cpu", "-o", "run")


@pytest.mark.parametrize("made", [as_zip, as_table, as_zipped_table, as_shards])
def test_a_run_finds_its_data_again_from_elsewhere(typed, made, monkeypatch):
    source = made()
    code, out, err = typed("train", source, *TRAIN)
    assert code == 0, err
    assert "30 train pictures of 3 classes" in out
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    code, out, err = typed("train", "--resume", "--output", "../run", "--epochs", 2)
    assert code == 0, err
    assert "epoch 2/2" in out
    code, out, err = typed("evaluate", "../run", "--json")
    assert code == 0, err
    assert (json.loads(out)["held_out"], json.loads(out)["pictures"]) == (True, 3)


@pytest.fixture
def several(typed):
    """A table that gives each square its colour, and every other one a second label."""
    rows = [(f"{path.parent.name}/{path.name}", path.parent.name + "|odd" * (int(path.stem) % 2)) for path in squares()]
    table(Path("squares/labels.csv"), rows)
    return typed


@pytest.mark.parametrize("source", ["squares", "squares/labels.csv"])
def test_several_labels_a_picture_are_seen_and_trained_on(several, source):
    code, out, err = several("train", source, *TRAIN)
    assert code == 0, err
    assert "have several labels each" in out
    assert "% of all labels right, mean F1 of the classes" in out
    code, out, err = several("evaluate", "run")
    assert code == 0, err
    assert {"accuracy", "f1"} <= {line.split()[0] for line in out.splitlines()}
    assert several("predict", "run", "squares/red")[0] == 0
    assert several("report", "run")[0] == 0
    assert "mean average precision" in Path("run/report.html").read_text(encoding="utf-8").lower()
    assert several("train", "--resume", "--output", "run", "--epochs", 2)[0] == 0


def test_several_labels_a_picture_are_cross_validated(several):
    code, out, err = several("train", "squares", *TRAIN, "--folds", 2)
    assert code == 0, err
    assert "f1" in Path("run/folds.csv").read_text().splitlines()[0]
    assert "mean" in out


def test_learning_rates_are_tried_on_several_labels_a_picture(several):
    code, out, err = several("find-lr", "squares", "--model", "mine.py:make", "--steps", 10, "--device", "cpu")
    assert code == 0, err
    assert "Learning-rate range test" in out


@pytest.mark.parametrize("words", [("--balance", "over"), ("--recipe", "mnist_fast")])
def test_what_means_one_label_a_picture_is_refused_beside_several(several, words):
    train = TRAIN[2:] if "--recipe" in words else TRAIN
    train = [word for word in train if word not in ("--batch-size", 8)] if "--recipe" in words else train
    code, _, err = several("train", "squares", *train, *words)
    assert (code, f"{words[0]} {words[1]} came, and the pictures have several labels each." in err) == (2, True)
    assert not Path("run").exists()


def test_a_search_is_not_begun_on_several_labels_a_picture(several):
    pytest.importorskip("optuna")
    code, _, err = several("tune", "squares", "--trials", 1)
    assert (code, "Train on them: lamina train" in err) == (1, True)


@pytest.fixture
def boxes(typed):
    """A COCO file for the squares."""
    Path("boxes").mkdir()
    images = [{"id": index, "file_name": path.name, "width": 12, "height": 12} for index, path in enumerate(squares())]
    for path in squares():
        (Path("boxes") / path.name).write_bytes(path.read_bytes())
    found = [{"id": index, "image_id": index, "category_id": 1, "bbox": [2, 2, 5, 5]} for index in range(30)]
    told = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "corner"}]}
    Path("boxes/instances.json").write_text(json.dumps(told))
    return typed


@pytest.mark.parametrize(
    ("words", "says", "exit_code"),
    [
        (("train", "boxes", *TRAIN), "The network is a Sequential. What it says must be understood", 1),
        (("train", "boxes", *TRAIN, "--folds", 2), "--folds 2 came. It is for classification, and this data is for", 2),
        (
            ("train", "boxes", "--recipe", "mnist_fast", "-o", "run"),
            "--recipe mnist_fast came. It is for classification",
            2,
        ),
        (("find-lr", "boxes", "--model", "mine.py:make"), "This data is for detection.", 1),
        (("tune", "boxes", "--trials", 1, "-o", "run"), "This data is for detection.", 1),
    ],
)
def test_data_without_classes_of_pictures_says_what_it_is_for(boxes, words, says, exit_code):
    if words[0] == "tune":
        pytest.importorskip("optuna")
    code, _, err = boxes(*words)
    assert (code, says in err) == (exit_code, True), err
    assert not Path("run").exists()


def test_a_trained_model_is_not_measured_on_data_without_classes_of_pictures(boxes):
    assert boxes("train", "squares", *TRAIN)[0] == 0
    for command in ("evaluate", "report"):
        code, _, err = boxes(command, "run", "boxes")
        says = "boxes is a data set for detection: its pictures have no class of their own. A classifier learns from"
        assert (code, says in err) == (1, True), err
    as_zip()
    code, _, err = boxes("predict", "run", "squares.zip")
    assert (code, "squares.zip is an archive." in err) == (1, True), err


def test_the_path_of_a_table_in_an_archive_lasts(typed):
    source = as_zipped_table()
    assert Path(opening.lasting_data(source)).is_absolute()
    assert opening.lasting_data("mnist") == "mnist"
    assert typed("train", source, *TRAIN)[0] == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"] == str(Path(source).absolute())
