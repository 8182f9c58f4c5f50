"""Trainings that may be killed: a server that has imported torch forks a child for each, and kills it when asked to.

It reads a request a line from its standard input (JSON) and answers a line for each:

    kind         "supervised", "loader" or "gan"
    folder       the run's folder
    every_steps  a checkpoint every so many steps
    kill_after   SIGKILL after so many seconds; None never
    kill_at      SIGKILL at that moment of writing (counted from 1: before and after each fsync and renaming, and with half
                 of a file written); None never
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lamina import callbacks, layers, models
from lamina.core import sealed
from lamina.core.files import replacing
from lamina.data.augment import RandomShift
from lamina.data.loader import ArrayBatches
from lamina.models import model as model_module
from lamina.structures.batch import Logs
from lamina.training import Loop, RunFolder, Runtime, Update

SAMPLES, BATCH, EPOCHS = 148, 4, 3  # 37 steps an epoch: more than wait in a metric before they are summed
EPOCH_STEPS = SAMPLES // BATCH


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(SAMPLES, 1, 8, 8, generator=generator)
    return x, nn.functional.one_hot((x.mean(dim=(1, 2, 3)) * 40).long() % 3, 3).float()


def classifier() -> models.Model:
    torch.manual_seed(0)
    model = models.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(1, 8, 8)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        "adam",
        "categorical_crossentropy",
        ["accuracy", "mae"],
        schedule=lambda progress: 1 - 0.9 * progress,
        device="cpu",
        precision="float32",
    )
    return model


def watchers() -> list[Any]:
    return [
        callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.2),
        callbacks.EarlyStopping(patience=20, restore_best_weights=True),
    ]


def supervised(folder: Path, every_steps: int | None) -> tuple[dict[str, nn.Module], dict[str, list[float]]]:
    """BatchNorm, Dropout, augmentation, shuffling, a schedule, validation, and callbacks with a state."""
    model_module.RunFolder = functools.partial(RunFolder, every_steps=every_steps)  # type: ignore[attr-defined]
    model, (x, y) = classifier(), pictures()
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=EPOCHS,
        validation_data=(x[:20], y[:20]),
        callbacks=watchers(),
        augment=RandomShift(1),
        run=folder,
        resume=True,
        verbose=0,
    )
    return {"net": model.net}, history.history


class Jittered(torch.utils.data.Dataset[Any]):
    """Draws from all three of the generators that a data set may draw from."""

    def __init__(self) -> None:
        self.x, self.y = pictures()

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        return self.x[index] + 0.1 * noise, self.y[index]


def loader(folder: Path, every_steps: int | None) -> tuple[dict[str, nn.Module], dict[str, list[float]]]:
    """A DataLoader that shuffles, of a data set that draws from global generators."""
    model_module.RunFolder = functools.partial(RunFolder, every_steps=every_steps)  # type: ignore[attr-defined]
    model = classifier()
    train = torch.utils.data.DataLoader(Jittered(), batch_size=BATCH, shuffle=True)
    held = torch.utils.data.DataLoader(Jittered(), batch_size=50)
    history = model.fit(
        train, epochs=EPOCHS, validation_data=held, callbacks=watchers(), run=folder, resume=True, verbose=0
    )
    return {"net": model.net}, history.history


class Gan:
    """Two networks, two optimizers, and noise in training and in evaluation."""

    def __init__(self) -> None:
        runtime = Runtime("cpu", precision="float32")
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 64))
        self.discriminator = nn.Sequential(nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(16, 1))
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.updates = {
            "generator": Update(self.generator, "adam", runtime=runtime),
            "discriminator": Update(self.discriminator, "rmsprop", runtime=runtime),
        }
        self.metrics: dict[str, Any] = {}

    def losses(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        real = batch.inputs.flatten(1)
        fakes = self.generator(torch.randn(len(real), 8))
        d_loss = nn.functional.softplus(-self.discriminator(real)) + nn.functional.softplus(
            self.discriminator(fakes.detach())
        )
        return d_loss.mean(), fakes

    def train(self, batch: Any) -> Logs:
        d_loss, fakes = self.losses(batch)
        self.updates["discriminator"](d_loss)
        g_loss = nn.functional.softplus(-self.discriminator(fakes)).mean()
        self.updates["generator"](g_loss)
        return Logs(len(batch.inputs), d_loss=d_loss, g_loss=g_loss)

    def evaluate(self, batch: Any) -> Logs:
        d_loss, _ = self.losses(batch)
        return Logs(len(batch.inputs), loss=d_loss)


def gan(folder: Path, every_steps: int | None) -> tuple[dict[str, nn.Module], dict[str, list[float]]]:
    step, (x, _) = Gan(), pictures()

    def take() -> Any:
        tensors = {
            f"{name}.{key}": value.clone()
            for name, net in step.networks.items()
            for key, value in net.state_dict().items()
        }

        def write(path: Path) -> None:
            with replacing(path) as temporary:
                sealed.write(temporary, tensors, {})

        return write

    run = RunFolder(folder, config={"batch_size": BATCH}, take_model=take, resume=True, every_steps=every_steps)
    loop = Loop(step, seed=7, callbacks=[run])
    first = run.restore(loop)
    train = ArrayBatches(x, batch_size=BATCH, shuffle=True, seed=7)
    loop.fit(train, epochs=EPOCHS, initial_epoch=first, validation=ArrayBatches(x[:20], batch_size=8))
    return step.networks, loop.history.history


KINDS = {"supervised": supervised, "loader": loader, "gan": gan}


def outcome(folder: Path, networks: dict[str, nn.Module], history: dict[str, list[float]]) -> dict[str, Any]:
    """What has to be equal to the last bit."""
    weights = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    return {
        "weights": {name: hashlib.sha256(value.numpy().tobytes()).hexdigest()[:16] for name, value in weights.items()},
        "history": {name: [float(value).hex() for value in values] for name, values in history.items()},
        "results.csv": hashlib.sha256((folder / "results.csv").read_bytes()).hexdigest()[:16],
        "last.safetensors": content(folder / "last.safetensors"),
        "best.safetensors": content(folder / "best.safetensors"),
    }


def content(path: Path) -> str:
    """A hash of a file's texts and tensors: safetensors writes the texts in any order."""
    data = path.read_bytes()
    header = json.dumps(sealed.header_of(data), sort_keys=True)
    return sealed.digest("", header, sealed.tensors_of(data))[:16]


