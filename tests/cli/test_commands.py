"""The command line, as a person types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image


def lamina(*arguments, cwd, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "lamina", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A quick training run on a few real digits."""
    folder = tmp_path_factory.mktemp("cli")
    done = lamina(
        "train", "mnist", "--model", "fastconvnet", "--limit", 2000, "--epochs", 2, "--output", "runs/quick", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_train_prints_a_line_an_epoch_the_accuracy_and_the_report(run):
    folder, done = run
    lines = done.stdout.splitlines()
    assert any(line.startswith("epoch 2/2") and "images/s" in line and "val_accuracy" in line for line in lines)
    accuracy = next(line for line in lines if line.startswith("Test accuracy:"))
    assert float(accuracy.split()[2]) > 80
    assert accuracy.split()[3] == "%"
    assert lines[-1] == "runs/quick/report.html"
    assert (folder / "runs/quick/report.html").stat().st_size > 10_000
    names = {path.name for path in (folder / "runs/quick").iterdir()}
    assert names >= {"config.yaml", "results.csv", "best.safetensors", "last.safetensors", "report.html"}


def test_evaluate_predict_and_summary_print_json(run, tmp_path):
    folder, _ = run
    figures = json.loads(lamina("evaluate", "runs/quick", "mnist", "--json", cwd=folder).stdout)
    assert figures["accuracy"] > 0.8

    from lamina import data

    digit = data.load("mnist").test.images[0, 0].numpy()
    Image.fromarray(digit).save(tmp_path / "seven.png")
    done = lamina("predict", "runs/quick/best.safetensors", tmp_path / "seven.png", "--json", cwd=folder)
    (result,) = json.loads(done.stdout)
    assert result["path"].endswith("seven.png")
    assert len(result["top"]) == 5
    shown = lamina("predict", "runs/quick", tmp_path / "seven.png", cwd=folder).stdout
    assert "seven.png: " in shown
    assert len(shown.splitlines()) == 1

    table = json.loads(lamina("summary", "runs/quick", "--json", cwd=folder).stdout)
    assert "62290" in json.dumps(table)
    assert "62,290" in lamina("summary", "fastconvnet", cwd=folder).stdout


def test_report_is_made_again_from_a_run(run):
    folder, _ = run
    (folder / "runs/quick/report.html").unlink()
    done = lamina("report", "runs/quick", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs/quick/report.html").exists()


def test_a_model_may_be_a_function_of_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from lamina import layers, models\n"
        "def small(num_classes):\n"
        "    return models.Sequential([layers.Flatten(input_shape=(1, 28, 28)), layers.Dense(num_classes)])\n"
    )
    done = lamina("train", "mnist", "--model", "mine.py:small", "--limit", 300, "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    evaluated = lamina("evaluate", "runs/train", "mnist", cwd=tmp_path)  # opening it needs no mine.py
    assert "accuracy" in evaluated.stdout
    unknown = lamina("train", "mnist", "--model", "mine.py:smal", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "small" in unknown.stderr


def test_trains_on_a_folder_of_pictures_without_a_test_split(tmp_path):
    rng = np.random.default_rng(0)
    for index, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = (rng.random((32, 32)) * 100 + index * 120).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    done = lamina("train", "photos", "--model", "fastconvnet", "--epochs", 2, "--batch-size", 4, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 classes" in done.stdout
    accuracy = next(line for line in done.stdout.splitlines() if line.startswith("Validation accuracy:"))
    assert accuracy.endswith("% of 2 pictures")  # a tenth of 24, and none of those that it was trained on


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train", "mnits"], 2, "'mnist'"),
        (["train", "mnist", "--model", "deepconvet"], 2, "'deepconvnet'"),
        (["train", "mnist", "--optimizer", "adamm"], 2, "'adam'"),
        (["train", "mnist", "--recipe", "mnist_fats"], 2, "'mnist_fast'"),
        (["train", "mnist", "--epochs", "0"], 2, "--epochs"),
        (["train", "--recipe", "mnist_fast", "--lr", "1", "--batch-size", "8"], 2, "--batch-size, --lr"),
        (
            ["train", "--recipe", "mnist_fast", "--optimizer", "sgd", "--model", "deepconvnet"],
            2,
            "--model, --optimizer",
        ),
        (["train"], 2, "lamina train mnist"),
        (["evaluate", "nowhere.safetensors", "mnist"], 1, "There is no file"),
        (["predict", "nowhere", "x.png"], 1, "There is no file"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_wrong_arguments_print_a_message_and_no_traceback(tmp_path, arguments, code, says):
    done = lamina(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_existing_run_is_not_written_over(run):
    folder, _ = run
    again = lamina("train", "mnist", "--limit", 300, "--epochs", 1, "--output", "runs/quick", cwd=folder)
    assert again.returncode == 1
    assert "--resume" in again.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")
def test_ctrl_c_saves_the_run_and_resume_finishes_it(tmp_path):
    command = ["train", "mnist", "--model", "fastconvnet", "--limit", "3000", "--epochs", "40", "--output", "runs/cut"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lamina", *command],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.time() + 200
    while not (tmp_path / "runs/cut/last.ckpt").exists() and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    told = r"Stopped by Ctrl-C (after|in) epoch \d+ of 40.*\nThe run is saved in runs/cut\. "
    assert re.fullmatch(told + r"It goes on with: lamina train --resume --output runs/cut\n", errors)
    assert "data: mnist" in (tmp_path / "runs/cut/config.yaml").read_text()
    rows = (tmp_path / "runs/cut/results.csv").read_text().splitlines()
    done = len(rows) - 1
    assert 1 <= done < 40
    command[command.index("40")] = str(done + 1)
    resumed = lamina(*command, "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "runs/cut/results.csv").read_text().splitlines()[: done + 1] == rows


def test_help_does_not_wait_for_torch(tmp_path):
    code = "import sys; sys.argv = ['lamina', '--help']\nfrom lamina.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_env_models_and_datasets_answer(tmp_path):
    assert "torch" in json.loads(lamina("env", "--json", cwd=tmp_path).stdout)
    shown = lamina("models", cwd=tmp_path).stdout
    assert "deepconvnet" in shown
    assert "mnist_fast" in shown
    assert "mnist" in lamina("datasets", cwd=tmp_path).stdout
