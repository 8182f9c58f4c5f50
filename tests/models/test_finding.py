"""Finding the rate and the batch of a fit: the same checks as fit, and nothing changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from lamina import Classifier, data, layers, models
from lamina.core.errors import DataError, LaminaError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)).astype("float32"), RNG.integers(0, 3, 60)


def dense(**first):
    torch.manual_seed(0)
    hidden = layers.Dense(8, activation="relu", **first)
    model = models.Sequential([hidden, layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(3)])
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], device="cpu", precision="float32")
    return model


def fitted(model, x=X, y=Y, **options):
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, **options)
    return [value.clone() for value in model.net.state_dict().values()], torch.rand(3)


def pictures(folder):
    for index, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = (RNG.random((16, 16)) * 100 + index * 120).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize("first", [{"input_shape": (6,)}, {}], ids=["built", "not built"])
def test_a_fit_goes_as_if_nothing_had_been_tried(first) -> None:
    plain = fitted(dense(**first))
    model = dense(**first)
    test = model.find_lr(X, Y, batch_size=8, steps=12, check=0.01)
    assert len(test.rates) <= 12
    assert test.verdict is not None
    assert model.find_batch_size(X, Y, limit=20).largest == 20
    tried = fitted(model)
    assert all(torch.equal(a, b) for a, b in zip(plain[0], tried[0], strict=True))
    assert torch.equal(plain[1], tried[1])


def test_the_model_is_as_it_was_also_after_an_exception() -> None:
    model = dense(input_shape=(6,))
    fitted(model)
    before = copy.deepcopy(model._step.updates["net"].state_dict()), copy.deepcopy(model.net.state_dict())
    attributes, drawn = dict(vars(model)), torch.get_rng_state()

    calls = []

    def interrupt(*_):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt

    handle = model._step.view.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.find_lr(X, Y, steps=12)
    handle.remove()
    assert vars(model) == attributes
    assert torch.equal(torch.get_rng_state(), drawn)
    after = model._step.updates["net"].state_dict(), model.net.state_dict()
    assert str(after[0]) == str(before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in after[1].items())


def test_batches_of_a_loader_are_taken_and_its_position_kept() -> None:
    def loader():
        data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
        return torch.utils.data.DataLoader(data, 8, shuffle=True, generator=torch.Generator().manual_seed(3))

    batches, untried, model = loader(), loader(), dense(input_shape=(6,))
    assert model.find_lr(batches, steps=12).rates
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, untried, strict=True))
    with pytest.raises(DataError, match="gone once"):
        model.find_lr(iter(batches))
    with pytest.raises(DataError, match="cut already"):
        model.find_batch_size(batches)
    with pytest.raises(LaminaError, match="class_weight"):
        model.find_lr(batches, class_weight={0: 2.0})


def test_bad_data_is_told_as_by_fit() -> None:
    model = dense(input_shape=(6,))
    for call in (model.fit, model.find_lr, model.find_batch_size):
        with pytest.raises(LaminaError, match="samples"):
            call(X, Y[:-1])
    with pytest.raises(LaminaError, match="not compiled"):
        models.Sequential([layers.Dense(3, input_shape=(6,))]).find_lr(X, Y)


def test_a_classifier_takes_a_folder_and_is_as_new_afterwards(tmp_path) -> None:
    folder = pictures(tmp_path / "photos")

    def trained(tries: bool):
        torch.manual_seed(1)
        classifier = Classifier("fastconvnet")
        classifier.compile(device="cpu", precision="float32")
        if tries:
            found = classifier.find_lr(folder, batch_size=4, steps=10)
            assert found.losses
            assert classifier.find_batch_size(folder, limit=4).largest == 4
            assert (classifier.classes, classifier.preprocess, classifier.split) == (None, None, {})
        classifier.fit(folder, batch_size=4, epochs=1, verbose=0)
        return classifier.net.state_dict()

    plain, tried = trained(False), trained(True)
    assert all(torch.equal(value, tried[name]) for name, value in plain.items())
    with pytest.raises(DataError, match="DataLoader"):
        Classifier("fastconvnet").find_lr(torch.utils.data.DataLoader([1]))


def small_digits(labels=None):
    """MNIST's training pictures, with their labels or others, and a small network for them."""
    digits = data.load("mnist").train
    torch.manual_seed(0)
    strides = [layers.Conv2D(8, 3, 2, activation="relu", input_shape=(1, 28, 28)), layers.Conv2D(16, 3, 2)]
    model = Classifier(models.Sequential([*strides, layers.Activation("relu"), layers.Flatten(), layers.Dense(10)]))
    model.compile("adamw", device="cpu", precision="float32")
    return model, digits.images, digits.labels if labels is None else labels(len(digits.labels))


@pytest.fixture(scope="module")
def suggested():
    model, images, labels = small_digits()
    return {n: model.find_lr(images, labels, batch_size=128, steps=n).suggestions["valley"] for n in (60, 100, 200)}


def test_the_valley_of_mnist_is_the_same_with_few_steps_and_many(suggested) -> None:
    rates = list(suggested.values())
    assert max(rates) / min(rates) < 2
    assert all(1e-3 < rate < 3e-2 for rate in rates), "where three epochs on 6,000 digits learn best"


def test_random_labels_are_told_to_teach_nothing_at_any_rate() -> None:
    model, images, labels = small_digits(lambda n: torch.randint(10, (n,), generator=torch.Generator().manual_seed(1)))
    test = model.find_lr(images, labels, batch_size=128, check=0.003)
    assert test.guessing == pytest.approx(np.log(10), abs=0.01)
    assert test.suggestions == {}
    assert test.verdict.word == "nothing learned"
    assert "did not fall" in str(test)


def test_the_loss_of_guessing_is_the_entropy_of_the_classes_or_the_variance() -> None:
    model = dense(input_shape=(6,))
    shares = np.bincount(Y) / len(Y)
    assert model.find_lr(X, Y, steps=10).guessing == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-4)
    values = RNG.normal(size=(60, 3)).astype("float32")
    model.compile("adam", "mse", device="cpu", precision="float32")
    assert model.find_lr(X, values, steps=10).guessing == pytest.approx(values.var(axis=0).mean(), rel=1e-4)
    model.compile("adam", lambda outputs, targets: -(outputs * targets).mean(), device="cpu", precision="float32")
    assert model.find_lr(X, values, steps=10).guessing is None, "that loss has no least"
