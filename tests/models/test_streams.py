"""Training on what stays on the disk equals training on what is in memory."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import models
from lamina.core.errors import DataError
from lamina.data import ArrayBatches, FolderDataset, Preprocess, WorkerBatches
from lamina.data.augment import ProgressiveResize, RandomShift, ResizedBatches
from lamina.models import feed
from lamina.models.streams import Streamed
from lamina.training.world import World


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label, name in enumerate("ab"):
        (root / name).mkdir()
        for index in range(15):
            pixels = rng.integers(0, 120, (40, 44, 3)) + label * 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index}.jpg")
    return root


def trained(photos, **arguments):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    net(torch.zeros(1, 3, 24, 24))
    classifier = lamina.Classifier(net, preprocess=Preprocess(size=(24, 24)))
    history = classifier.fit(photos, epochs=2, batch_size=8, verbose=0, augment=RandomShift(2), **arguments).history
    return classifier, history


@pytest.mark.parametrize("arguments", [{}, {"class_weight": {0: 3.0, 1: 1.0}}])
def test_a_classifier_learns_the_same_from_a_folder_that_does_not_fit_in_memory(photos, monkeypatch, arguments):
    in_memory, figures = trained(photos, **arguments)
    made = []
    monkeypatch.setattr(FolderDataset, "fits_in_memory", lambda self, preprocess: False)
    monkeypatch.setattr(
        Streamed, "of", classmethod(lambda cls, *a, of=Streamed.of.__func__: made.append(a) or of(cls, *a))
    )
    streamed, same = trained(photos, **arguments)
    assert made
    assert same == figures
    for one, other in zip(in_memory.net.parameters(), streamed.net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert streamed.evaluate(photos) == in_memory.evaluate(photos)


def test_a_model_learns_from_batches_read_by_workers_what_it_learns_from_memory(photos):
    dataset = lamina.data.open(photos).train.prepared(Preprocess(size=(8, 8)))
    loaded = dataset.in_memory(Preprocess(size=(8, 8)))

    def figures(train, held):
        torch.manual_seed(0)
        model = models.Model(nn.Sequential(nn.Flatten(), lamina.nn.Rescaling(1 / 255), nn.Linear(192, 2)))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(train, batch_size=8, epochs=3, verbose=0, validation_data=held).history
        return history, model.evaluate(held)

    read = WorkerBatches(dataset, 8, shuffle=True, workers=2), WorkerBatches(dataset, 8, workers=1)
    ours, theirs = figures(*read), figures(loaded, loaded)
    assert ours[0]["loss"] == theirs[0]["loss"]
    assert ours[0]["val_loss"] == pytest.approx(theirs[0]["val_loss"], abs=1e-6)  # in batches of another size
    assert ours[1] == pytest.approx(theirs[1], abs=1e-6)


def test_weights_of_another_number_of_samples_and_unreadable_pictures_are_refused(photos, tmp_path):
    dataset = lamina.data.open(photos).train.prepared(Preprocess(size=(8, 8)))
    with pytest.raises(DataError, match="30 samples and sample_weight has 3"):
        Streamed.of(dataset, [1, 2, 3])
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg cannot be read"):
        Streamed.of(FolderDataset([tmp_path / "a.jpg"], [0], "a", root=tmp_path).prepared(Preprocess(size=(8, 8))))


@pytest.fixture
def torn(photos, tmp_path):
    """The photos, three of which nobody can read."""
    shutil.copytree(photos, tmp_path / "torn")
    for name in ("a/3.jpg", "b/0.jpg", "b/14.jpg"):
        (tmp_path / "torn" / name).write_bytes(name.encode())
    return tmp_path / "torn"


@pytest.mark.filterwarnings("ignore:.*cannot be read:UserWarning")
@pytest.mark.parametrize("weigh", [False, True])
def test_unreadable_pictures_change_nothing_about_that(torn, monkeypatch, weigh):
    weights = {"sample_weight": np.linspace(0.5, 2.0, 30)} if weigh else {}
    in_memory, figures = trained(torn, **weights)
    monkeypatch.setattr(FolderDataset, "fits_in_memory", lambda self, preprocess: False)
    streamed, same = trained(torn, **weights)
    assert same == figures
    for one, other in zip(in_memory.net.parameters(), streamed.net.parameters(), strict=True):
        assert torch.equal(one, other)
    whole = lamina.data.open(torn).train
    assert streamed.evaluate(whole, **weights) == in_memory.evaluate(whole, **weights)


def test_all_processes_stream_where_one_of_them_has_to(photos, monkeypatch):
    classifier, _ = trained(photos)
    monkeypatch.setattr(FolderDataset, "fits_in_memory", lambda self, preprocess: True)
    train = lamina.data.open(photos).train
    assert not isinstance(classifier._gathered(train, None), Streamed)
    monkeypatch.setattr(World, "gather", lambda self, value: [value, False])
    assert isinstance(classifier._gathered(train, None), Streamed)


def test_what_a_fit_made_is_released_and_the_users_own_batches_stay_as_they_were(photos):
    dataset = lamina.data.open(photos).train.prepared(Preprocess(size=(8, 8)))
    batches = WorkerBatches(dataset, 8, workers=1)
    wanted = [batch.targets.tolist() for batch in batches]
    second = SimpleNamespace(put=lambda value: value, ahead=map, world=World(1, 2))
    loss = SimpleNamespace(prepare=lambda targets, _: -targets)
    step = SimpleNamespace(runtime=second, targets=[SimpleNamespace(loss=loss, output_shape=None)])
    made = feed.foreign(batches, step)
    assert next(made.epoch(0)).targets.tolist() == [-label for label in wanted[0][4:]]
    (worker,) = made._crew._pool.pids()
    feed.release(ResizedBatches(made, ProgressiveResize(), epochs=1), [1, 2])
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert [batch.targets.tolist() for batch in batches] == wanted


def test_arrays_cut_by_the_user_are_shared_out_unless_they_are_a_part_already():
    step = SimpleNamespace(runtime=SimpleNamespace(world=World(1, 2)))
    own, part = ArrayBatches(torch.arange(8), batch_size=4), ArrayBatches(torch.arange(8), batch_size=4, shard=(0, 2))
    assert next(feed.foreign(own, step).epoch(0)).inputs.tolist() == [2, 3]
    assert next(feed.foreign(part, step).epoch(0)).inputs.tolist() == [0, 1]
    assert own.shard == (0, 1)


def test_a_prediction_answers_for_every_picture_or_names_the_one_that_it_cannot(torn):
    dataset = lamina.data.open(torn).train.prepared(Preprocess(size=(8, 8)))
    model = models.Model(nn.Sequential(nn.Flatten(), lamina.nn.Rescaling(1 / 255), nn.Linear(192, 2)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert len(model.predict(WorkerBatches(dataset.subset([0, 1, 2]), 2, workers=0))) == 3
    unreadable = WorkerBatches(dataset, 40, workers=0)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(DataError, match="cannot be read"):
        model.predict(unreadable)


def test_no_worker_outlives_the_training_it_was_made_for(tmp_path):
    for index, name in enumerate(("dark", "light")):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = np.full((32, 32), 100 * index + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    script = (
        "import sys, multiprocessing, gc\n"
        "import lamina\n"
        "from lamina.data.dataset import FolderDataset\n"
        "FolderDataset.fits_in_memory = lambda self, preprocess: False\n"
        "classifier = lamina.Classifier('fastconvnet')\n"
        "classifier.fit(sys.argv[1], batch_size=4, epochs=1, verbose=0)\n"
        "classifier.evaluate(sys.argv[1])\n"
        "assert not multiprocessing.active_children(), multiprocessing.active_children()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
