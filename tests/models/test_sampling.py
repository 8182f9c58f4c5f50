"""`sample_by` and balance="sample": which samples an epoch of training draws, from arrays and from folders, in one process and in two."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import models
from lamina.core.errors import DataError, LaminaError
from lamina.data import ArrayBatches, FolderDataset, Preprocess, WorkerBatches
from lamina.models import feed
from lamina.models.arrays import Arrays, beside, collect
from lamina.models.balancing import balanced
from lamina.models.streams import Streamed
from lamina.training import Callback

COUNTS = (24, 6)  # pictures of the two classes


def write_photos(root):
    rng = np.random.default_rng(0)
    for label, (name, count) in enumerate(zip("ab", COUNTS, strict=True)):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 100, (24, 24, 3)) + label * 120
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


class Note(Callback):
    """Which samples were drawn, and the labels of each batch."""

    def __init__(self):
        self.rows, self.labels = [], []

    def on_train_batch_end(self, batch, logs):
        self.rows += self.loop.batches.rows(self.loop.epochs_done, batch)
        self.labels += self.loop.last_batch.targets.flatten().tolist()


def classifier_of_24_px():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    classifier = lamina.Classifier(net, preprocess=Preprocess(size=(24, 24)))
    classifier.compile(device="cpu", precision="float32")
    return classifier


def trained(data, **arguments):
    classifier, note = classifier_of_24_px(), Note()
    history = classifier.fit(data, batch_size=10, verbose=0, callbacks=[note], **{"epochs": 6, **arguments}).history
    return note, history, classifier


def plain_model():
    torch.manual_seed(0)
    model = models.Model(nn.Linear(3, 4))
    model.compile("sgd", "sparse_categorical_crossentropy", device="cpu", precision="float32")
    return model


X, Y = np.random.default_rng(1).random((40, 3), dtype=np.float32), np.repeat([0, 1, 2, 3], [25, 9, 5, 1])


def test_by_class_every_class_is_seen_equally_often():
    note = Note()
    plain_model().fit(X, Y, 20, 25, verbose=0, callbacks=[note], balance="sample")
    shares = np.bincount(note.labels, minlength=4) / len(note.labels)
    assert len(note.labels) == 40 * 25  # an epoch is as long as ever
    assert shares == pytest.approx([0.25] * 4, abs=0.06)
    assert len(set(note.rows)) == 40


def test_an_array_says_how_often_each_sample_is_drawn():
    note = Note()
    plain_model().fit(X, Y, 8, 20, verbose=0, callbacks=[note], sample_by=[1.0, 3.0] + [0.0] * 38)
    assert set(note.rows) == {0, 1}
    assert note.rows.count(1) / len(note.rows) == pytest.approx(0.75, abs=0.06)


def test_one_hot_rows_are_classes_too_and_ones_own_weights_are_cut_as_the_samples_are():
    data = collect(X, np.eye(4, dtype=np.float32)[Y])
    assert torch.equal(balanced(data, "sample")[1], balanced(collect(X, Y), "sample")[1])
    note = Note()
    weights = np.r_[np.zeros(20), np.ones(20)]  # of which the last ten are held out
    with pytest.warns(UserWarning, match="sorted by class"):
        plain_model().fit(X, Y, 6, 5, verbose=0, callbacks=[note], sample_by=weights, validation_split=0.25)
    assert set(note.rows) == set(range(20, 30))


def test_pictures_that_are_held_out_take_their_weights_with_them(photos):
    weights = np.r_[np.zeros(COUNTS[0]), np.ones(COUNTS[1])]
    note, _, _ = trained(photos, sample_by=weights)
    assert set(note.labels) == {1}
    loss, _, _ = trained(photos, sample_by=weights, sample_weight=np.ones(30))
    assert loss.rows == note.rows


def test_a_folder_is_drawn_from_alike_in_memory_and_from_the_disk_by_any_number_of_workers(photos, monkeypatch):
    note, history, classifier = trained(photos, balance="sample")
    assert np.mean(note.labels) == pytest.approx(0.5, abs=0.12)
    monkeypatch.setattr(FolderDataset, "fits_in_memory", lambda self, preprocess: False)
    make = feed.worker_batches
    for workers in (0, 2):

        def made(*args, workers=workers, **arguments):
            batches = make(*args, **arguments)
            batches.workers = workers
            return batches

        monkeypatch.setattr(feed, "worker_batches", made)
        streamed, same, other = trained(photos, balance="sample")
        assert (streamed.rows, streamed.labels, same) == (note.rows, note.labels, history)
        for one, two in zip(classifier.net.parameters(), other.net.parameters(), strict=True):
            assert torch.equal(one, two)


def test_workers_draw_what_arrays_draw(photos):
    dataset = lamina.data.open(photos).train.prepared(Preprocess(size=(8, 8)))
    arguments = {"batch_size": 7, "seed": 3, "sample_by": torch.linspace(0, 1, 30)}
    arrays = ArrayBatches(dataset.labels, **arguments)
    for workers in (0, 2):
        batches = WorkerBatches(dataset, workers=workers, **arguments)
        for epoch in (0, 1):
            drawn = [batch.targets for batch in batches.epoch(epoch)]
            assert torch.equal(torch.cat(drawn), torch.cat([batch.inputs for batch in arrays.epoch(epoch)]))
        assert [len(batch.targets) for batch in batches] == [7, 7, 7, 7, 2]  # looked at, each once
        batches.close()


def drawn_together(world, root):
    FolderDataset.fits_in_memory = lambda self, preprocess: False
    note, history, classifier = trained(Path(root), balance="sample", epochs=4)
    return note.rows, history, list(classifier.net.parameters())


def test_two_processes_draw_the_run_of_one_each_its_own_positions(together, photos, monkeypatch):
    (rows0, figures0, net0), (rows1, figures1, net1) = together(drawn_together, str(photos))
    assert figures0 == figures1
    assert all(torch.equal(a, b) for a, b in zip(net0, net1, strict=True))
    alone, figures, classifier = trained(photos, balance="sample", epochs=4)
    # Of each batch the first half is one's and the rest the other's: together they are the batches of one process.
    whole, at0, at1 = [], 0, 0
    held = len(alone.rows) // 4
    sizes = [10] * (held // 10) + [held % 10] * (held % 10 > 0)
    for size in sizes * 4:
        whole += rows0[at0 : at0 + size // 2] + rows1[at1 : at1 + size - size // 2]
        at0, at1 = at0 + size // 2, at1 + size - size // 2
    assert whole == alone.rows
    assert figures0["loss"] == pytest.approx(figures["loss"], rel=1e-4)
    for one, two in zip(net0, classifier.net.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_a_run_that_goes_on_must_draw_alike(tmp_path):
    def fit(sample_by, **arguments):
        return plain_model().fit(X, Y, 8, 1, verbose=0, sample_by=sample_by, run=tmp_path / "run", **arguments)

    fit(np.arange(40.0))
    assert "sample_by: weights" in (tmp_path / "run" / "config.yaml").read_text()
    fit(np.arange(40.0), resume=True)
    for other in (None, np.arange(40.0)[::-1]):
        with pytest.raises(LaminaError, match="sample_by was"):
            fit(other, resume=True)


@pytest.mark.parametrize(
    ("sample_by", "says"),
    [
        ("class", 'Pass balance="sample"'),
        ([1.0, 2.0], "x has 40 samples and sample_by has 2"),
        ([-1.0] * 40, "0 or more, and not all 0"),
    ],
)
def test_what_cannot_be_drawn_by_is_refused(sample_by, says):
    with pytest.raises(LaminaError, match=re.escape(says)):
        plain_model().fit(X, Y, verbose=0, sample_by=sample_by)


def test_batches_that_are_cut_already_and_pictures_of_another_number_are_refused(photos):
    with pytest.raises(LaminaError, match="given batches and sample_by"):
        plain_model().fit([(X[:8], Y[:8])].__iter__(), verbose=0, sample_by=np.ones(8))
    dataset = lamina.data.open(photos).train.prepared(Preprocess(size=(8, 8)))
    with pytest.raises(DataError, match="30 samples and sample_by has 3"):
        Streamed.of(dataset, beside(None, [1, 2, 3]))


def test_samples_sorted_by_class_leave_a_validation_split_without_some_and_that_is_said(recwarn):
    plain_model().fit(X, Y, verbose=0, validation_split=0.25)
    (warning,) = [w for w in recwarn if "sorted by class" in str(w.message)]
    assert "of class 0:" in str(warning.message)
    assert warning.filename == __file__
    mixed = np.random.default_rng(0).permutation(np.repeat([0, 1], 20))
    recwarn.clear()
    plain_model().fit(X, mixed, verbose=0, validation_split=0.25)
    plain_model().fit(
        X, np.arange(40) % 4, verbose=0, validation_split=0.1
    )  # four samples for four classes say nothing
    train, held = feed.split_last(Arrays((torch.zeros(40, 1),), (torch.linspace(0, 1, 40),)), 0.25)  # no classes
    assert (train.samples, held.samples) == (30, 10)
    assert not [w for w in recwarn if "sorted by class" in str(w.message)]
