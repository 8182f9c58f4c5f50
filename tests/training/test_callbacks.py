"""Callbacks: each against the figures of a made-up training, and the ones that matter in a real one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lamina.core.errors import LaminaError
from lamina.structures.batch import Logs
from lamina.training import Callback, Loop, Runtime, Update, callbacks, curves, tensorboard
from lamina.training.averaging import Lookahead
from lamina.training.callbacks import (
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from lamina.training.world import World


class Figures:
    """A step whose only weight is the count of steps, and whose losses are given."""

    def __init__(self, figures: list[float], lr: float = 1.0) -> None:
        self.net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.net.weight)
        self.networks: dict[str, nn.Module] = {"net": self.net}
        runtime = Runtime("cpu", precision="float32")
        self.updates = {"net": Update(self.net, lambda p: torch.optim.SGD(p, lr=lr), runtime=runtime)}
        self.metrics: dict[str, Any] = {}
        self.figures = iter(figures)

    def train(self, batch: Any) -> Logs:
        with torch.no_grad():
            self.net.weight += 1
        return Logs(1, loss=torch.tensor(next(self.figures)))

    evaluate = train


def train(callback: Callback, figures: list[float], *, model: Any = None, start: int = 0) -> Loop:
    """One step an epoch, with these losses."""
    loop = Loop(Figures(figures), callbacks=[callback])
    callback.model = model
    loop.fit([None], epochs=start + len(figures), initial_epoch=start)
    return loop


def rates(callback: Callback, figures: list[float], lr: float = 1.0) -> list[float]:
    """The learning rate after each epoch."""
    seen: list[float] = []
    loop = Loop(Figures(figures, lr), callbacks=[callback])
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(loop.step.updates["net"].learning_rate))
    loop.callbacks.append(note)
    loop.fit([None], epochs=len(figures))
    return seen


@pytest.mark.parametrize(
    ("options", "figures", "epochs"),
    [
        ({"patience": 0}, [3, 2, 2, 1], 3),
        ({"patience": 2}, [3, 2, 2, 2, 1], 4),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2, 2], 2),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 3, 4], 4),
        ({"patience": 2, "baseline": 1.0}, [3, 2.5, 2.2, 2.2, 0], 4),
        ({"patience": 0, "start_from_epoch": 2}, [1, 2, 3, 3, 0], 4),
        ({"patience": 1}, [math.nan, 2, 1, math.nan, 0], 4),
    ],
)
def test_early_stopping_waits_as_long_as_it_was_told(
    options: dict[str, Any], figures: list[float], epochs: int
) -> None:
    loop = train(EarlyStopping("loss", **options), figures)
    assert len(loop.history.epoch) == epochs


@pytest.mark.parametrize(("restore", "weight"), [(True, 2.0), (False, 4.0)])
def test_early_stopping_puts_the_best_weights_back_if_asked(restore: bool, weight: float, capsys: Any) -> None:
    callback = EarlyStopping("loss", patience=2, verbose=1, restore_best_weights=restore)
    loop = train(callback, [3.0, 1.0, 2.0, 2.0, 0.0])
    assert loop.step.net.weight.item() == weight
    assert ("Restoring the weights of epoch 2" in capsys.readouterr().out) == restore


def test_early_stopping_begins_anew_with_each_fit_but_not_in_a_resumed_run() -> None:
    callback = EarlyStopping("loss", patience=2, restore_best_weights=True)
    train(callback, [1.0, 2.0])
    state = callback.state_dict()
    assert len(train(callback, [5.0, 6.0, 4.0]).history.epoch) == 3
    resumed = EarlyStopping("loss", patience=2, restore_best_weights=True)
    resumed.load_state_dict(state)
    loop = train(resumed, [5.0, 6.0, 4.0], start=2)  # the first epoch is the second without progress
    assert len(loop.history.epoch) == 1
    assert loop.step.net.weight.item() == 1.0  # of the epoch with loss 1
    assert len(train(resumed, [5.0, 6.0, 4.0]).history.epoch) == 3  # the next fit is no resumed run


@pytest.mark.parametrize(
    ("monitor", "more"),
    [
        ("val_loss", False),
        ("val_accuracy", True),
        ("val_top_5_accuracy", True),
        ("head_acc", True),
        ("f1", True),
        ("mse", False),
        ("val_r2", True),
        ("val_AP50", True),
        ("mean_ap", True),
        ("val_score", True),
        ("val_miou", True),
        ("head_binary_crossentropy", False),
        ("root_mean_squared_error", False),
    ],
)
def test_auto_goes_by_the_name(monitor: str, more: bool) -> None:
    assert EarlyStopping(monitor).more_is_better == more
    assert EarlyStopping(monitor, mode="max").more_is_better
    assert not EarlyStopping(monitor, mode="min").more_is_better


def test_a_name_that_does_not_tell_needs_a_mode() -> None:
    for kind in (EarlyStopping, ReduceLROnPlateau):
        with pytest.raises(LaminaError, match=r"monitors 'val_overlap'.*does not tell.*mode=\"max\" or"):
            kind("val_overlap")
    assert EarlyStopping("val_overlap", mode="max").more_is_better


def test_what_is_not_logged_is_an_error_that_lists_what_is() -> None:
    with pytest.raises(LaminaError, match=r"monitors 'val_loss'.*Logged: loss\..*validation_data"):
        train(EarlyStopping(), [1.0])
    with pytest.raises(LaminaError, match=r"monitors 'acc'.*Logged: loss\. Monitor one"):
        train(ReduceLROnPlateau("acc"), [1.0])
    with pytest.raises(LaminaError, match="mode is 'up'"):
        EarlyStopping(mode="up")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "figures", "expected"),
    [
        ({"patience": 1}, [2, 2, 2, 1], [1, 0.5, 0.25, 0.25]),
        ({"patience": 2}, [2, 2, 2, 2, 2], [1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 1, "cooldown": 2}, [2, 2, 2, 2, 2], [1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.3}, [2, 2, 2, 2], [1, 0.5, 0.3, 0.3]),
        ({"patience": 1, "min_delta": 0.1}, [2, 1.95, 1.8], [1, 0.5, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 2], [1, 1, 0.5]),
    ],
)
def test_the_rate_falls_on_a_plateau(options: dict[str, Any], figures: list[float], expected: list[float]) -> None:
    assert rates(ReduceLROnPlateau("loss", factor=0.5, **options), figures) == pytest.approx(expected)


def test_a_plateau_is_remembered_by_a_resumed_run_only() -> None:
    callback = ReduceLROnPlateau("loss", factor=0.5, patience=2)
    assert rates(callback, [2.0, 2.0]) == [1, 1]
    resumed = ReduceLROnPlateau("loss", factor=0.5, patience=2)
    resumed.load_state_dict(callback.state_dict())
    assert rates(resumed, [2.0]) == [0.5]
    assert rates(callback, [2.0]) == [1]
    with pytest.raises(LaminaError, match="factor is 2"):
        ReduceLROnPlateau(factor=2.0)


def test_a_schedule_of_the_epoch_and_of_the_rate() -> None:
    assert rates(LearningRateScheduler(lambda epoch: 1 / (epoch + 1)), [0.0] * 3) == pytest.approx([1, 1 / 2, 1 / 3])
    assert rates(LearningRateScheduler(lambda epoch, lr: lr * 0.5), [0.0] * 3) == pytest.approx([0.5, 0.25, 0.125])
    with pytest.raises(LaminaError, match="gave None for epoch 0"):
        rates(LearningRateScheduler(lambda epoch: None), [0.0])  # type: ignore[arg-type, return-value]


def test_a_schedule_acts_once_in_an_epoch_that_is_resumed_in_the_middle() -> None:
    loop = Loop(Figures([0.0]), callbacks=[LearningRateScheduler(lambda epoch, lr: lr * 0.5)])
    loop.batch = 1
    loop.fit([None, None], epochs=1)
    assert loop.step.updates["net"].learning_rate == 1.0


class _Saver:
    def __init__(self) -> None:
        self.saved: list[str] = []

    def save(self, path: Path) -> None:
        self.saved.append(path.name)


def test_the_model_is_saved_after_each_epoch_or_after_the_better_ones() -> None:
    model = _Saver()
    train(ModelCheckpoint("at/{epoch:02d}-{loss:.1f}.safetensors", "loss"), [2.0, 3.0], model=model)
    assert model.saved == ["01-2.0.safetensors", "02-3.0.safetensors"]
    model = _Saver()
    train(ModelCheckpoint("{epoch}", "loss", save_best_only=True), [2.0, 3.0, 1.0, 1.0], model=model)
    assert model.saved == ["1", "3"]
    model = _Saver()
    train(ModelCheckpoint("{epoch}", "loss", 0, True, "min", 1.5), [2.0, 1.0], model=model)
    assert model.saved == ["2"]


def test_a_checkpoint_needs_a_model_and_names_that_are_logged() -> None:
    with pytest.raises(LaminaError, match="bare loop"):
        train(ModelCheckpoint("x"), [1.0])
    with pytest.raises(LaminaError, match=r"'val_acc', which is not logged.*epoch, loss"):
        train(ModelCheckpoint("{val_acc}"), [1.0], model=_Saver())


def test_training_ends_where_the_loss_is_nan(capsys: Any) -> None:
    loop = train(TerminateOnNaN(), [2.0, math.nan, 1.0])
    assert len(loop.history.epoch) == 2
    assert "nan in epoch 2" in capsys.readouterr().out
    loop = Loop(Figures([1.0, math.inf, 1.0, 1.0, 1.0, 1.0]), callbacks=[TerminateOnNaN(every=2)])
    loop.fit([None, None, None], epochs=2)
    assert loop.stop
    assert "inf by step 2 of epoch 1" in capsys.readouterr().out


def test_functions_are_called_at_their_moments() -> None:
    calls: list[Any] = []

    def note(moment: str) -> Any:
        return lambda *args: calls.append((moment, *(dict(a) if isinstance(a, Mapping) else a for a in args)))

    moments = ("on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end")
    train(LambdaCallback(**{moment: note(moment) for moment in moments}), [2.0])
    assert [call[0] for call in calls] == list(moments)
    assert calls[2] == ("on_train_batch_end", 0, {"loss": 2.0})
    assert calls[3] == ("on_epoch_end", 0, {"loss": 2.0})


def test_those_that_write_curves_are_found_here_too() -> None:
    assert (callbacks.CSVLogger, callbacks.StepLogger) == (curves.CSVLogger, curves.StepLogger)
    assert callbacks.TensorBoard is tensorboard.TensorBoard


def test_a_look_at_nan_guards_the_updates_of_its_own_training_alone() -> None:
    step = Figures([1.0] * 6)
    Loop(step, callbacks=[TerminateOnNaN(every=1)]).fit([0, 1, 2])
    assert step.updates["net"].guard(False) is False


def test_of_many_processes_the_first_alone_tells_what_callbacks_do(capsys: Any, monkeypatch: Any) -> None:
    other = LearningRateScheduler(lambda epoch: 0.1, verbose=1)
    for is_main in (True, False):
        other.loop = Loop(Figures([1.0] * 6))
        other.loop.world = World(rank=0 if is_main else 1)
        other.on_epoch_begin(0, {})
        assert bool(capsys.readouterr().out) == is_main


def test_weights_put_back_are_not_pulled_to_what_followed_others() -> None:
    class Averaged(Figures):
        def __init__(self) -> None:
            super().__init__([3.0, 1.0, 2.0, 2.0])
            runtime = Runtime("cpu", precision="float32")
            self.updates = {"net": Update(self.net, "sgd", runtime=runtime, average="ema", lookahead=Lookahead())}

    step = Averaged()
    for _ in range(3):
        step.updates["net"](step.net(torch.ones(1, 1)).sum())
    stopping = EarlyStopping("loss", restore_best_weights=True, patience=1)
    Loop(step, callbacks=[stopping]).fit([0], epochs=3)
    assert step.updates["net"].average.made == 0


def test_where_training_failed_weights_stay_as_they_are() -> None:
    def fail(batch: int, logs: Any) -> None:
        raise RuntimeError("boom")

    step = Figures([1.0])
    step.updates["net"] = Update(step.net, "sgd", runtime=Runtime("cpu", precision="float32"), average="ema")
    step.updates["net"](step.net(torch.ones(1, 1)).sum())
    loop = Loop(step, callbacks=[callbacks.AveragesStay(), LambdaCallback(on_train_batch_end=fail)])
    with pytest.raises(RuntimeError, match="boom"):
        loop.fit([0])
    assert loop.failed
    assert step.updates["net"].average.made == 1
