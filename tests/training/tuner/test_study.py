"""A study: its file, and what it tells of its trials."""

import csv
import io
import multiprocessing
import os
import sqlite3
import sys
import warnings

import pytest
from rich.console import Console

from lamina import tuner
from lamina.core.errors import FileFormatError, LaminaError, MissingExtraError
from lamina.training.tuner import file as study_file
from lamina.training.tuner import space as spaces
from lamina.training.tuner import study as studies

optuna = pytest.importorskip("optuna")

SPACE = {"lr": tuner.log_uniform(1e-3, 1e-1), "kind": tuner.choice("a", "b"), "epochs": 3}


def opened(path=None, space=SPACE, *, monitor="val_accuracy", seed=0):
    return studies.open_study(space, monitor=monitor, more_is_better="acc" in monitor, seed=seed, storage=path)


def filled(path=None, count=12):
    """A study of made-up figures: the larger lr, the better; the second was stopped, the third failed."""
    study = opened(path)
    for number in range(1, count + 1):
        trial = study.optuna.ask()
        values = spaces.draw(SPACE, trial)
        outcome = {2: "stopped early", 3: "failed"}.get(number, "done")
        for name, value in {"slot": number, "seed": 7, "outcome": outcome, "reason": "Why." * (number == 3)}.items():
            trial.set_user_attr(name, value)
        if number == 3:
            study.optuna.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        trial.report(values["lr"] / 2, 0)
        trial.report(values["lr"], 1)
        state = optuna.trial.TrialState.PRUNED if number == 2 else None
        study.optuna.tell(trial, None if number == 2 else values["lr"], state=state)
    return study


def test_a_study_ranks_tells_and_writes_its_trials(tmp_path):
    study = filled()
    best = study.best
    assert best["lr"] == best.figure == max(trial.figure for trial in study.trials if trial.outcome == "done")
    assert [trial.outcome for trial in study.ranked()[-2:]] == ["stopped early", "failed"]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(study.table(3))
    assert "val_accuracy" in console.export_text()
    assert repr(study) == "<Study of val_accuracy: 10 done, 1 stopped early, 1 failed>"
    assert repr(best).startswith(f"<Trial {best.number}, done, ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares = study.importance()
    assert set(shares) == {"lr", "kind"}
    assert next(iter(shares)) == "lr"
    names = {path.name for path in study.save(tmp_path / "out")}
    assert names == {"trials.csv", "slices.png", "importance.png"}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/trials.csv").read_text(encoding="utf-8"))))
    assert float(rows[0]["val_accuracy"]) == study.trials[0].figure
    assert rows[2]["reason"] == "Why."


def test_importance_of_a_few_trials_is_not_told(tmp_path):
    assert filled(count=6).importance() == {}
    assert opened().save(tmp_path) == [tmp_path / "trials.csv"]


def test_a_study_in_a_file_is_found_again(tmp_path):
    filled(tmp_path / "s.db", count=4)
    assert [trial.number for trial in opened(tmp_path / "s.db").trials] == [1, 2, 3, 4]


@pytest.mark.skipif(sys.platform == "win32", reason="no such modes")
def test_a_study_may_be_read_by_whom_the_umask_lets_read(tmp_path):
    before = os.umask(0o027)
    try:
        opened(tmp_path / "s.db")
    finally:
        os.umask(before)
    assert (tmp_path / "s.db").stat().st_mode & 0o777 == 0o640


def test_a_study_of_another_search_is_refused_with_the_differences(tmp_path):
    path = tmp_path / "s.db"
    opened(path)
    other = {"lr": tuner.log_uniform(1e-3, 1.0), "kind": SPACE["kind"], "width": 8}
    with pytest.raises(LaminaError) as caught:
        opened(path, other, seed=1)
    text = str(caught.value)
    assert "seed: 0 in the file, 1 now" in text
    assert "space lr: log_uniform(0.001, 0.1) in the file, log_uniform(0.001, 1.0) now" in text
    assert "space epochs: 3 in the file, not there now" in text
    assert "space width: not there in the file, 8 now" in text
    assert "kind" not in text


@pytest.mark.parametrize("kind", ["text", "other tables", "other study", "folder"])
def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path, kind):
    path = tmp_path / "s.db"
    if kind == "text":
        path.write_text("notes that somebody wrote")
    elif kind == "other tables":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE photos (id INTEGER)")
        connection.commit()
        connection.close()
    elif kind == "other study":
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        optuna.create_study(storage=study_file.opened(path), study_name="mine")
    else:
        path.mkdir()
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(FileFormatError, match="A study that lamina's tuner wrote, or a new file, was expected"):
        opened(path)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_study_that_another_program_keeps_locked_is_named_as_in_use(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    opened(path)
    monkeypatch.setattr(study_file, "PATIENCE_S", 0.2)
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(LaminaError, match="is in use: another program has kept it locked"):
            opened(path)
    finally:
        other.rollback()
        other.close()
    assert opened(path).trials == ()


def test_a_study_whose_disk_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LaminaError, match="cannot be made"):
        opened(tmp_path / "file" / "s.db")


def test_an_empty_file_becomes_a_study(tmp_path):
    (tmp_path / "s.db").touch()
    assert opened(tmp_path / "s.db").trials == ()
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]


def test_a_trial_that_is_run_on_another_machine_is_left_alone(tmp_path):
    study = opened(tmp_path / "s.db")
    for process in ("elsewhere:1", studies.this_process()):
        study.optuna.ask().set_user_attr("process", process)
    studies.release_dead(study)
    assert [trial.state.name for trial in study.optuna.trials] == ["RUNNING", "RUNNING"]
    ended = multiprocessing.get_context("spawn").Process()
    ended.start()
    ended.join()
    study.optuna.ask().set_user_attr("process", f"{studies.this_process().split(':')[0]}:{ended.pid}")
    studies.release_dead(study)
    assert [trial.state.name for trial in study.optuna.trials] == ["RUNNING", "RUNNING", "FAIL"]


def test_without_optuna_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lamina\[tune\]"'):
        tuner.search(lambda trial: None, SPACE, data=None)
