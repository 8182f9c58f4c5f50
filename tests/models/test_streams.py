"""Training on what stays on the disk equals training on what is in memory."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import models
from lamina.core.errors import DataError
from lamina.data import FolderDataset, Preprocess, WorkerBatches
from lamina.data.augment import RandomShift
from lamina.models.streams import Streamed


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
