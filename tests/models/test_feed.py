"""What the loop is fed with: augmentations that mix samples, with the losses that can follow them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import layers, losses, models
from lamina.core.errors import LaminaError
from lamina.data.augment import Compose, CutMix, Mixup, RandomCrop, RandomFlip
from lamina.data.loader import ArrayBatches
from lamina.models import feed
from lamina.training import Runtime

X = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)
Y = np.arange(40) % 3
AUGMENT = [RandomFlip(), RandomCrop(2), Mixup(0.4)]


def small(loss="sparse_categorical_crossentropy", metrics=("accuracy",)):
    torch.manual_seed(0)
    inputs = layers.Input((1, 8, 8))
    model = models.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(inputs)))
    model.compile("sgd", loss, list(metrics), device="cpu", precision="float32")
    return model


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_fit_mixes_samples_and_integer_labels(smoothing):
    model, twin = small(losses.SparseCategoricalCrossentropy(smoothing)), small()
    history = model.fit(X, Y, batch_size=16, epochs=2, augment=AUGMENT, seed=5, verbose=0)
    batches = ArrayBatches(
        torch.tensor(X), torch.tensor(Y), batch_size=16, shuffle=True, seed=5, augment=Compose(AUGMENT, num_classes=3)
    )
    optimizer = torch.optim.SGD(twin.net.parameters(), lr=0.01)
    for epoch in range(2):
        right = 0
        for images, shares, _ in batches.epoch(epoch):
            logits = (
                twin.net[1](images.flatten(1)) if isinstance(twin.net, torch.nn.Sequential) else _logits(twin, images)
            )
            loss = F.cross_entropy(logits, shares, label_smoothing=smoothing)
            right += int((logits.argmax(1) == shares.argmax(1)).sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert history.history["accuracy"][epoch] == pytest.approx(right / 40)
    for ours, plain in zip(model.net.parameters(), twin.net.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)


def _logits(model, images):
    return model.net(images).clamp(min=1e-30).log()


def test_one_hot_targets_are_mixed_as_they_are():
    histories = [
        small(loss).fit(X, y, epochs=2, augment=AUGMENT, verbose=0).history
        for loss, y in [
            ("sparse_categorical_crossentropy", Y),
            ("categorical_crossentropy", np.eye(3, dtype=np.float32)[Y]),
        ]
    ]
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"])
    assert histories[0]["accuracy"] == histories[1]["accuracy"]


def test_validation_is_neither_mixed_nor_augmented():
    model = small()
    history = model.fit(X, Y, augment=CutMix(), validation_data=(X, Y), verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(model.evaluate(X, Y)["loss"])


def test_a_run_with_mixing_goes_on_where_it_stopped(tmp_path):
    whole = small()
    whole.fit(X, Y, batch_size=16, epochs=3, augment=AUGMENT, verbose=0)
    small().fit(X, Y, batch_size=16, epochs=1, augment=AUGMENT, verbose=0, run=tmp_path / "run")
    resumed = small()
    resumed.fit(X, Y, batch_size=16, epochs=3, augment=AUGMENT, verbose=0, run=tmp_path / "run", resume=True)
    for ours, plain in zip(resumed.net.parameters(), whole.net.parameters(), strict=True):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize(
    ("loss", "more", "message"),
    [
        (losses.SparseCategoricalCrossentropy(ignore_class=1), {}, r"ignore_class=1.*one target.*one-hot"),
        (torch.nn.NLLLoss(), {}, r"NLLLoss.*sparse_categorical_crossentropy"),
        (lambda outputs, labels: outputs[:, 0], {}, "share of each class"),
        ("sparse_categorical_crossentropy", {"class_weight": {0: 2.0}}, "no weight of its own"),
    ],
)
def test_a_loss_that_cannot_follow_a_mixture_says_which_can(loss, more, message):
    with pytest.raises(LaminaError, match=message):
        small(loss, ()).fit(X, Y, augment=[Mixup()], verbose=0, **more)


def test_batches_that_mix_by_themselves_are_checked_by_the_labels_they_hold():
    batches = ArrayBatches(
        torch.tensor(X), torch.tensor(Y), batch_size=16, shuffle=True, augment=Compose(AUGMENT, num_classes=3)
    )
    given, fed = small(), small()
    losses_given = given.fit(X, Y, batch_size=16, epochs=2, augment=AUGMENT, verbose=0).history["loss"]
    assert fed.fit(batches, epochs=2, validation_data=(X, Y), verbose=0).history["loss"] == losses_given
    assert batches.augment.mixes


@pytest.mark.parametrize(("side", "device", "most"), [(224, "cpu", 32), (28, "cpu", 100), (224, "cuda", 100)])
def test_processors_answer_large_samples_some_at_a_time(side, device, most):
    seen = []

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, images):
            seen.append(len(images))
            return images.mean(dim=(2, 3)) * self.scale

    model = models.Model(Mean())
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = torch.rand(100, 3, side, side), torch.arange(100) % 3
    if device != "cpu":  # as on a GPU, which nothing here has
        told = Runtime("cpu")
        told.device = torch.device("cuda")
        assert feed.answered_at_once(100, (x,), told) == most
        return
    before = model.predict(x)
    assert max(seen) == most
    assert np.array_equal(before, np.concatenate([model.predict(part) for part in x.split(7)]))
    seen.clear()
    whole = model.evaluate(x, y)
    assert max(seen) == most
    assert whole == pytest.approx(model.evaluate(x, y, batch_size=7), rel=1e-6)
    seen.clear()
    model.fit(x[:64], y[:64], batch_size=64, epochs=1, validation_data=(x, y), verbose=0)
    assert max(seen[-4:]) == most
    assert 64 in seen  # training takes what it was told
