"""A run on disk cannot be lost: damage, kills, full disks, and writing beside training."""

import os
import signal
import sys
import threading
import time

import pytest
import torch

from lamina import callbacks, layers, models
from lamina.core import sealed
from lamina.core.errors import LaminaError
from lamina.models import model as model_module
from lamina.training import Callback, Interrupted, RunFolder
from lamina.training import state as state_file

X = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = (X.mean(dim=(1, 2, 3)) > 0.5).long()


def small_model():
    torch.manual_seed(0)
    model = models.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(1, 8, 8)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


class PressCtrlC(Callback):
    def __init__(self, epoch, batch):
        self.at = (epoch, batch)

    def on_train_batch_end(self, batch, logs):
        if (self.loop.epoch, batch) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


class Unhurried(Callback):
    """Waits at each step until what was taken before it is written."""

    def on_train_batch_end(self, batch, logs):
        for thread in threading.enumerate():
            if thread.name == "lamina writer":
                thread.join()


class Fail(Callback):
    """Ends training after a step, as a fault in the data would: nothing is saved then."""

    def __init__(self, epoch, batch):
        self.at = (epoch, batch)

    def on_train_batch_end(self, batch, logs):
        if (self.loop.epoch, batch) == self.at:
            raise ZeroDivisionError


@pytest.fixture
def folders(monkeypatch):
    """Gives every run arguments that fit does not have."""

    def give(**options):
        monkeypatch.setattr(model_module, "RunFolder", lambda *args, **given: RunFolder(*args, **given | options))

    return give


def equal(one, other):
    states = one.net.state_dict(), other.net.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def fit(model, run, **options):
    options = {"epochs": 3, "batch_size": 8, "validation_data": (X[:10], Y[:10]), "verbose": 0} | options
    return model.fit(X, Y, run=run, **options)


# What cannot be lost --------------------------------------------------------------------------------------------------


