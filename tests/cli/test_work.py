"""What the commands do: which pictures and which model they measure, and what a run remembers."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import lamina
from lamina.cli import opening, work
from lamina.cli.commands import app
from lamina.core.errors import DataError, FileFormatError, LaminaError, UnknownNameError
from lamina.recipes import Recipe
from lamina.training import Callback

PLAIN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(4), nn.Linear(16 * channels, classes)

    def forward(self, x):
        return self.head(self.pool(x).flatten(1))

def small(num_classes, in_channels):
    return Net(in_channels, num_classes)

def nothing():
    return 3
"""

OPTIONS = work.TrainOptions(
    model="fastconvnet",
    recipe=None,
    epochs=1,
    batch_size=8,
    lr=None,
    optimizer=None,
    seed=0,
    limit=None,
    output=Path("run"),
    format=None,
    resume=False,
    device="cpu",
    precision="float32",
)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 40 pictures without parts, in the current directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = (rng.random((32, 32)) * 100 + index * 120).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def config(run="run"):
    return yaml.safe_load((Path(run) / "config.yaml").read_text())


def test_a_folder_without_parts_is_measured_on_what_was_held_out(photos, capsys):
    work.train("photos", OPTIONS)
    printed = capsys.readouterr().out
    assert re.search(r"^Validation accuracy: [\d.]+ % of 4 pictures$", printed, re.MULTILINE)
    assert "(validation)" in Path("run/report.html").read_text()
    assert "4 samples" in Path("run/report.html").read_text()
    figures = work.evaluate(Path("run"), "photos", split=None, format=None, model=None)
    assert (figures["split"], figures["held_out"], figures["pictures"]) == ("validation", True, 4)
    shown = float(re.search(r"accuracy: ([\d.]+)", printed)[1])
    assert 100 * figures["accuracy"] == pytest.approx(shown, abs=0.01)
    everything = work.evaluate(Path("run"), "photos", split="train", format=None, model=None)
    assert (everything["held_out"], everything["pictures"]) == (False, 40)
    asked = work.evaluate(Path("run"), "photos", split="validation", format=None, model=None)
    assert asked == figures
    with pytest.raises(UnknownNameError, match=r"'test'. It has: train, validation"):
        work.evaluate(Path("run"), "photos", split="test", format=None, model=None)
    text = CliRunner().invoke(app, ["evaluate", "run", "photos"]).stdout
    assert "validation, held out by training: 4 pictures" in text


def test_a_run_on_a_part_of_the_data_is_measured_on_what_it_held_out_of_that_part(photos):
    work.train("photos", replace(OPTIONS, limit=20))
    assert work.evaluate(Path("run"), "photos", split=None, format=None, model=None)["pictures"] == 2
    assert work.evaluate(Path("run"), "photos", split="train", format=None, model=None)["pictures"] == 40


class _Cut(Callback):
    """Ctrl-C after the first step."""

    def on_train_batch_end(self, batch, logs):
        raise KeyboardInterrupt


def test_an_interrupted_run_remembers_its_data_and_so_does_a_resumed_one(photos, monkeypatch):
    fit = lamina.Classifier.fit
    monkeypatch.setattr(
        lamina.Classifier,
        "fit",
        lambda self, x, *, callbacks, **rest: fit(self, x, callbacks=[*callbacks, _Cut()], **rest),
    )
    with pytest.raises(KeyboardInterrupt):
        work.train("photos", replace(OPTIONS, limit=30, format="image_folder"))
    wanted = {"data": "photos", "format": "image_folder", "limit": 30, "model": "fastconvnet"}
    assert config().items() >= wanted.items()
    assert "recipe" not in config()
    monkeypatch.setattr(lamina.Classifier, "fit", fit)
    work.train("photos", replace(OPTIONS, limit=30, format="image_folder", resume=True, epochs=2))
    assert config().items() >= {**wanted, "epochs": 2}.items()
    Path("run/report.html").unlink()
    assert work.report(Path("run"), None, format=None).exists()


def test_a_run_that_names_no_data_is_told_to(photos):
    lamina.Classifier("fastconvnet").fit(photos, run="run", verbose=0)
    with pytest.raises(DataError, match=r"names no data.*lamina report run DATA"):
        work.report(Path("run"), None, format=None)
    assert work.report(Path("run"), "photos", format=None).exists()


def test_a_torch_module_of_a_file_is_opened_again_by_its_function(photos, capsys):
    Path("mine.py").write_text(PLAIN)
    work.train("photos", replace(OPTIONS, model="mine.py:small"))
    assert config()["model"] == "mine.py:small"
    in_run = work.evaluate(Path("run"), "photos", split=None, format=None, model=None)
    bare = Path("run/last.safetensors")
    with pytest.raises(FileFormatError, match=r"--model FILE\.py:function"):
        work.evaluate(bare, "photos", split=None, format=None, model=None)
    given = work.evaluate(bare, "photos", split=None, format=None, model="mine.py:small")
    assert given == in_run
    assert len(work.predict(bare, [photos / "dark"], model="mine.py:small")) == 20
    assert len(work.predict(Path("run"), [photos / "dark"], model=None)) == 20
    assert "mine.py:small" in Path("run/config.yaml").read_text()
    assert work.report(Path("run"), None, format=None).exists()
    assert work.summary("mine.py:small", "1,32,32").to_dict()
    with pytest.raises(LaminaError, match="gave a int"):
        work.train("photos", replace(OPTIONS, model="mine.py:nothing", output=Path("other")))


def test_layers_around_a_torch_module_of_ones_own_are_opened_again(photos):
    Path("around.py").write_text(
        PLAIN + "from lamina import layers, models\n"
        "def around(num_classes, in_channels):\n"
        "    inputs = layers.Input(shape=(in_channels, 32, 32))\n"
        "    return models.Model(inputs, layers.Torch(Net(in_channels, num_classes))(inputs))\n"
    )
    work.train("photos", replace(OPTIONS, model="around.py:around"))
    assert work.evaluate(Path("run"), "photos", split=None, format=None, model=None)["pictures"] == 4


def test_training_ends_with_the_figures_of_the_best_epoch_where_there_is_one(photos, capsys):
    work.train("photos", replace(OPTIONS, epochs=3))
    printed = capsys.readouterr().out
    assert "Model: run/best.safetensors, the epoch with the lowest val_loss" in printed.replace("\\", "/")
    best = lamina.load("run/best.safetensors")
    figures = work.evaluate(Path("run"), "photos", split=None, format=None, model=None)
    _, held = best.measured("photos")
    assert figures["loss"] == pytest.approx(best.evaluate(held)["loss"])
    Path("run/best.safetensors").unlink()
    assert opening.model_file(Path("run")).name == "last.safetensors"


def test_a_recipe_is_handed_where_to_run_and_measures_its_last_model(photos, capsys, monkeypatch):
    handed = {}
    fit = Recipe.fit

    def note(self, data=None, **options):
        handed.update(options)
        return fit(self, data, **options)

    monkeypatch.setattr(Recipe, "fit", note)
    plain = replace(OPTIONS, model=None, batch_size=None, recipe="mnist_fast", limit=100)
    work.train(None, plain)
    assert (handed["device"], handed["precision"], handed["epochs"]) == ("cpu", "float32", 1)
    assert config().items() >= {"recipe": "mnist_fast", "data": "mnist", "precision": "float32"}.items()
    printed = capsys.readouterr().out
    assert "the last epoch" in printed
    assert "Test accuracy:" in printed
    with pytest.raises(UnknownNameError, match="--recipe came beside --model"):
        work.train(None, replace(plain, model="deepconvnet"))
