"""Training on a stream of shards: a fit, an evaluation, a resumed run, several processes."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import lamina
from lamina import data, models
from lamina.core.errors import LaminaError
from lamina.data.augment import RandomFlip, RandomShift
from lamina.data.preprocess import Preprocess
from lamina.data.shards import write_shards
from lamina.training import Callback

SMALL = Preprocess(size=(8, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    labels = torch.arange(44) % 2
    noise = torch.randint(0, 60, (44, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images = (noise + 190 * labels[:, None, None, None]).to(torch.uint8)
    write_shards(data.ImageDataset(images, labels, "ab"), root, samples_per_shard=9)
    return root / "train"


def streamed(folder, **arguments):
    told = {"batch_size": 8, "shuffle": 20, "workers": 1, "augment": [RandomFlip(), RandomShift(1)], **arguments}
    return data.stream(folder, SMALL, **told)


def model():
    torch.manual_seed(0)
    made = models.Model(nn.Sequential(nn.Flatten(), lamina.nn.Rescaling(1 / 255), nn.Dropout(0.2), nn.Linear(192, 2)))
    made.compile(lamina.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


class Stops(Callback):
    """Raises after some steps, as a machine that fails does."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, batch, logs):
        self.steps -= 1
        if not self.steps:
            raise RuntimeError("the power is gone")


def weights(made):
    return [value.clone() for value in made.net.parameters()]


def test_a_model_learns_from_a_stream_and_nothing_is_left_running(folder):
    ours, train = model(), streamed(folder)
    history = ours.fit(train, epochs=8, verbose=0, validation_data=streamed(folder, workers=0)).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_accuracy"][-1] > 0.8
    figures = ours.evaluate(train)
    assert figures["loss"] == pytest.approx(history["val_loss"][-1], abs=1e-6)
    by_index = data.open(folder.parent).train.prepared(SMALL)
    assert figures == pytest.approx(ours.evaluate(data.WorkerBatches(by_index, 8, workers=0)), abs=1e-6)
    assert len(ours.predict(train)) == 44
    train.close()
    assert [thread for thread in threading.enumerate() if thread.name == "lamina-stream"] == []


def test_the_number_of_workers_changes_nothing(folder):
    trained = []
    for workers in (0, 2):
        trained.append(model())
        trained[-1].fit(streamed(folder, workers=workers), epochs=2, verbose=0)
    assert all(map(torch.equal, *map(weights, trained)))


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_run_that_broke_off_and_goes_on_equals_an_uninterrupted_one(folder, tmp_path, steps):
    whole, broken, resumed = model(), model(), model()
    whole.fit(streamed(folder), epochs=3, verbose=0)
    run = {"run": tmp_path / "run", "checkpoint_every": 1, "verbose": 0}
    with pytest.raises(RuntimeError, match="the power is gone"):
        broken.fit(streamed(folder), epochs=3, callbacks=[Stops(steps)], **run)
    resumed.fit(streamed(folder, workers=0), epochs=3, resume=True, **run)
    assert all(map(torch.equal, weights(resumed), weights(whole)))
    assert resumed.history.history["loss"] == whole.history.history["loss"]


def test_a_run_does_not_go_on_with_another_order(folder, tmp_path):
    model().fit(streamed(folder), epochs=1, verbose=0, run=tmp_path / "run")
    with pytest.raises(LaminaError, match="order"):
        model().fit(streamed(folder, shuffle=10), epochs=2, verbose=0, run=tmp_path / "run", resume=True)


def test_a_learning_rate_is_found_on_a_stream(folder):
    train, ours = streamed(folder, workers=0), model()
    before = weights(ours)
    assert len(ours.find_lr(train, steps=12).rates) > 5
    assert all(map(torch.equal, weights(ours), before))
    with pytest.raises(LaminaError, match="cut already"):
        ours.find_batch_size(train)


def in_step(world, folder):
    """What each process trains on."""
    made = model()
    train = streamed(folder, workers=0, augment=None)
    made.fit(train, epochs=2, verbose=0)
    part = models.feed.foreign(train, made._make_step())
    pictures = [batch.inputs.flatten(1).sum(1) for batch in part.epoch(0)]
    return [weights(made), torch.cat(pictures).tolist(), made.evaluate(train)["loss"]]


def test_two_processes_read_different_shards_and_end_with_one_network(folder, together):
    (ours, mine, one), (theirs, others, other) = together(in_step, str(folder))
    assert all(map(torch.equal, ours, theirs))
    assert one == other
    alone = [batch.inputs.flatten(1).sum(1) for batch in streamed(folder, workers=0, augment=None)]
    assert sorted(mine + others) == sorted(torch.cat(alone).tolist())
