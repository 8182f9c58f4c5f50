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


def test_evaluate_predict_and_summary_print_json(run, tmp_path, typed_in):
    typed = typed_in(run[0])
    figures = json.loads(typed("evaluate", "runs/quick", "mnist", "--json")[1])
    assert figures["accuracy"] > 0.8

    from lamina import data

    digit = data.load("mnist").test.images[0, 0].numpy()
    Image.fromarray(digit).save(tmp_path / "seven.png")
    (result,) = json.loads(typed("predict", "runs/quick/best.safetensors", tmp_path / "seven.png", "--json")[1])
    assert result["path"].endswith("seven.png")
    assert len(result["top"]) == 5
    shown = typed("predict", "runs/quick", tmp_path / "seven.png")[1]
    assert "seven.png: " in shown
    assert len(shown.splitlines()) == 1

    table = json.loads(typed("summary", "runs/quick", "--json")[1])
    assert "62290" in json.dumps(table)
    assert "62,290" in typed("summary", "fastconvnet")[1]


def test_report_is_made_again_from_a_run(run, typed_in):
    folder, _ = run
    (folder / "runs/quick/report.html").unlink()
    code, _, errors = typed_in(folder)("report", "runs/quick")
    assert code == 0, errors
    assert (folder / "runs/quick/report.html").exists()


def test_a_model_may_be_a_function_of_a_file(tmp_path, typed_in):
    typed = typed_in(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from lamina import layers, models\n"
        "def small(num_classes):\n"
        "    return models.Sequential([layers.Flatten(input_shape=(1, 28, 28)), layers.Dense(num_classes)])\n"
    )
    code, _, errors = typed("train", "mnist", "--model", "mine.py:small", "--limit", 300, "--epochs", 1)
    assert code == 0, errors
    assert "accuracy" in typed("evaluate", "runs/train", "mnist")[1]  # opening it needs no mine.py
    code, _, errors = typed("train", "mnist", "--model", "mine.py:smal")
    assert code == 2
    assert "small" in errors


def test_trains_on_a_folder_of_pictures_without_a_test_split(tmp_path, typed_in):
    rng = np.random.default_rng(0)
    for index, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = (rng.random((32, 32)) * 100 + index * 120).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    options = ["--model", "fastconvnet", "--epochs", 2, "--batch-size", 4]
    code, shown, errors = typed_in(tmp_path)("train", "photos", *options)
    assert code == 0, errors
    assert "2 classes" in shown
    accuracy = next(line for line in shown.splitlines() if line.startswith("Validation accuracy:"))
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
def test_wrong_arguments_print_a_message(tmp_path, typed_in, arguments, code, says):
    ended, _, errors = typed_in(tmp_path)(*arguments)
    assert ended == code, errors
    assert says in errors


def test_a_wrong_argument_ends_a_process_without_a_traceback(tmp_path):
    done = lamina("train", "mnits", cwd=tmp_path)
    assert done.returncode == 2
    assert "'mnist'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_existing_run_is_not_written_over(run, typed_in):
    options = ["--limit", 300, "--epochs", 1, "--output", "runs/quick"]
    code, _, errors = typed_in(run[0])("train", "mnist", *options)
    assert code == 1
    assert "--resume" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")
def test_ctrl_c_saves_the_run_and_resume_finishes_it(tmp_path):
    command = ["train", "mnist", "--model", "fastconvnet", "--limit", "1000", "--epochs", "400", "--output", "runs/cut"]
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
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    told = r"Stopped by Ctrl-C (after|in) epoch \d+ of 400.*\nThe run is saved in runs/cut\. "
    assert re.fullmatch(told + r"It goes on with: lamina train --resume --output runs/cut\n", errors)
    assert "data: mnist" in (tmp_path / "runs/cut/config.yaml").read_text()
    rows = (tmp_path / "runs/cut/results.csv").read_text().splitlines()
    done = len(rows) - 1
    assert 1 <= done < 400
    command[command.index("400")] = str(done + 1)
    resumed = lamina(*command, "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "runs/cut/results.csv").read_text().splitlines()[: done + 1] == rows


def test_help_does_not_wait_for_torch(tmp_path):
    code = "import sys; sys.argv = ['lamina', '--help']\nfrom lamina.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_env_models_and_datasets_answer(tmp_path, typed_in):
    typed = typed_in(tmp_path)
    assert "torch" in json.loads(typed("env", "--json")[1])
    shown = typed("models")[1]
    assert "deepconvnet" in shown
    assert "mnist_fast" in shown
    assert "mnist" in typed("datasets")[1]
