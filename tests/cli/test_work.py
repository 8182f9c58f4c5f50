"""What the commands do: which pictures and which model they measure, and what a run remembers."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

import lamina
from lamina.cli import opening, summaries, work
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
    model="fastconvnet", epochs=1, batch_size=8, output=Path("run"), device="cpu", precision="float32"
)


def config(run="run"):
    return yaml.safe_load((Path(run) / "config.yaml").read_text())


def test_a_balanced_run_tells_its_balanced_accuracy_first(photos, capsys):
    for number in range(4, 20):
        (photos / "light" / f"{number}.png").unlink()
    work.train("photos", replace(OPTIONS, balance="weights"))
    printed = capsys.readouterr().out
    told = r"^Validation balanced accuracy: ([\d.]+) % \(accuracy ([\d.]+) %\) of \d+ pictures$"
    balanced, plain = map(float, re.search(told, printed, re.MULTILINE).groups())
    figures = work.evaluate(Path("run"), None, split=None, format=None, model=None)
    assert 100 * figures["accuracy"] == pytest.approx(plain, abs=0.01)
    assert 0 <= balanced <= 100


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
    wanted = {"data": str(photos), "format": "image_folder", "limit": 30, "model": "fastconvnet"}
    assert config().items() >= wanted.items()
    assert "recipe" not in config()
    monkeypatch.setattr(lamina.Classifier, "fit", fit)
    work.train("photos", replace(OPTIONS, limit=30, format="image_folder", resume=True, epochs=2))
    assert config().items() >= {**wanted, "epochs": 2}.items()
    Path("run/report.html").unlink()
    assert work.report(Path("run"), None, format=None).exists()


def test_a_run_that_becomes_nan_fails_and_says_where(photos):
    options = ["--model", "fastconvnet", "--batch-size", "8", "--lr", "1e30", "--optimizer", "sgd", "--epochs", "3"]
    ran = CliRunner().invoke(app, ["train", "photos", *options, "--precision", "float32", "--output", "run"])
    assert ran.exit_code == 1
    assert isinstance(ran.exception, LaminaError)
    assert re.search(
        r"The loss became (nan|inf) in epoch 1, first in its batch \d\. .*learning rate is 1e\+30", str(ran.exception)
    )


def test_a_run_that_names_no_data_is_told_to(photos):
    lamina.Classifier("fastconvnet").fit(photos, run="run", verbose=0)
    with pytest.raises(DataError, match=r"names no data.*lamina report run DATA"):
        work.report(Path("run"), None, format=None)
    assert work.report(Path("run"), "photos", format=None).exists()


def test_a_torch_module_of_a_file_is_opened_again_by_its_function(photos, capsys):
    Path("mine.py").write_text(PLAIN)
    work.train("photos", replace(OPTIONS, model="mine.py:small"))
    assert config()["model"] == f"{Path('mine.py').absolute()}:small"
    in_run = work.evaluate(Path("run"), "photos", split=None, format=None, model=None)
    bare = Path("run/last.safetensors")
    with pytest.raises(FileFormatError, match=r"--model FILE\.py:function"):
        work.evaluate(bare, "photos", split=None, format=None, model=None)
    given = work.evaluate(bare, "photos", split=None, format=None, model="mine.py:small")
    assert given == in_run
    assert len(list(work.predict(bare, [photos / "dark"], model="mine.py:small"))) == 20
    assert len(list(work.predict(Path("run"), [photos / "dark"], model=None))) == 20
    assert "mine.py:small" in Path("run/config.yaml").read_text()
    assert work.report(Path("run"), None, format=None).exists()
    assert summaries.summary("mine.py:small", "1,32,32").to_dict()
    with pytest.raises(LaminaError, match="gave 3, of the type int"):
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
    runtime = handed["runtime"]
    assert (str(runtime.device), runtime.precision, handed["epochs"]) == ("cpu", "float32", 1)
    assert config().items() >= {"recipe": "mnist_fast", "data": "mnist", "precision": "float32"}.items()
    printed = capsys.readouterr().out
    assert "the last epoch" in printed
    assert "Test accuracy:" in printed
    with pytest.raises(UnknownNameError, match="--recipe came beside --model"):
        work.train(None, replace(plain, model="deepconvnet"))


def test_a_run_is_reported_on_and_goes_on_from_another_working_directory(photos, tmp_path, monkeypatch):
    Path("mine.py").write_text(PLAIN)
    work.train("photos", replace(OPTIONS, model="mine.py:small", size="24x20", limit=30))
    remembered = {"data": str(photos), "model": f"{tmp_path / 'mine.py'}:small", "size": "24x20", "limit": 30}
    assert config().items() >= remembered.items()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = tmp_path / "run"
    text = work.report(run, None, format=None).read_text()
    assert "on photos (validation)" in text
    assert opening.open_model(run).preprocess.size == (24, 20)
    assert work.evaluate(run, "../photos", split=None, format=None, model=None)["held_out"]
    again = replace(OPTIONS, output=run, resume=True, epochs=2)
    given = {"output", "resume", "epochs"}
    work.train(*work.as_begun(None, again, given=given))
    assert config(run).items() >= {**remembered, "epochs": 2}.items()
    with pytest.raises(UnknownNameError, match=r"has size '24x20', and '32' came"):
        work.train(*work.as_begun(None, replace(again, size="32"), given={*given, "size"}))


def test_a_size_is_taken_and_one_that_the_network_contradicts_is_refused(photos):
    Path("around.py").write_text(
        "from lamina import layers, models\n"
        "def fixed(num_classes):\n"
        "    return models.Sequential([layers.Flatten(input_shape=(3, 16, 16)), layers.Dense(num_classes)])\n"
    )
    work.train("photos", replace(OPTIONS, model="around.py:fixed"))
    preprocess = opening.open_model(Path("run")).preprocess
    assert (preprocess.channels, preprocess.size) == (3, (16, 16))
    with pytest.raises(LaminaError, match=r"size 32x32 came.*16x16"):
        work.train("photos", replace(OPTIONS, model="around.py:fixed", size="32", output=Path("other")))
    for wrong in ("big", "32x", "0", "3x4x5", "-3"):
        with pytest.raises(UnknownNameError, match=r"is no size.*96x128"):
            work.train("photos", replace(OPTIONS, size=wrong, output=Path("other")))
    assert not Path("other").exists()


def test_pictures_that_cannot_be_read_are_named_and_the_others_answered(photos):
    lamina.Classifier("fastconvnet").fit("photos", run="run", verbose=0)
    good = [str(photos / "dark" / "1.png"), str(photos / "light" / "2.png")]
    Path("broken.png").write_bytes(Path(good[0]).read_bytes()[:80])
    Path("empty").mkdir()
    asked = [good[0], "broken.png", "gone.png", "empty", good[1]]
    ran = CliRunner().invoke(app, ["predict", "run", *asked])
    assert ran.exit_code == 1
    assert [line.split(": ")[0] for line in ran.stdout.splitlines() if line.startswith("/")] == good
    assert [name for name in asked if name in ran.stderr] == ["broken.png", "gone.png", "empty"]
    ran = CliRunner().invoke(app, ["predict", "run", *asked, "--json"])
    assert ran.exit_code == 1
    entries = json.loads(ran.stdout)
    assert [entry["path"] for entry in entries] == asked
    assert [sorted(entry) for entry in entries if "error" in entry] == [["error", "path"]] * 3
    ran = CliRunner().invoke(app, ["predict", "run", "https://example.org/a.png"])
    assert (ran.exit_code, "https://example.org/a.png is an address" in ran.stderr) == (1, True)
    assert CliRunner().invoke(app, ["predict", "run", *good]).exit_code == 0
    answers = list(work.predict(Path("run"), [photos], model=None))
    assert len(answers) == 40
    assert all(source == answer.path for source, answer in answers)


def test_the_report_names_the_files_of_mistakes(photos):
    work.train("photos", OPTIONS)
    classifier = opening.open_model(Path("run"))
    with torch.no_grad():
        for parameter in classifier.net.parameters():
            parameter.zero_()
    text = work.report(Path("run"), None, format=None, classifier=classifier).read_text()
    held = classifier.measured(photos)[1]
    wrong = [path for path, label in zip(held.paths, held.labels.tolist(), strict=True) if label != 0]
    assert wrong
    assert all(f'<span title="{path}">{path.name}</span>' in text for path in wrong)


def test_a_run_is_evaluated_on_its_own_data_where_nobody_names_other(photos, tmp_path, monkeypatch):
    work.train("photos", OPTIONS)
    given = work.evaluate(Path("run"), "photos", split=None, format=None, model=None)
    monkeypatch.chdir(tmp_path / "photos")
    for path in ("run", "run/last.safetensors"):
        own = work.evaluate(tmp_path / path, None, split=None, format=None, model=None)
        assert own.items() >= {"split": "validation", "held_out": True, "pictures": 4}.items()
    assert own["accuracy"] == given["accuracy"]
    (tmp_path / "run" / "last.safetensors").rename(tmp_path / "bare.safetensors")
    with pytest.raises(UnknownNameError, match=r"evaluate came without DATA, and .*bare\.safetensors lies in no run"):
        work.evaluate(tmp_path / "bare.safetensors", None, split=None, format=None, model=None)


def test_a_folder_without_parts_is_all_pictures(photos, tmp_path):
    work.train("photos", OPTIONS)
    (tmp_path / "photos").rename(tmp_path / "others")
    (tmp_path / "others" / "dark" / "1.png").unlink()
    text = CliRunner().invoke(app, ["evaluate", "run", "others"]).stdout
    assert text.splitlines()[0] == "split        all pictures: 39"
    assert "(all pictures)" in work.report(Path("run"), "others", format=None).read_text()


def test_augmentations_are_named_kept_in_the_config_and_taken_again_by_resume(photos, monkeypatch):
    began = [
        "train",
        "photos",
        "--model",
        "fastconvnet",
        "--batch-size",
        "8",
        "--epochs",
        "1",
        "--augment",
        "flip,crop",
    ]
    ran = CliRunner().invoke(app, [*began, "--output", "run"])
    assert ran.exit_code == 0, ran.output
    assert config()["asked"]["augment"] == "flip,crop"
    assert config()["augment"] == "['flip', 'crop']"
    ran = CliRunner().invoke(app, ["train", "--resume", "--output", "run", "--epochs", "2"])
    assert ran.exit_code == 0, ran.output
    assert len(Path("run/results.csv").read_text().splitlines()) == 3
    ran = CliRunner().invoke(app, ["train", "--resume", "--output", "run", "--epochs", "3", "--augment", "flip"])
    assert "augment was ['flip', 'crop'], and ['flip'] came" in str(ran.exception)


def test_a_limit_below_the_number_of_classes_is_refused(photos):
    with pytest.raises(UnknownNameError, match=r"--limit 1 came, and photos has 2 classes.*Use --limit 20"):
        work.train("photos", replace(OPTIONS, limit=1))
    assert not Path("run").exists()


def test_the_version_is_told():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"lamina {lamina.__version__}\n"


def test_a_picture_that_cannot_be_read_is_told_once(photos, recwarn):
    broken = photos / "dark" / "0.png"
    broken.write_bytes(broken.read_bytes()[:80])
    work.train("photos", OPTIONS)
    told = [str(warning.message) for warning in recwarn]
    assert sum("cannot be read" in text for text in told) == 1
    assert not any("left out" in text for text in told)


def test_a_run_that_python_began_is_told_to_name_its_data(photos):
    lamina.Classifier("fastconvnet").fit("photos", run="begun", verbose=0)
    with pytest.raises(DataError, match=r"one that Python began does not.*lamina evaluate begun DATA"):
        work.evaluate(Path("begun"), None, split=None, format=None, model=None)
    assert "A run of `lamina train` has its own" in re.sub(
        r"\s+", " ", CliRunner().invoke(app, ["evaluate", "--help"]).stdout
    )


def test_other_sources_of_networks_are_told_beside_the_names():
    for words in (["train", "--help"], ["find-lr", "--help"], ["models"], ["summary", "--help"]):
        told = re.sub(r"\s+", " ", CliRunner().invoke(app, words).stdout)
        assert "timm/NAME" in told
        assert "FILE.py:NAME" in told
