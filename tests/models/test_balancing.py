"""`balance`: what each kind does to the samples and losses of a `fit`, alone and in two processes, and in what it is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import models
from lamina.core.errors import LaminaError
from lamina.data import FolderDataset, Preprocess
from lamina.data.augment import Mixup
from lamina.data.balance import BALANCES
from lamina.models import feed
from lamina.training import Callback

COUNTS = (24, 6)  # pictures of the two classes
X, Y = np.random.default_rng(1).random((40, 3), dtype=np.float32), np.repeat([0, 1, 2, 3], [25, 9, 5, 1])


class Note(Callback):
    """Which samples were drawn, their labels, and the weights of their losses."""

    def __init__(self):
        self.rows, self.labels, self.weights = [], [], []

    def on_train_batch_end(self, batch, logs):
        self.rows += self.loop.batches.rows(self.loop.epochs_done, batch)
        self.labels += self.loop.last_batch.targets.flatten().tolist()
        weights = self.loop.last_batch.weights
        self.weights += [] if weights is None else weights.tolist()


def plain_model(loss="sparse_categorical_crossentropy"):
    torch.manual_seed(0)
    model = models.Model(nn.Linear(3, 4))
    model.compile("sgd", loss, device="cpu", precision="float32")
    return model


def noted(y=Y, **arguments):
    note = Note()
    plain_model().fit(X, y, 8, 2, verbose=0, callbacks=[note], **arguments)
    return note


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label, (name, count) in enumerate(zip("ab", COUNTS, strict=True)):
        (root / name).mkdir()
        for index in range(count):
            pixels = rng.integers(0, 100, (24, 24, 3)) + label * 120
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index}.png")
    return root


def trained(data, **arguments):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    classifier, note = lamina.Classifier(net, preprocess=Preprocess(size=(24, 24))), Note()
    classifier.compile(device="cpu", precision="float32")
    history = classifier.fit(data, batch_size=10, verbose=0, callbacks=[note], **{"epochs": 3, **arguments}).history
    return note, history, list(classifier.net.parameters())


@pytest.mark.parametrize(("balance", "length"), [("under", 4), ("over", 100)])
def test_an_epoch_has_equally_many_samples_of_each_class(balance, length):
    note = noted(balance=balance)
    assert np.bincount(note.labels).tolist() == [2 * length / 4] * 4
    assert note.weights == []
    if balance == "over":
        assert set(note.rows[:length]) == set(range(40))


@pytest.mark.parametrize("balance", ["weights", "effective"])
def test_weights_multiply_the_loss_as_class_weights_do(balance):
    counts = np.bincount(Y)
    by_class = 1 / counts if balance == "weights" else 1 / (1 - 0.999**counts)
    by_class = by_class * 40 / (by_class * counts).sum()
    one, two = plain_model(), plain_model()
    figures = one.fit(X, Y, 8, 3, verbose=0, balance=balance).history
    assert figures["loss"] == pytest.approx(
        two.fit(X, Y, 8, 3, verbose=0, class_weight=dict(enumerate(by_class))).history["loss"]
    )
    own = noted(balance=balance, sample_weight=np.arange(40.0))
    assert own.weights == pytest.approx([by_class[Y[row]] * row for row in own.rows], rel=1e-5)


def test_validation_is_never_balanced(photos):
    train = lamina.data.open(photos).train
    for balance in BALANCES:
        model = plain_model()
        history = model.fit(X, Y, 8, 1, verbose=0, balance=balance, validation_data=(X, Y)).history
        assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, Y)["loss"])
        _, history, _ = trained(train, balance=balance, epochs=1, validation_data=train)
        assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_frequencies_are_those_of_what_is_trained_on(photos):
    note, _, _ = trained(photos, balance="weights")  # a tenth is held out
    labels = np.array(note.labels)
    counts = np.bincount(labels[: len(labels) // 3])
    assert counts.sum() == 27
    assert note.weights == pytest.approx(27 / (2 * counts[labels]))


@pytest.mark.parametrize("balance", BALANCES)
def test_a_folder_is_balanced_alike_in_memory_and_from_the_disk(photos, monkeypatch, balance):
    note, history, parameters = trained(photos, balance=balance)
    monkeypatch.setattr(FolderDataset, "fits_in_memory", lambda self, preprocess: False)
    make = feed.worker_batches

    def made(*args, **arguments):
        batches = make(*args, **arguments)
        batches.workers = 0
        return batches

    monkeypatch.setattr(feed, "worker_batches", made)
    streamed, same, others = trained(photos, balance=balance)
    assert (streamed.rows, streamed.labels, streamed.weights, same) == (note.rows, note.labels, note.weights, history)
    assert all(map(torch.equal, parameters, others))


def balanced_together(world, root, balance):
    FolderDataset.fits_in_memory = lambda self, preprocess: False
    note, history, parameters = trained(Path(root), balance=balance)
    return note.rows, note.weights, history, parameters


@pytest.mark.parametrize("balance", ["weights", "under", "over"])
def test_two_processes_balance_by_the_frequencies_of_all(together, photos, balance):
    (rows0, weights0, figures0, net0), (rows1, weights1, figures1, net1) = together(
        balanced_together, str(photos), balance
    )
    assert figures0 == figures1
    assert all(map(torch.equal, net0, net1))
    alone, figures, net = trained(photos, balance=balance)
    assert sorted(rows0 + rows1) == sorted(alone.rows)
    assert sorted(weights0 + weights1) == sorted(alone.weights)
    assert figures0["loss"] == pytest.approx(figures["loss"], rel=1e-4)
    for one, two in zip(net0, net, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_a_run_that_goes_on_must_be_balanced_alike(tmp_path):
    def fit(balance, **arguments):
        return plain_model().fit(X, Y, 8, 1, verbose=0, balance=balance, run=tmp_path / "run", **arguments)

    fit("over")
    assert "balance: over" in (tmp_path / "run" / "config.yaml").read_text()
    fit("over", resume=True)
    for other in ("under", "weights", None):
        with pytest.raises(LaminaError, match="balance was"):
            fit(other, resume=True)
    swapped = np.where(Y == 0, 1, np.where(Y == 1, 0, Y))
    with pytest.raises(LaminaError, match="content of sample_by was"):
        plain_model().fit(X, swapped, 8, 1, verbose=0, balance="over", run=tmp_path / "run", resume=True)


def test_a_run_that_was_stopped_in_an_epoch_goes_on_bit_for_bit(tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs):
            if self.loop.steps_done == 15:
                raise KeyboardInterrupt

    whole, stopped, resumed = plain_model(), plain_model(), plain_model()
    whole.fit(X, Y, 8, 2, verbose=0, balance="over")
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X, Y, 8, 2, verbose=0, balance="over", run=tmp_path, callbacks=[Stop()], checkpoint_every=1)
    resumed.fit(X, Y, 8, 2, verbose=0, balance="over", run=tmp_path, resume=True, checkpoint_every=1)
    assert all(map(torch.equal, whole.net.parameters(), resumed.net.parameters()))


def test_a_fine_tuning_is_balanced_in_both_phases(photos):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    classifier, note = lamina.Classifier(net, classes=("a", "b"), preprocess=Preprocess(size=(24, 24))), Note()
    classifier.compile(device="cpu", precision="float32")
    classifier.freeze()
    seen = []
    real = models.Model.fit

    def watched(self, *args, **arguments):
        seen.append(arguments.get("balance"))
        return real(self, *args, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.Model, "fit", watched)
        classifier.fine_tune(photos, epochs=1, freeze_epochs=1, balance="under", verbose=0, callbacks=[note])
    assert seen == ["under", "under"]
    assert np.bincount(note.labels).tolist() == [len(note.labels) / 2] * 2


@pytest.mark.parametrize("balance", ["sample", "under", "over"])
def test_drawing_goes_with_mixing_and_weights_do_not(balance):
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)

    def fit(balance):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        classifier = lamina.Classifier(net, preprocess=Preprocess(channels=1, size=(8, 8)))
        classifier.compile(device="cpu", precision="float32")
        return classifier.fit(images, Y, 8, 1, verbose=0, balance=balance, augment=Mixup(0.2), validation_split=0.0)

    assert np.isfinite(fit(balance).history["loss"]).all()
    with pytest.raises(LaminaError, match='balance="sample", "under" or "over"'):
        fit("weights")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"balance": "weight"}, "'weights'"),
        ({"balance": "over", "class_weight": {0: 2.0}}, "balance='over' came beside class_weight"),
        ({"balance": "sample", "sample_by": np.ones(40)}, "balance='sample' came beside sample_by"),
        ({"balance": "weights", "y": np.linspace(0, 1, 40, dtype=np.float32)}, "targets of the type float32"),
        ({"balance": "weights", "y": (X[:, :1] > 0.5) | (np.arange(4) == Y[:, None])}, "binary_focal"),
    ],
)
def test_what_cannot_be_balanced_is_refused(arguments, says):
    y = arguments.pop("y", Y)
    model = models.Model(nn.Linear(3, 1 if y.dtype == np.float32 else 4))
    loss = {"float32": "mse", "bool": "binary_crossentropy"}.get(str(y.dtype), "sparse_categorical_crossentropy")
    model.compile("sgd", loss, device="cpu", precision="float32")
    with pytest.raises(LaminaError, match=re.escape(says)) as caught:
        model.fit(X, y, verbose=0, **arguments)
    assert caught.value.remedy


def test_labels_that_are_ignored_and_batches_that_are_cut_are_refused():
    model = plain_model(lamina.losses.SparseCategoricalCrossentropy(ignore_class=-1))
    with pytest.raises(LaminaError, match="labels below 0"):
        model.fit(X, np.where(Y == 3, -1, Y), verbose=0, balance="under")
    with pytest.raises(LaminaError, match="given batches and balance"):
        plain_model().fit([(X[:8], Y[:8])].__iter__(), verbose=0, balance="over")


def test_rates_are_tried_on_the_samples_that_a_balance_draws(monkeypatch):
    seen = []
    batches = feed.array_batches
    monkeypatch.setattr(feed, "array_batches", lambda *args, **told: seen.append(batches(*args, **told)) or seen[-1])
    found = plain_model().find_lr(X, Y, batch_size=8, steps=10, balance="over")
    assert (seen[0].drawn, len(found.rates) > 1) == (100, True)
    with pytest.raises(LaminaError, match=r"There is no balance called 'overr'\. Known are 'weights'"):
        plain_model().find_lr(X, Y, balance="overr")
