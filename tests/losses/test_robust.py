"""Losses for wrong labels: their special cases, gradients, bounds, and what a batch's selection counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import losses, models
from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.optimizers import SGD
from lamina.structures.batch import Batch
from lamina.training import Callback, Runtime, SupervisedStep, Target, Update
from lamina.training.callbacks import RampSmallLoss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 3, 1, 2, 3, 0])
ONE_HOT = F.one_hot(LABELS, 4).double()
ROBUST = [losses.GeneralizedCrossentropy(), losses.SymmetricCrossentropy()]
CE = losses.SparseCategoricalCrossentropy()


def own_probs() -> torch.Tensor:
    return LOGITS.softmax(1).gather(1, LABELS[:, None])[:, 0]


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_generalised_cross_entropy_is_the_papers_formula(q: float) -> None:
    given = losses.GeneralizedCrossentropy(q).from_logits(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(given, (1 - own_probs() ** q) / q)


def test_generalised_cross_entropy_is_cross_entropy_for_a_small_q_and_half_of_the_absolute_error_for_1() -> None:
    near = losses.GeneralizedCrossentropy(1e-9).from_logits(LOGITS, LABELS)
    torch.testing.assert_close(near, F.cross_entropy(LOGITS, LABELS))
    absolute = (LOGITS.softmax(1) - ONE_HOT).abs().sum(1)
    torch.testing.assert_close(losses.GeneralizedCrossentropy(1.0).from_logits(LOGITS, LABELS), absolute.mean() / 2)


def test_symmetric_cross_entropy_is_the_sum_of_both_directions() -> None:
    probs, log_targets = LOGITS.softmax(1), torch.where(ONE_HOT > 0, 0.0, -4.0)
    expected = 0.1 * F.cross_entropy(LOGITS, LABELS) - 1.0 * (probs * log_targets).sum(1).mean()
    torch.testing.assert_close(losses.SymmetricCrossentropy().from_logits(LOGITS, LABELS), expected)


def test_symmetric_cross_entropy_has_both_parts_as_special_cases() -> None:
    one = losses.SymmetricCrossentropy(alpha=1.0, beta=0.0).from_logits(LOGITS, LABELS)
    torch.testing.assert_close(one, F.cross_entropy(LOGITS, LABELS))
    reverse = losses.SymmetricCrossentropy(alpha=0.0, beta=1.0, log_zero=-2.0).from_logits(LOGITS, LABELS)
    torch.testing.assert_close(reverse, (LOGITS.softmax(1) - ONE_HOT).abs().sum(1).mean())


@pytest.mark.parametrize("loss", [*ROBUST, losses.GeneralizedCrossentropy(1e-3), losses.SmallLoss(rate=0.5)])
def test_gradients_are_exact(loss: losses.Loss) -> None:
    assert torch.autograd.gradcheck(lambda x: loss.from_logits(x, LABELS), LOGITS.clone().requires_grad_())


@pytest.mark.parametrize("loss", ROBUST)
@pytest.mark.parametrize("far", [50.0, 1e4])
def test_a_sure_and_wrong_answer_costs_its_bound_with_finite_gradients(loss: losses.Loss, far: float) -> None:
    logits = torch.tensor([[far, 0.0], [0.0, far]], requires_grad=True)
    costs = loss.from_logits(logits, torch.tensor([1, 1]), reduction="none")
    costs.sum().backward()
    bound = 1 / 0.7 if isinstance(loss, losses.GeneralizedCrossentropy) else 0.1 * far + 4
    assert costs.tolist() == pytest.approx([bound, 0.0], abs=1e-6)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", ROBUST)
def test_probabilities_and_logits_cost_the_same_for_vectors_sequences_and_images(loss: losses.Loss) -> None:
    expected = loss.from_logits(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(loss(LOGITS.softmax(1), LABELS, reduction="none"), expected)
    sequences = loss.from_logits(LOGITS.view(2, 3, 4), LABELS.view(2, 3), reduction="none")
    torch.testing.assert_close(sequences, expected.view(2, 3).mean(1))
    images = loss.from_logits(LOGITS.T.reshape(1, 4, 2, 3), LABELS.view(1, 2, 3))
    torch.testing.assert_close(images, expected.mean())


@pytest.mark.parametrize("loss", ROBUST)
def test_a_mixed_sample_has_the_loss_of_its_classes_weighed_by_their_shares(loss: losses.Loss) -> None:
    mixed = 0.3 * ONE_HOT + 0.7 * ONE_HOT.roll(1, 0)
    parts = [loss.from_logits(LOGITS, labels, reduction="none") for labels in (LABELS, LABELS.roll(1, 0))]
    given = loss.from_logits(LOGITS, mixed, reduction="none")
    torch.testing.assert_close(given, 0.3 * parts[0] + 0.7 * parts[1])


@pytest.mark.parametrize("loss", [*ROBUST, losses.SmallLoss()])
def test_labels_are_checked_as_those_of_cross_entropy(loss: losses.Loss) -> None:
    with pytest.raises(DataError, match="label at index 1 is 4"):
        loss.check((2, 4), torch.tensor([0, 4]))
    with pytest.raises(ShapeError, match="one-hot"):
        loss.check((6, 4), ONE_HOT)
    assert loss.prepare(LABELS[:, None].to(torch.uint8), (6, 4)).equal(LABELS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.GeneralizedCrossentropy(0.0),
        lambda: losses.GeneralizedCrossentropy(1.1),
        lambda: losses.SymmetricCrossentropy(alpha=-1.0),
        lambda: losses.SymmetricCrossentropy(alpha=math.nan),
        lambda: losses.SymmetricCrossentropy(log_zero=0.0),
        lambda: losses.SmallLoss(rate=1.0),
        lambda: losses.SmallLoss(loss="mse"),  # type: ignore[arg-type]
        lambda: losses.SmallLoss(loss=losses.SparseCategoricalCrossentropy(ignore_class=255)),
        lambda: losses.SmallLoss(loss=losses.get(nn.CrossEntropyLoss())),
        lambda: RampSmallLoss(0),
    ],
)
def test_settings_without_sense_are_refused(make: object) -> None:
    with pytest.raises(LaminaError):
        make()  # type: ignore[operator]


def test_small_losses_are_the_mean_of_the_smallest_and_the_others_have_no_gradient() -> None:
    each = CE.from_logits(LOGITS, LABELS, reduction="none")
    logits = LOGITS.clone().requires_grad_()
    loss = losses.SmallLoss(rate=1 / 3)
    value = loss.from_logits(logits, LABELS)
    torch.testing.assert_close(value.detach(), each.sort().values[:4].mean())
    value.backward()
    assert logits.grad is not None
    assert ((logits.grad == 0).all(1) == (each >= each.sort().values[4])).all()
    kept = loss.from_logits(logits, LABELS, reduction="none")
    assert (kept == 0).sum() == 2
    count = loss.count(LABELS)
    assert count == 4
    torch.testing.assert_close(kept.sum() / count, value)


def test_in_evaluation_every_sample_counts() -> None:
    loss = losses.SmallLoss(rate=0.5)
    with torch.no_grad():
        torch.testing.assert_close(loss.from_logits(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))
        assert loss.count(LABELS) is None


def test_at_least_one_sample_is_learnt_from_and_with_rate_0_all() -> None:
    assert losses.SmallLoss(rate=0.9).count(LABELS[:2]) == 1
    assert losses.SmallLoss(rate=0.0).count(LABELS) is None
    torch.testing.assert_close(losses.SmallLoss(rate=0.0).from_logits(LOGITS, LABELS), CE.from_logits(LOGITS, LABELS))


def test_the_loss_of_a_step_counts_the_samples_that_it_was_learnt_from() -> None:
    net = nn.Linear(3, 4)
    runtime = Runtime("cpu", precision="float32")
    update = Update(net, SGD(learning_rate=0.1), runtime=runtime)
    step = SupervisedStep(net, update, targets=[Target(losses.SmallLoss(rate=0.25))], runtime=runtime)
    batch = Batch(torch.randn(8, 3, generator=GENERATOR), torch.arange(8) % 4, None)
    with torch.no_grad():
        each = CE.from_logits(net(batch.inputs), batch.targets, reduction="none").sort().values
    logs = step.train(batch)
    assert float(logs.count) == 6
    torch.testing.assert_close(logs.values["loss"].detach(), each[:6].mean())
    with torch.no_grad():
        assert step.evaluate(batch).count == 8


class Rates(Callback):
    """What of the rate holds in each epoch."""

    def __init__(self, loss: losses.SmallLoss) -> None:
        self.loss, self.seen = loss, list[float]()

    def on_train_batch_end(self, batch: int, logs: object) -> None:
        self.seen.append(self.loss.ramp)


def test_the_rate_rises_over_the_epochs_and_a_further_fit_has_the_whole() -> None:
    loss = losses.SmallLoss(rate=0.5)
    rates = Rates(loss)
    model = models.Model(nn.Linear(3, 4))
    model.compile("sgd", loss)
    x, y = torch.randn(8, 3, generator=GENERATOR), torch.arange(8) % 4
    told = {"batch_size": 8, "verbose": 0, "callbacks": [RampSmallLoss(2), rates]}
    model.fit(x, y, epochs=1, **told)
    assert loss.ramp == 1.0  # as it was: another model may use it
    model.fit(x, y, epochs=2, **told)
    model.fit(x, y, epochs=1, **told)
    assert rates.seen == [0.0, 0.5, 1.0, 1.0]


def test_a_ramp_without_a_small_loss_is_refused() -> None:
    model = models.Model(nn.Linear(3, 4))
    model.compile("sgd", "gce")
    with pytest.raises(LaminaError, match="without a SmallLoss"):
        model.fit(torch.randn(8, 3), torch.arange(8) % 4, verbose=0, callbacks=[RampSmallLoss(2)])


def test_the_names_and_a_models_file_bring_them_back(tmp_path: object) -> None:
    from lamina import layers
    from lamina.tasks import load

    assert losses.get("gce") == losses.get("generalized_crossentropy") == losses.GeneralizedCrossentropy(0.7)
    assert losses.get("sce") == losses.SymmetricCrossentropy()
    model = models.Sequential([layers.Dense(4, input_shape=(3,))])
    loss = losses.SmallLoss(rate=0.2, loss=losses.GeneralizedCrossentropy(q=0.5))
    model.compile("sgd", loss)
    model.save(tmp_path / "net.safetensors")  # type: ignore[operator]
    assert load(tmp_path / "net.safetensors")._compiled["loss"] == loss  # type: ignore[operator]


def test_wrong_labels_mislead_robust_losses_less() -> None:
    """A line through noise: 30 % of the labels of two blobs are wrong, and the robust losses still part the blobs."""
    generator = torch.Generator().manual_seed(3)
    truth = torch.arange(400) % 2
    x = torch.randn(400, 20, generator=generator) + 1.2 * (truth[:, None] - 0.5)
    labels = torch.where(torch.rand(400, generator=generator) < 0.3, 1 - truth, truth)
    right = {}
    for name in ("sparse_categorical_crossentropy", "gce", "sce"):
        torch.manual_seed(0)
        model = models.Model(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2)))
        model.compile("adam", name, precision="float32")
        model.fit(x, labels, batch_size=50, epochs=40, verbose=0)
        right[name] = float((torch.as_tensor(model.predict(x)).argmax(1) == truth).float().mean())
    assert right["gce"] > right["sparse_categorical_crossentropy"] + 0.02
    assert right["sce"] > right["sparse_categorical_crossentropy"] + 0.02


def test_batches_of_a_mixed_size_are_weighed_by_what_was_learnt_from() -> None:
    """10 samples in batches of 8 and 2: the epoch's loss is the mean over the 4 and the 1 that were kept."""
    model = models.Model(nn.Linear(3, 4))
    model.compile(SGD(learning_rate=0.0), losses.SmallLoss(rate=0.5), precision="float32")
    x, y = torch.randn(10, 3, generator=GENERATOR), torch.arange(10) % 4
    history = model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    with torch.no_grad():
        each = CE.from_logits(model.net(x), y, reduction="none")
    expected = (each[:8].sort().values[:4].sum() + each[8:].min()) / 5
    assert history.history["loss"][0] == pytest.approx(float(expected), rel=1e-5)
