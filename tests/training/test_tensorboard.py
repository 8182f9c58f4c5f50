"""TensorBoard: curves, first pictures and graph, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lamina import models
from lamina.core.errors import LaminaError, MissingExtraError
from lamina.data.augment import RandomFlip
from lamina.training import Callback, tensorboard
from lamina.training.tensorboard import TensorBoard, shown

X = np.random.default_rng(0).integers(0, 256, (12, 3, 6, 8)).astype(np.float32)
Y = np.arange(12) % 3


def read(folder: Path) -> Any:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return events


def values(events: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value, rel=1e-5)) for event in events.Scalars(name)]


def small(*middle: nn.Module) -> models.Model:
    torch.manual_seed(0)
    model = models.Model(nn.Sequential(*middle, nn.Flatten(), nn.BatchNorm1d(144), nn.Dropout(0.5), nn.Linear(144, 3)))
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"], device="cpu", precision="float32")
    return model


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lamina\[tensorboard\]"'):
        TensorBoard()


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(LaminaError, match=r"update_freq .* is 0"):
        TensorBoard(update_freq=0)
    with pytest.raises(LaminaError, match="images is -1"):
        TensorBoard(images=-1)


def test_curves_of_training_and_validation_share_a_chart_with_the_rate_beside_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path, update_freq=2, images=0, write_graph=False)
    history = small().fit(X, Y, 4, 2, validation_data=(X, Y), callbacks=[board], verbose=0).history
    train, validation = read(tmp_path / "train"), read(tmp_path / "validation")
    assert values(train, "epoch_loss") == list(enumerate(history["loss"]))
    assert values(validation, "epoch_loss") == list(enumerate(history["val_loss"]))
    assert values(validation, "epoch_accuracy") == list(enumerate(history["val_accuracy"]))
    assert values(train, "epoch_learning_rate") == [(0, 0.01), (1, 0.01)]
    assert [step for step, _ in values(train, "batch_loss")] == [2, 4, 6]
    assert train.Tags()["images"] == []
    assert not train.Tags()["graph"]


def test_the_first_pictures_are_shown_as_the_network_gets_them_and_the_graph(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    watched, plain = small(), small()
    options: dict[str, Any] = {"batch_size": 4, "epochs": 1, "augment": RandomFlip(1.0), "shuffle": False, "verbose": 0}
    watched.fit(X, Y, callbacks=[TensorBoard(tmp_path, images=3)], **options)
    plain.fit(X, Y, **options)
    for ours, other in zip(watched.net.state_dict().values(), plain.net.state_dict().values(), strict=True):
        assert torch.equal(ours, other)  # looking changes nothing
    events = read(tmp_path / "train")
    assert events.Tags()["graph"]
    assert "Linear[3]" in str(events.Graph())
    image = events.Images("inputs")[0]
    picture = torch.tensor(np.asarray(Image.open(io.BytesIO(image.encoded_image_string)).convert("RGB"))).permute(
        2, 0, 1
    )
    for index in range(3):  # a grid with no border: torch lays the pictures out in columns of 8
        one = torch.as_tensor(X[index]).flip(2).to(torch.uint8)
        found = [
            bool((picture[:, y : y + 6, x : x + 8] == one).all())
            for y in range(picture.shape[1] - 5)
            for x in range(picture.shape[2] - 7)
        ]
        assert any(found)


@pytest.mark.parametrize("update_freq", [1, "epoch"])
def test_a_run_that_was_killed_and_goes_on_shows_everything_once(tmp_path: Path, update_freq: Any) -> None:
    pytest.importorskip("tensorboard")

    class Dies(Callback):
        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            if update_freq == 1 and self.loop.steps_done == 8:
                raise RuntimeError("the power is gone")

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            if epoch == 1 and update_freq == "epoch":  # written, and in no checkpoint
                raise RuntimeError("the power is gone")

    def fit(*others: Callback, resume: bool) -> None:
        callbacks = [TensorBoard(tmp_path / "board", update_freq=update_freq), *others]
        small().fit(
            X, Y, 4, 3, validation_data=(X, Y), callbacks=callbacks, verbose=0, run=tmp_path / "run", resume=resume
        )

    with pytest.raises(RuntimeError, match="the power is gone"):
        fit(Dies(), resume=False)
    time.sleep(1.0)  # TensorBoard reads files in the order of the second they were begun in
    fit(resume=True)
    train, validation = read(tmp_path / "board" / "train"), read(tmp_path / "board" / "validation")
    if update_freq == 1:
        assert [step for step, _ in values(train, "batch_loss")] == list(range(1, 10))
    for events in (train, validation):
        assert [step for step, _ in values(events, "epoch_loss")] == [0, 1, 2]
    assert len(train.Images("inputs")) == 1
    files = (tmp_path / "board" / "train").glob("events*")
    graphs = [read(file).Tags()["graph"] for file in sorted(files)]
    assert graphs == [True, False]


def test_drawing_the_graph_leaves_a_frozen_layer_frozen(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    model, modes = small(), []

    class Modes(Callback):
        def on_train_begin(self, logs: Any) -> None:
            modes.extend(module.training for module in self.model.net)

    model.net.train()[1].eval()
    model.fit(X, Y, callbacks=[TensorBoard(tmp_path), Modes()], verbose=0)
    assert modes == [True, False, True, True]


def test_a_network_that_cannot_be_drawn_trains_all_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    class Untraceable(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("no tracing here")
            return images

    model = small(Untraceable())
    with pytest.warns(UserWarning, match=r"no graph.*no tracing here.*write_graph=False"):
        history = model.fit(X, Y, callbacks=[TensorBoard(tmp_path)], verbose=0)
    assert len(history.epoch) == 1


def test_batches_that_come_only_once_are_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    history = small().fit(
        ((X[i : i + 4], Y[i : i + 4]) for i in (0, 4, 8)), callbacks=[TensorBoard(tmp_path)], verbose=0
    )
    assert len(history.epoch) == 1
    assert read(tmp_path / "train").Tags()["images"] == []


@pytest.mark.parametrize(
    ("given", "wanted"),
    [([0.0, 100.4, 255.0], [0, 100, 255]), ([0.0, 0.5, 1.0], [0, 128, 255]), ([-2.0, 0.0, 2.0], [0, 128, 255])],
)
def test_pictures_are_shown_in_the_range_they_are_in(given: list[float], wanted: list[int]) -> None:
    images = torch.tensor(given).view(1, 1, 1, 3)
    assert shown(images).flatten().tolist() == wanted
    assert shown(images.expand(1, 3, 1, 3)).shape == (1, 3, 1, 3)
    assert shown(images.expand(1, 5, 1, 3)).shape == (1, 1, 1, 3)


def test_no_graph_is_drawn_of_a_network_that_runs_in_all_processes_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "is_spread", lambda net: True)
    board = tensorboard.TensorBoard(tmp_path, images=0)
    board.loop = SimpleNamespace(step=SimpleNamespace(networks={"net": None}))
    with pytest.warns(UserWarning, match="spread over processes"):
        board._draw(())
