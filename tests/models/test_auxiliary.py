"""Networks that answer with a named tuple: `logits` are the answer, the other fields train along."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import lamina
from lamina import models, networks
from lamina.core.errors import LaminaError
from lamina.structures.batch import Batch
from lamina.training import Runtime, SupervisedStep

RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 3, 16, 16), dtype=np.float32)
Y = (X.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
PLAIN = {"runtime": Runtime("cpu", precision="float32")}


class Answer(NamedTuple):
    logits: Tensor
    aux1: Tensor | None
    aux2: Tensor | None


class Tiny(nn.Module):
    """A convolution with BatchNorm and dropout, and three heads."""

    auxiliary_weight = 0.3

    def __init__(self, *, auxiliary=True):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.aux1 = nn.Linear(8, 2) if auxiliary else None
        self.aux2 = nn.Linear(8, 2) if auxiliary else None
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, images):
        x = self.conv(images).mean((2, 3))
        aux = [None if head is None else head(x) for head in (self.aux1, self.aux2)]
        return Answer(self.head(x), *aux)


class Alone(nn.Module):
    """The same network, answering with its logits alone."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images).logits


def compiled(net, *, optimizer="sgd", **options):
    model = models.Model(net)
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"], **(options or PLAIN))
    return model


def twins(make):
    torch.manual_seed(0)
    one = make()
    other = make()
    other.load_state_dict(one.state_dict())
    return one, other


def by_hand(net, batches, *, seeds, lr=0.01, weight=0.3):
    """The hand-written loop: the three losses, summed with their weights."""
    net.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, fused=True)
    losses = []
    for (x, y), seed in zip(batches, seeds, strict=True):
        torch.manual_seed(seed)
        answer = net(torch.from_numpy(x).contiguous(memory_format=torch.channels_last))
        targets = torch.from_numpy(y)
        parts = [F.cross_entropy(output, targets) for output in answer if output is not None]
        loss = parts[0]
        for part in parts[1:]:
            loss = loss + weight * part
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append([float(loss.detach()), *(float(part.detach()) for part in parts[1:])])
    return losses


def stepped(model, batches, *, seeds):
    step = model._make_step()
    assert type(step) is SupervisedStep
    model.net.train()
    logged = []
    for (x, y), seed in zip(batches, seeds, strict=True):
        torch.manual_seed(seed)
        logged.append(step.train(Batch(torch.from_numpy(x), torch.from_numpy(y))))
    return logged


def same_state(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("auxiliary", [True, False])
def test_updates_are_those_of_the_hand_written_sum_of_three_losses_bit_for_bit(auxiliary):
    ours, reference = twins(lambda: Tiny(auxiliary=auxiliary))
    batches, seeds = [(X[i : i + 16], Y[i : i + 16]) for i in (0, 16, 32)], (5, 6, 7)
    logged = stepped(compiled(ours), batches, seeds=seeds)
    expected = by_hand(reference, batches, seeds=seeds)
    assert same_state(ours, reference)
    names = ["loss", "aux1_loss", "aux2_loss"] if auxiliary else ["loss"]
    assert [[float(logs.values[name]) for name in names] for logs in logged] == expected
    assert list(logged[0].values) == names


def test_googlenet_updates_as_the_hand_written_sum_of_three_losses_bit_for_bit():
    ours, reference = twins(lambda: networks.create("googlenet", num_classes=2))
    images = RNG.standard_normal((4, 3, 64, 64), dtype=np.float32)
    batches = [(images, np.array([0, 1, 1, 0]))]
    logged = stepped(compiled(ours), batches, seeds=[3])
    assert [float(v) for v in logged[0].values.values()] == by_hand(reference, batches, seeds=[3])[0]
    assert same_state(ours, reference)


def test_the_weight_is_the_networks():
    ours, reference = twins(Tiny)
    ours.auxiliary_weight = 0.5
    stepped(compiled(ours), [(X, Y)], seeds=[1])
    by_hand(reference, [(X, Y)], seeds=[1], weight=0.5)
    assert same_state(ours, reference)


def test_evaluation_counts_the_logits_alone():
    torch.manual_seed(0)
    net = Tiny()
    figures = compiled(net).evaluate(X, Y)
    assert set(figures) == {"loss", "accuracy"}
    assert figures == compiled(Alone(net)).evaluate(X, Y)


def test_predictions_are_the_logits():
    torch.manual_seed(0)
    net = Tiny()
    answers = compiled(net).predict(X)
    assert answers.shape == (48, 2)
    np.testing.assert_array_equal(answers, compiled(Alone(net)).predict(X))


@pytest.mark.parametrize("auxiliary", [True, False])
def test_fit_evaluate_and_predict_work_with_a_run_on_disk(tmp_path, auxiliary):
    torch.manual_seed(0)
    model = compiled(Tiny(auxiliary=auxiliary), optimizer="adam", **PLAIN)
    history = model.fit(
        X, Y, batch_size=16, epochs=3, validation_data=(X, Y), run=tmp_path / "run", log_every=1, verbose=0
    ).history
    added = ["aux1_loss", "aux2_loss"] if auxiliary else []
    assert set(history) - {"learning_rate"} == {"loss", "accuracy", "val_loss", "val_accuracy", *added}
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, Y)["loss"])
    steps = (tmp_path / "run" / "steps.csv").read_text(encoding="utf-8").splitlines()
    assert len(steps) == 1 + 9
    assert all(name in steps[0].split(",") for name in added)


