"""A search: what it draws, stops, records, keeps and goes on with."""

import math
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from lamina import layers, models, optimizers, tuner
from lamina.core.errors import LaminaError, ShapeError, UnknownNameError
from lamina.training import Callback

pytest.importorskip("optuna")

X = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
SPACE = {"lr": tuner.log_uniform(1e-3, 1e-1), "batch_size": tuner.choice(30, 60), "epochs": 2, "validation_split": 0.25}


def build(trial):
    model = models.Sequential(
        [layers.Dense(8, activation="relu", input_shape=(6,)), layers.Dropout(0.2), layers.Dense(2)]
    )
    model.compile(
        optimizers.Adam(trial["lr"]), "sparse_categorical_crossentropy", ["accuracy"], device="cpu", precision="float32"
    )
    return model


def search(make=build, space=SPACE, **options):
    options = {"data": (X, Y), "trials": 4, "monitor": "val_accuracy", "verbose": 0, **options}
    return tuner.search(make, space, **options)


def facts(study):
    return [(t.number, t.seed, dict(t), t.figures, t.outcome) for t in study.trials]


def test_the_best_trial_is_the_best_and_can_be_trained_again_to_the_same_figure():
    study = search()
    assert [trial.number for trial in study.trials] == [1, 2, 3, 4]
    assert study.best.figure == max(trial.figure for trial in study.trials)
    best = study.best
    assert 1e-3 <= best["lr"] <= 1e-1
    assert best["epochs"] == 2 == len(best.figures)
    torch.manual_seed(best.seed)
    model = build(best)
    names = ("batch_size", "epochs", "validation_split")
    history = model.fit(X, Y, verbose=0, seed=best.seed, **{name: best[name] for name in names}).history
    assert history["val_accuracy"] == list(best.figures)


def test_less_is_better_of_a_loss_and_the_callers_random_numbers_go_on_as_if_nothing_had_been():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    study = search(monitor="val_loss")
    assert torch.equal(torch.rand(3), wanted)
    assert study.best.figure == min(trial.figure for trial in study.trials)


def test_the_same_seed_gives_the_same_trials_and_another_others():
    assert facts(search(trials=3)) == facts(search(trials=3))
    assert facts(search(trials=3)) != facts(search(trials=3, seed=1))


class _Interrupt(Callback):
    def on_epoch_end(self, epoch, logs):
        raise KeyboardInterrupt


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path):
    whole = search(trials=4)
    done = []

    def until_third(trial):
        done.append(trial.number)
        model = build(trial)
        if trial.number == 3:
            fit = model.fit
            # The same signature, as search asks for it.
            model.fit = lambda x, y, batch_size, epochs, validation_split, callbacks, verbose, seed: fit(
                x, y, batch_size, epochs, verbose, [*callbacks, _Interrupt()], validation_split, seed=seed
            )
        return model

    path = tmp_path / "deep" / "study.db"
    part = search(until_third, storage=path)
    assert part.interrupted
    assert len(part.trials) == 2
    rest = search(storage=path)
    assert not rest.interrupted
    assert facts(rest) == facts(whole)
    assert facts(search(lambda trial: pytest.fail("it is finished"), storage=path)) == facts(whole)
    assert len(search(storage=path, trials=5).trials) == 5


def test_a_bad_trial_is_stopped_early_between_epochs():
    def worse_and_worse(trial):
        model = build(trial)
        if trial.number > 5:
            model.compile(optimizers.SGD(0.0), "sparse_categorical_crossentropy", ["accuracy"], device="cpu")
            with torch.no_grad():
                list(model.net.parameters())[-1].copy_(
                    torch.tensor([9.0, -9.0]) * (-1) ** int(Y[60:].float().mean() < 0.5)
                )
        return model

    study = search(worse_and_worse, trials=7, monitor="val_loss")
    assert [trial.outcome for trial in study.trials] == ["done"] * 5 + ["stopped early"] * 2
    assert study.trials[5].reason.startswith("Worse than the median after epoch 1 of 2")
    assert len(study.trials[5].figures) == 1


def test_a_trial_that_fails_is_recorded_with_the_reason_and_the_search_goes_on():
    def sometimes(trial):
        if trial.number == 1:
            model = build(trial)
            model.compile(optimizers.SGD(1e30), "mse", ["accuracy"], device="cpu", precision="float32")
            return model
        if trial.number == 2:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 3 TiB\nand a page of statistics")
        if trial.number == 3 and not too_large:
            too_large.append(trial["lr"])
            raise ShapeError("The kernel is larger than the picture.", "Smaller.", "Draw again.")
        return build(trial)

    too_large = []

    study = search(sometimes, data=(X, torch.nn.functional.one_hot(Y).float()), trials=2)
    assert [trial.outcome for trial in study.trials] == ["failed", "failed"]
    assert re.match(r"(val_)?loss was (nan|inf) after epoch 1\.", study.trials[0].reason)
    assert study.trials[1].reason == "OutOfMemoryError: out of memory: tried to allocate 3 TiB"
    with pytest.raises(LaminaError, match="No trial of this search was trained to its end"):
        study.best  # noqa: B018
    study = search(lambda trial: sometimes(trial) if trial.number == 3 else build(trial), trials=4)
    assert [trial.outcome for trial in study.trials] == ["done", "done", "impossible", "done", "done"]
    assert study.trials[2].reason == "The kernel is larger than the picture."
    assert math.isnan(study.trials[2].figure)
    assert [trial.number for trial in study.trials] == [1, 2, 3, 3, 4], "what cannot be built uses no number up"
    assert study.trials[3]["lr"] != too_large[0], "another was drawn"