def cut_short(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def flip_a_bit(path, share):
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 16
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.999])
def test_of_a_damaged_checkpoint_the_one_before_is_used_and_said(tmp_path, damage, share):
    whole, resumed, run = small_model(), small_model(), tmp_path / "run"
    fit(whole, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(small_model(), run, callbacks=[PressCtrlC(1, 2)])
    damage(run / "last.ckpt", share)
    with pytest.warns(UserWarning, match=r"last\.ckpt cannot be read.*previous\.ckpt, after step 5 \(epoch 1\)"):
        fit(resumed, run, resume=True)
    assert equal(resumed, whole)
    assert (run / "results.csv").read_text() == (tmp_path / "whole" / "results.csv").read_text()


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one(tmp_path, folders):
    run = tmp_path / "run"
    fit(small_model(), run, epochs=2)
    kept = (run / "previous.ckpt").read_bytes()
    cut_short(run / "last.ckpt", 0.5)
    folders(every_steps=1)
    with pytest.warns(UserWarning, match="goes on from the checkpoint before"), pytest.raises(ZeroDivisionError):
        fit(small_model(), run, resume=True, callbacks=[Fail(1, 1)])
    assert (run / "previous.ckpt").read_bytes() == kept
    assert state_file.read(run / "last.ckpt")["loop"]["position"]["steps_done"] == 6


def test_where_both_are_damaged_the_run_is_refused_and_untouched(tmp_path):
    run = tmp_path / "run"
    fit(small_model(), run, epochs=2)
    for name in ("last.ckpt", "previous.ckpt"):
        cut_short(run / name, 0.5)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    both = (
        r"Both checkpoints .*last\.ckpt cannot be read.*previous\.ckpt cannot be read.*Restore one .*last\.safetensors"
    )
    with pytest.raises(LaminaError, match=both):
        fit(small_model(), run, epochs=3, resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_checkpoint_of_a_later_version_is_no_damage(tmp_path):
    run = tmp_path / "run"
    fit(small_model(), run, epochs=2)
    sealed.write(run / "last.ckpt", {}, {"format": state_file.FORMAT, "version": "2"})
    with pytest.raises(LaminaError, match=r"format version 2.*Update lamina"):
        fit(small_model(), run, epochs=3, resume=True)


def test_a_checkpoint_is_safetensors_and_json_and_no_model(tmp_path):
    fit(small_model(), tmp_path, epochs=1)
    data = (tmp_path / "last.ckpt").read_bytes()
    assert sealed.header_of(data)["format"] == "lamina checkpoint"
    assert "loop/networks/net/conv2d.weight" in sealed.tensors_of(data)
    with pytest.raises(LaminaError, match=r"is a checkpoint.*best\.safetensors"):
        models.file.read(tmp_path / "last.ckpt")


def test_a_run_killed_between_the_checkpoint_and_the_rest_writes_the_rest_anew(tmp_path):
    run = tmp_path / "run"
    fit(small_model(), run, epochs=2)
    names = ("last.safetensors", "best.safetensors", "results.csv")
    wanted = {name: (run / name).read_bytes() for name in names if name != "last.safetensors"}
    best = int(state_file.read(run / "last.ckpt")["best_epoch"])
    for name in names:
        (run / name).unlink()
    fit(small_model(), run, epochs=2, resume=True)
    assert models.file.read(run / "last.safetensors")
    assert (run / "results.csv").read_bytes() == wanted["results.csv"]
    assert (run / "best.safetensors").exists() == (best == 1)


def test_a_finished_run_that_is_opened_again_has_the_weights_it_ended_with(tmp_path):
    def stopping():
        return callbacks.EarlyStopping(patience=1, restore_best_weights=True, baseline=0.0)

    first, again = small_model(), small_model()
    fit(first, tmp_path / "run", callbacks=[stopping()], epochs=6)
    fit(again, tmp_path / "run", callbacks=[stopping()], epochs=6, resume=True)
    assert equal(first, again)


# When -----------------------------------------------------------------------------------------------------------------


def test_checkpoints_are_taken_every_so_many_steps(tmp_path, folders):
    folders(every_steps=2)
    with pytest.raises(ZeroDivisionError):
        fit(small_model(), tmp_path / "run", callbacks=[Unhurried(), Fail(1, 4)])
    places = [state_file.read(tmp_path / "run" / name)["loop"]["position"] for name in ("last.ckpt", "previous.ckpt")]
    assert [place["steps_done"] for place in places] == [9, 7]  # counted from the last one, at the epoch's end after 5
    assert places[0]["batch"] == 4


def test_checkpoints_are_taken_every_so_many_minutes(tmp_path, folders, monkeypatch):
    now = [0.0]

    class Clock(Callback):
        def on_train_batch_end(self, batch, logs):
            now[0] += 60.0

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    folders(every_minutes=3)
    with pytest.raises(ZeroDivisionError):
        fit(small_model(), tmp_path / "run", callbacks=[Clock(), Fail(0, 4)])
    assert state_file.read(tmp_path / "run" / "last.ckpt")["loop"]["position"]["steps_done"] == 3
    assert not (tmp_path / "run" / "previous.ckpt").exists()


@pytest.mark.parametrize("options", [{"every_steps": 0}, {"every_minutes": -1}])
def test_intervals_are_above_zero(tmp_path, folders, options):
    folders(**options)
    with pytest.raises(LaminaError, match=f"{next(iter(options))} is"):
        fit(small_model(), tmp_path / "run")


def test_training_goes_on_while_a_checkpoint_is_written_and_never_two_are_at_once(tmp_path, folders, monkeypatch):
    write, threads, at_once, steps = state_file.write, [], [], []

    def slow(path, state, previous=None):
        at_once.append(1)
        threads.append(threading.current_thread())
        began = len(steps)
        if began < 3:  # then there are two more in the epoch
            while len(steps) < began + 2:  # only a step of training ends it
                time.sleep(0.001)
        assert len(at_once) == 1
        write(path, state, previous=previous)
        at_once.pop()

    class Count(Callback):
        def on_train_batch_end(self, batch, logs):
            steps.append(batch)
            time.sleep(0.02)

    monkeypatch.setattr(state_file, "write", slow)
    folders(every_steps=1)
    whole, other = small_model(), small_model()
    fit(whole, tmp_path / "run", epochs=1, callbacks=[Count()])
    taken = len(threads)
    fit(other, tmp_path / "other", epochs=1)
    assert equal(whole, other)
    assert threading.main_thread() not in threads
    assert 1 < taken < 6  # one a step and one at the end would be six
    assert not [thread for thread in threading.enumerate() if thread.name == "lamina writer"]


@pytest.mark.skipif(sys.platform == "win32", reason="files have no greatest size there")
def test_a_full_disk_is_said_at_the_next_step_and_nothing_is_lost(tmp_path, folders):
    import resource

    run, whole = tmp_path / "run", small_model()
    fit(whole, tmp_path / "whole")
    before, seen = resource.getrlimit(resource.RLIMIT_FSIZE), []

    class Fill(Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append(self.loop.steps_done)
            if seen[-1] == 7:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))

    folders(every_steps=2)
    try:
        with pytest.raises(LaminaError, match=r"run could not be written.*untouched\. Make room") as raised:
            fit(small_model(), run, callbacks=[Unhurried(), Fill()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.remedy.endswith("(--resume).")
    assert seen[-1] == 8  # the checkpoint of step 7 failed
    assert sorted(path.suffix for path in run.iterdir()) == [".ckpt", ".ckpt", ".csv", *[".safetensors"] * 2, ".yaml"]
    assert state_file.read(run / "last.ckpt")["loop"]["position"]["steps_done"] == 5
    resumed = small_model()
    fit(resumed, run, resume=True)
    assert equal(resumed, whole)
