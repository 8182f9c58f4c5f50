"""A classifier's temperature: learnt from held-out pictures, used, kept and exported."""

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina.core.errors import LaminaError

GREY = lamina.Preprocess(channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))


def noisy(count, seed):
    """Pictures of two brightnesses, a fifth of them with a label that is chance: a sure network says too much."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = np.clip(40 + 160 * labels[:, None, None] + rng.normal(0, 10, (count, 8, 8)), 0, 255).astype(np.uint8)
    lucky = rng.random(count) < 0.2
    labels[lucky] = rng.integers(0, 2, lucky.sum())
    return lamina.data.ImageDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels), ("a", "b"))


def made(ending=None):
    """A network that tells the brightness, far too surely."""
    linear = nn.Linear(64, 2)
    with torch.no_grad():
        middle = (torch.tensor([40.0, 200.0]) / 255 - 0.5) / 0.25
        linear.weight.copy_(middle[:, None].expand(2, 64) / 64 * 3)
        linear.bias.copy_(-1.5 * middle**2)
    net = nn.Sequential(nn.Flatten(), linear, *([] if ending is None else [ending]))
    return lamina.Classifier(net, classes=("a", "b"), preprocess=GREY)


def test_learns_a_temperature_that_helps_on_other_pictures():
    classifier, other = made(), noisy(600, 1)
    before, classes = lamina.explain.calibration(classifier, other), [r.label for r in classifier.predict(other)]
    found = classifier.calibrate(noisy(600, 0))
    after = lamina.explain.calibration(classifier, other)
    assert classifier.temperature == found.value > 1.5
    assert before.ece > 0.08 > 0.04 > after.ece
    assert found.after.ece < found.before.ece
    assert [r.label for r in classifier.predict(other)] == classes


@pytest.mark.parametrize("ending", [None, nn.Softmax(dim=1)], ids=["logits", "probabilities"])
def test_probabilities_are_those_of_logits_over_the_temperature(ending):
    classifier, data = made(ending), noisy(20, 0)
    plain = classifier.predict_probs(data)
    classifier.temperature = 2.0
    expected = torch.log_softmax(torch.log(torch.tensor(plain).double().clamp(min=1e-30)) / 2, 1).exp()
    assert classifier.predict_probs(data) == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_file_the_deployed_module_and_what_goes_on_keep_it(tmp_path):
    classifier, data = made(), noisy(30, 0)
    classifier.temperature = 3.0
    probs = classifier.predict_probs(data)
    path = classifier.save(tmp_path / "c.safetensors")
    opened = lamina.load(path, modules={"torch.nn.modules.container.Sequential": made().net})
    assert opened.temperature == 3.0
    assert np.array_equal(opened.predict_probs(data), probs)
    assert classifier.deployable().module()(data.images).numpy() == pytest.approx(probs, abs=1e-6)
    classifier.fit(data, epochs=1, verbose=0, validation_split=0.0)
    assert classifier.temperature == 1.0


def test_calibrating_again_begins_from_the_networks_own_answers():
    classifier, data = made(), noisy(300, 0)
    first = classifier.calibrate(data).value
    assert classifier.calibrate(data).value == pytest.approx(first)


def test_a_temperature_of_one_leaves_no_trace():
    assert "temperature" not in made().deployable().description


def test_of_a_data_set_with_parts_the_test_is_not_touched():
    parts = {name: noisy(200, seed) for seed, name in enumerate(("train", "test", "validation"))}
    splits = lamina.data.Splits(**parts)
    classifier = made()
    assert classifier.calibrate(splits).value == classifier.calibrate(parts["validation"]).value
    with pytest.raises(LaminaError, match=r"no part for validation.*calibrate\(splits.test\)"):
        classifier.calibrate(lamina.data.Splits(train=parts["train"], test=parts["test"]))


def test_what_training_held_out_is_taken():
    data = noisy(200, 0)
    classifier = made()
    classifier.fit(lamina.data.Splits(train=data, test=None), epochs=1, verbose=0)
    held = data.split(0.1, seed=classifier.split["seed"])[1]
    found = classifier.calibrate(lamina.data.Splits(train=data, test=noisy(50, 9)))
    assert found.value == pytest.approx(classifier.calibrate(held).value)


def test_several_labels_have_one_temperature():
    data = noisy(300, 0)
    several = lamina.data.ImageDataset(data.images, nn.functional.one_hot(data.labels), data.classes)
    net = made().net
    classifier = lamina.Classifier(net, classes=("a", "b"), preprocess=GREY, multi_label=True)
    before = lamina.explain.calibration(classifier, several).nll
    classifier.calibrate(several)
    assert lamina.explain.calibration(classifier, several).nll < before


def test_a_failure_leaves_the_temperature_as_it_was():
    classifier = made()
    classifier.temperature = 2.0
    one = noisy(1, 0)
    with pytest.raises(LaminaError):
        classifier.calibrate(one)
    assert classifier.temperature == 2.0