def test_a_search_in_which_nothing_can_be_trained_ends_with_the_reason():
    def never(trial):
        raise RuntimeError("no kernel image")

    with pytest.raises(LaminaError, match=r"5 trials in a row were failed\. The last: RuntimeError: no kernel image"):
        search(never, trials=20)


def test_a_space_of_which_nothing_can_be_built_ends_with_the_reason(monkeypatch):
    monkeypatch.setattr(sys.modules[tuner.search.__module__], "_IMPOSSIBLE_IN_A_ROW", 5)

    def never(trial):
        raise ShapeError("A kernel of 7 x 7 px meets a picture of 2 x 2.", "", "")

    with pytest.raises(LaminaError, match=r"5 draws in a row could not be built\. The last: A kernel of 7 x 7"):
        search(never, trials=2)


def test_a_fault_of_the_code_is_not_hidden():
    with pytest.raises(NameError):
        search(lambda trial: nowhere)
    with pytest.raises(UnknownNameError, match=r"asked for 'rate'.*'lr'"):
        search(lambda trial: trial["rate"])
    with pytest.raises(LaminaError, match="build returned NoneType"):
        search(lambda trial: None)
    with pytest.raises(LaminaError, match=r"monitors 'val_f1', which is not logged\. Logged: .*val_loss"):
        search(monitor="val_f1")
    plain = {name: entry for name, entry in SPACE.items() if name != "validation_split"}
    with pytest.raises(LaminaError, match="Give search validation="):
        search(space=plain)
    assert search(space=plain, validation=(X[:30], Y[:30]), trials=1).best.figures


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(LaminaError, match="overfitted"):
        search(monitor="accuracy")
    with pytest.raises(LaminaError, match="'seed'"):
        search(space={**SPACE, "seed": 3})
    with pytest.raises(LaminaError, match="means the same in every trial"):
        search(space={**SPACE, "loss": tuner.choice("mse", "mae")}, monitor="val_loss")
    with pytest.raises(LaminaError, match="trials is 0"):
        search(trials=0)


def test_a_drawn_value_that_nobody_uses_is_named():
    with pytest.warns(UserWarning, match="draws 'momentum', which neither build nor fit has used"):
        search(space={**SPACE, "momentum": tuner.uniform(0.0, 0.9)}, trials=1)


def test_no_epoch_begins_after_the_time_is_up(tmp_path):
    def slow(trial):
        time.sleep(0.05)
        return build(trial)

    study = search(slow, timeout_s=0.3, trials=1000, storage=tmp_path / "s.db")
    assert len(study.trials) < 10
    assert {trial.outcome for trial in study.trials} <= {"done"}


WORKER = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import test_search as here
def build(trial):
    print(trial.number, flush=True)
    return here.build(trial)
here.search(build, trials=int(sys.argv[3]), storage=sys.argv[2], space={**here.SPACE, "epochs": int(sys.argv[4])})
"""


def worker(path, trials, epochs=2):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder = os.path.dirname(__file__)
    arguments = [sys.executable, "-c", WORKER, folder, str(path), str(trials), str(epochs)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_two_processes_share_a_study(tmp_path):
    path = tmp_path / "study.db"
    other = worker(path, 6)
    theirs, ours = [], []

    def beside(trial):
        ours.append(trial.number)
        if not theirs:
            theirs.append(int(other.stdout.readline()))  # so that both have a trial in hand
        return build(trial)

    study = search(beside, storage=path, trials=6)
    out, err = other.communicate(timeout=120)
    assert (other.returncode, err) == (0, "")
    theirs += map(int, out.split())
    assert sorted(ours + theirs) == list(range(1, 7)), "no trial was done twice or left out"
    assert {trial.outcome for trial in study.trials} <= {"done", "stopped early"}
    assert len({trial.seed for trial in study.trials}) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_trial_whose_process_was_killed_is_done_again(tmp_path):
    path = tmp_path / "study.db"
    process = worker(path, 2, epochs=10**6)
    assert process.stdout.readline() == "1\n"
    time.sleep(0.2)
    space = {**SPACE, "epochs": 10**6}
    with pytest.raises(LaminaError, match="of another search"):
        search(storage=path, trials=2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    began = []

    def short(trial):
        began.append(trial.number)
        raise KeyboardInterrupt

    assert search(short, space, storage=path, trials=2).interrupted
    assert began == [1]