def test_sample_weights_reach_the_auxiliary_losses():
    ours, reference = twins(Tiny)
    weights = np.linspace(0, 2, 48).astype(np.float32)
    compiled(ours).fit(X, Y, sample_weight=weights, batch_size=48, shuffle=False, verbose=0)
    compiled(reference).fit(X, Y, batch_size=48, shuffle=False, verbose=0)
    assert not torch.equal(ours.aux1.weight, reference.aux1.weight)
    zero, before = twins(Tiny)
    compiled(zero).fit(X, Y, sample_weight=np.zeros(48, np.float32), batch_size=48, verbose=0)
    assert torch.equal(zero.aux1.weight, before.aux1.weight)


@pytest.mark.parametrize("name", ["googlenet", "googlenet_2014"])
def test_googlenet_can_be_fitted_measured_and_asked(name):
    torch.manual_seed(0)
    model = compiled(networks.create(name, num_classes=2, in_channels=1), optimizer="adam")
    images = RNG.standard_normal((6, 1, 64, 64), dtype=np.float32)
    labels = np.array([0, 1, 0, 1, 0, 1])
    history = model.fit(images, labels, batch_size=3, epochs=1, validation_data=(images, labels), verbose=0).history
    assert {"loss", "aux1_loss", "aux2_loss", "val_loss"} <= set(history)
    assert "val_aux1_loss" not in history
    assert model.predict(images).shape == (6, 2)
    assert model.evaluate(images, labels)["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_a_saved_googlenet_answers_the_same(tmp_path):
    torch.manual_seed(0)
    model = compiled(networks.create("googlenet", num_classes=2, arguments={"auxiliary": False}))
    images = RNG.standard_normal((2, 3, 64, 64), dtype=np.float32)
    again = lamina.load(model.save(tmp_path / "net.safetensors"))
    assert again.net.aux1 is None
    np.testing.assert_array_equal(again.predict(images), model.predict(images))


def test_torchvisions_googlenet_trains_its_auxiliary_classifiers_too():
    torch.manual_seed(0)
    net = torchvision.models.GoogLeNet(num_classes=2, init_weights=False)
    net.auxiliary_weight = 0.3
    model = compiled(net)
    images = RNG.standard_normal((4, 3, 64, 64), dtype=np.float32)
    history = model.fit(images, np.array([0, 1, 0, 1]), batch_size=4, epochs=1, verbose=0).history
    assert {"aux_logits1_loss", "aux_logits2_loss"} <= set(history)


def test_auxiliary_outputs_without_a_weight_are_refused_and_the_error_says_what_to_set():
    class Weightless(Tiny):
        auxiliary_weight = None

    with pytest.raises(LaminaError, match=r"Weightless gives logits and aux1, aux2.*net\.auxiliary_weight = 0\.3"):
        compiled(Weightless()).fit(X, Y, verbose=0)
    assert set(compiled(Weightless()).evaluate(X, Y)) == {"loss", "accuracy"}  # which does not need it


def test_a_classifier_trains_googlenet():
    torch.manual_seed(0)
    pictures = RNG.integers(0, 256, (8, 3, 64, 64), dtype=np.uint8)
    labels = np.array([0, 1] * 4)
    classifier = lamina.Classifier("googlenet", preprocess=lamina.Preprocess(size=(64, 64)), classes=("a", "b"))
    history = classifier.fit(pictures, labels, epochs=1, batch_size=4, validation_split=0.0, verbose=0).history
    assert "aux2_loss" in history
    assert classifier.predict_probs(pictures).shape == (8, 2)
