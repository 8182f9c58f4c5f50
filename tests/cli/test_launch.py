"""One command line, several processes."""

import os
import subprocess
import sys
import time

import pytest

from lamina.cli import launch

NET = """
import os, signal, sys, time
from torch import nn

class Net(nn.Sequential):
    steps = 0

    def forward(self, x):
        if self.training and os.environ.get("LOCAL_RANK") == "1":
            Net.steps += 1
            if Net.steps == 10 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                if os.environ["HOW"] == "dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                if os.environ["HOW"] == "fails":
                    print(f"at {time.time()}", file=sys.stderr)
                    raise RuntimeError("The last straw.")
        return super().forward(x)

def net():
    return Net(nn.Flatten(), nn.Linear(784, 10))
"""


def lamina(folder, *words, how="works"):
    (folder / "net.py").write_text(NET, encoding="utf-8")
    command = ["train", "mnist", "--limit", "500", "--epochs", "4", "--model", "net.py:net", "-o", "run", *words]
    environment = {**os.environ, "HOW": how, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "lamina", *command, "--device", "cpu", "--precision", "float32"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_more_devices_than_there_are_are_refused_in_three_parts(monkeypatch):
    monkeypatch.setattr(launch, "_devices", lambda device: ("cuda", 4))
    with pytest.raises(ValueError, match=r"--devices 5 came.* has 4 cuda devices\. Each .* Pass --devices 4 or fewer"):
        launch.start(5, "auto")
    monkeypatch.setattr(launch, "_devices", lambda device: ("cpu", 2))
    monkeypatch.setattr(launch, "_cores", lambda: 1)
    with pytest.raises(ValueError, match=r"has 1 processor core, .* Pass --devices 2 or 1, or leave it out"):
        launch.start(99, "cpu")


def test_a_number_of_devices_that_torchrun_does_not_start_is_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"--devices 2 came under a torchrun that starts 4"):
        launch.join("cpu", 2)


def test_a_process_that_nobody_started_beside_others_joins_nobody(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert launch.join("cpu", None) is False
    assert launch.recorded(print) is print


@pytest.mark.slow
def test_two_devices_train_one_run_and_one_of_them_reports(tmp_path):
    ran = lamina(tmp_path, "--devices", "2")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("epoch 4/4") == 1
    assert ran.stdout.count("Test accuracy") == 1
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 5
    again = lamina(tmp_path, "--devices", "2")
    assert again.returncode == 1
    assert again.stderr.count("already holds a run") == 1  # of both processes the first cause, without a traceback
    assert "Traceback" not in again.stderr


@pytest.mark.slow
def test_a_run_that_loses_a_process_is_started_again_and_ends_as_if_it_had_not(tmp_path):
    curves = []
    for how in ("works", "dies"):
        folder = tmp_path / how
        folder.mkdir()
        ran = lamina(folder, "--devices", "2", "--max-restarts", "1", how=how)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("Data: ") == (2 if how == "dies" else 1)
        curves.append((folder / "run" / "results.csv").read_text())
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_what_one_process_fails_of_ends_all_within_30_seconds_and_is_told_once(tmp_path):
    ran = lamina(tmp_path, "--devices", "2", how="fails")
    ended = time.time()
    assert ran.returncode == 1
    began = next(float(line.split()[1]) for line in ran.stderr.splitlines() if line.startswith("at "))
    assert ended - began < 30
    assert ran.stderr.count("RuntimeError: The last straw.") == 1
    assert ran.stderr.count("Traceback") == 1
    assert "process 1 of 2, samples " in ran.stderr


@pytest.mark.slow
def test_a_network_spread_over_two_processes_goes_on_in_two_and_in_one(tmp_path):
    spread = lamina(tmp_path, "--devices", "2", "--shard", "--sync-batchnorm")
    assert spread.returncode == 0, spread.stderr
    for words in (["--devices", "2", "--epochs", "5"], ["--epochs", "6"]):
        ran = lamina(tmp_path, "--resume", *words)
        assert ran.returncode == 0, ran.stderr
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 7