def die_at(moment: int) -> None:
    """Kills this process at that moment of writing."""
    left = moment
    fsync, replace, save_file = os.fsync, os.replace, sealed.save_file

    def pass_moment() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function: Any) -> Any:
        def call(*args: Any) -> Any:
            pass_moment()
            done = function(*args)
            pass_moment()
            return done

        return call

    def torn(tensors: Any, path: Path, metadata: Any) -> None:
        save_file(tensors, path, metadata)
        if left == 1:
            os.truncate(path, path.stat().st_size // 2)
        pass_moment()

    os.fsync, os.replace = around(fsync), around(replace)  # type: ignore[assignment]
    sealed.save_file = torn  # type: ignore[assignment]


def train(request: dict[str, Any]) -> None:
    """In the child."""
    folder = Path(request["folder"])
    if request["kill_at"] is not None:
        die_at(request["kill_at"])
    networks, history = KINDS[request["kind"]](folder, request["every_steps"])
    (folder / "outcome.json").write_text(json.dumps(outcome(folder, networks, history)))


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)  # what the training prints is no answer
            try:
                train(request)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        began, status = time.perf_counter(), 0
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if request["kill_after"] is not None and time.perf_counter() - began >= request["kill_after"]:
                os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still the child's
                _, status = os.waitpid(child, 0)
                break
            time.sleep(0.0005)
        answer = {
            "seconds": time.perf_counter() - began,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        }
        print(json.dumps({**answer, "code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    classifier().evaluate(*pictures())  # what torch imports late; no gradients, whose threads do not survive a fork
    serve()
