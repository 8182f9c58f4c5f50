"""Ensembles, and test-time augmentation through the front door: real answers of tiny linear networks."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.callbacks import Snapshots
from lamina.core.errors import DataError, FileFormatError, LaminaError, UnknownNameError
from lamina.data.augment import RandomFlip
from lamina.data.dataset import ImageDataset
from lamina.data.preprocess import Preprocess
from lamina.data.splits import Splits
from lamina.optimizers.schedules import CosineRestarts

CLASSES = ("left", "right", "none")


def linear(seed, *, size=8, classes=CLASSES, scale=0.5):
    """A classifier with random weights that nobody trained."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(size * size, len(classes)))
    nn.init.normal_(net[1].weight, std=scale / size)
    made = lamina.Classifier(net, classes=classes, preprocess=Preprocess(channels=1, size=(size, size)))
    made.name = f"linear{seed}"
    return made


def pictures(count=60, *, size=8, seed=0, classes=CLASSES):
    rng = np.random.default_rng(seed)
    labels = torch.arange(count) % len(classes)
    images = torch.from_numpy(rng.integers(0, 255, (count, 1, size, size)).astype(np.uint8))
    return ImageDataset(images, labels, classes)


@pytest.fixture
def folder(tmp_path):
    """Pictures of 20 x 24 px in a folder for each class."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 255, (20, 24)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


# Ensembles --------------------------------------------------------------------------------------------------------


def test_answers_with_the_mean_of_probabilities_or_of_logits():
    members, data = [linear(0), linear(1)], pictures()
    one, two = (member.predict_probs(data.images) for member in members)
    mean = lamina.Ensemble(members, weights=[1, 3]).predict_probs(data.images)
    assert mean == pytest.approx(0.25 * one + 0.75 * two, abs=1e-6)
    logits = 0.5 * np.log(one) + 0.5 * np.log(two)
    product = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert lamina.Ensemble(members, average="logits").predict_probs(data.images) == pytest.approx(product, abs=1e-6)


def test_predicts_as_a_classifier_does(folder):
    ensemble = lamina.Ensemble([linear(0), linear(1)])
    path = folder / "left" / "0.png"
    result = ensemble.predict(path)
    assert (result.path, len(result.probs)) == (str(path), 3)
    several = ensemble.predict([path, folder / "right" / "1.png"])
    assert several[0].probs == pytest.approx(result.probs, abs=1e-6)
    assert len(ensemble.predict(folder, tta="ten-crop")) == 12


def test_members_may_see_pictures_in_other_sizes(folder):
    members = [linear(0, size=8), linear(1, size=12)]
    mean = np.mean([member.predict_probs(folder) for member in members], axis=0)
    assert lamina.Ensemble(members).predict_probs(folder) == pytest.approx(mean, abs=1e-6)
    figures = lamina.Ensemble(members).evaluate(folder)
    assert figures["accuracy"] == pytest.approx((mean.argmax(1) == np.repeat([0, 2, 1], 4)).mean())  # left none right


def test_classes_in_another_order_are_matched_by_name():
    first, data = linear(0), pictures()
    turned = linear(1, classes=("none", "left", "right"))
    by_name = turned.predict_probs(data.images)[:, [1, 2, 0]]
    ensemble = lamina.Ensemble([first, turned], weights=[0, 1])
    assert ensemble.classes == CLASSES
    assert ensemble.predict_probs(data.images) == pytest.approx(by_name, abs=1e-6)
    other_order = ImageDataset(data.images, (data.labels + 1) % 3, ("none", "left", "right"))
    assert ensemble.evaluate(other_order) == pytest.approx(ensemble.evaluate(data))


def test_the_figures_of_one_member_are_its_own():
    data = pictures()
    alone, beside = linear(0), linear(1)
    table = lamina.Ensemble([alone, beside], weights=[1, 0]).compare(data)
    for figures in (table.figures[0], table.figures[-1]):
        assert figures == pytest.approx(alone.evaluate(data), rel=1e-4)
    text = str(table)
    for part in ("linear0", "linear1", "weight", "1.000", "ensemble, mean of probabilities", "gain over the best"):
        assert part in text
    assert table.to_dict()["rows"][1]["name"] == "linear1"


def test_the_gain_is_over_the_best_member_of_each_figure():
    table = lamina.Ensemble([linear(0), linear(1), linear(2)]).compare(pictures())
    accuracies, losses = ([row[name] for row in table.figures] for name in ("accuracy", "loss"))
    assert table.gain["accuracy"] == pytest.approx(accuracies[-1] - max(accuracies[:-1]))
    assert table.gain["loss"] == pytest.approx(losses[-1] - min(losses[:-1]))


def test_weights_are_learned_on_validation_pictures():
    good = linear(0, scale=2.0)
    data = pictures(300)
    known = good.predict_probs(data.images).argmax(1)
    told = ImageDataset(data.images, torch.from_numpy(known), CLASSES)  # labels that the first member knows
    for average in ("probs", "logits"):
        ensemble = lamina.Ensemble([good, linear(1), linear(2)], average=average)
        before = ensemble.evaluate(told)["loss"]
        weights = ensemble.learn_weights(told)
        assert weights == ensemble.weights
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        assert min(weights) >= 0
        assert weights[0] > 0.8
        with pytest.warns(UserWarning, match="the very pictures that its weights were learned on"):
            assert ensemble.evaluate(told)["loss"] < before
        ensemble.evaluate(told.subset(range(10)))  # others: no warning


def test_weights_come_from_the_validation_part_and_never_from_the_test_part():
    validation, test = pictures(seed=1), pictures(seed=2)
    one, other = (lamina.Ensemble([linear(0), linear(1)]) for _ in range(2))
    assert one.learn_weights(Splits(None, test, validation)) == other.learn_weights(validation)
    with pytest.raises(DataError, match="is a test set"):
        one.learn_weights(Splits(None, test))
    for name in ("test", "train"):
        with pytest.raises(DataError, match="is a test set" if name == "test" else "held out none"):
            one.learn_weights(Splits(validation, None, name=name))
    assert one.learn_weights(Splits(validation, None, name="others")) == other.weights  # a plain folder
    with pytest.raises(DataError, match="held out none"):
        one.learn_weights(Splits(pictures(), test))


def test_weights_may_come_from_what_all_members_held_out():
    train = pictures(100)
    members = [linear(0), linear(1)]
    for member in members:
        member.split = {"held_out": 0.2, "of": 100, "by": "content hash", "seed": 0}
    held = train.split(0.2, seed=0)[1]
    one, other = lamina.Ensemble(members), lamina.Ensemble(members)
    assert one.learn_weights(Splits(train, None)) == other.learn_weights(held)
    assert len(one._measured(Splits(train, None))) == len(held)
    members[1].split = {**members[1].split, "held_out": 0.1}
    with pytest.raises(DataError, match="or different ones"):
        lamina.Ensemble(members).learn_weights(Splits(train, None))
    with pytest.raises(DataError, match="held out different"):
        lamina.Ensemble(members).evaluate(Splits(train, None))


def test_one_file_holds_all_members_and_asks_for_modules_of_ones_own(tmp_path):
    path = lamina.Ensemble([linear(0), linear(1, size=12)]).save(tmp_path / "both.safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["both.safetensors"]
    with pytest.raises(FileFormatError, match="modules="):  # as the members' own files would say
        lamina.load(path)


def test_a_saved_ensemble_answers_the_same(tmp_path):
    members = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        classes, preprocess = CLASSES, Preprocess(channels=1, size=(28, 28))
        members.append(lamina.Classifier("fastconvnet", classes=classes, preprocess=preprocess))
    ensemble = lamina.Ensemble(members, weights=[1, 2])
    images = pictures(4, size=28).images
    loaded = lamina.load(ensemble.save(tmp_path / "both.safetensors"))
    assert isinstance(loaded, lamina.Ensemble)
    assert (loaded.weights, loaded.names, loaded.classes) == (ensemble.weights, ensemble.names, CLASSES)
    assert np.array_equal(loaded.predict_probs(images), ensemble.predict_probs(images))


def test_snapshots_of_a_run_are_an_ensemble(tmp_path):
    data = pictures(64, size=28)
    torch.manual_seed(0)
    classifier = lamina.Classifier("fastconvnet")
    classifier.compile(schedule=CosineRestarts(first=1, multiply=1))
    kept = Snapshots(tmp_path / "snapshots", every=2)
    classifier.fit(data, epochs=5, batch_size=32, callbacks=[kept], validation_split=0.0, verbose=0)
    ensemble = lamina.Ensemble(tmp_path / "snapshots")
    assert [name.rsplit("_")[-1] for name in ensemble.names] == ["002.safetensors", "004.safetensors"]
    one, two = (member.predict_probs(data.images) for member in ensemble.members)
    assert not np.allclose(one, two)
    assert ensemble.predict_probs(data.images) == pytest.approx((one + two) / 2, abs=1e-6)


def test_a_run_folder_is_its_best_model_and_a_folder_of_others_needs_to_be_alone(tmp_path):
    made = lamina.Classifier("fastconvnet", classes=CLASSES, preprocess=Preprocess(channels=1, size=(28, 28)))
    for name in ("run/best", "run/last", "many/a", "many/b"):
        made.save(tmp_path / f"{name}.safetensors")
    assert len(lamina.Ensemble([tmp_path / "run", tmp_path / "many" / "a.safetensors"]).members) == 2
    assert len(lamina.Ensemble(tmp_path / "many").members) == 2
    with pytest.raises(LaminaError, match="folder of 2 model files"):
        lamina.Ensemble([tmp_path / "run", tmp_path / "many"])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: lamina.Ensemble([]), LaminaError, "no members"),
        (lambda: lamina.Ensemble([linear(0)], average="votes"), UnknownNameError, "'probs' or 'logits'"),
        (lambda: lamina.Ensemble([linear(0)], weights=[1, 2]), LaminaError, "each of the 1 members"),
        (lambda: lamina.Ensemble([linear(0), linear(1)], weights=[1, -1]), LaminaError, "none below 0"),
        (lambda: lamina.Ensemble([linear(0), linear(1)], weights=[0, 0]), LaminaError, "not all 0"),
        (lambda: lamina.Ensemble([linear(0), linear(1, classes=("a", "b"))]), LaminaError, "linear1 knows .*a, b"),
        (lambda: lamina.Ensemble([linear(0), lamina.Classifier("fastconvnet")]), LaminaError, "no weights yet"),
        (lambda: lamina.Ensemble("nowhere"), LaminaError, "no file or folder nowhere"),
        (lambda: lamina.Ensemble([linear(0)]).evaluate(pictures(classes=("a", "b"))), LaminaError, "has the classes a"),
        (lambda: Snapshots("x", every=0), LaminaError, "every is 0"),
    ],
)
def test_bad_input_is_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_what_is_no_classifier_is_no_member(tmp_path):
    path = lamina.models.Sequential([lamina.layers.Dense(2, input_shape=(3,))]).save(tmp_path / "m.safetensors")
    with pytest.raises(FileFormatError, match="holds a 'model'"):
        lamina.Ensemble([path])


# Test-time augmentation -------------------------------------------------------------------------------------------


def test_ten_crops_are_averaged_by_predict_and_evaluate(folder):
    classifier = linear(0)
    path = folder / "left" / "0.png"
    before = Preprocess(channels=1, size=(9, 9)).host(path)  # 8 / 0.875 = 9
    windows = [before[:, y : y + 8, x : x + 8] for y, x in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0))]
    views = torch.stack([view for window in windows for view in (window, window.flip(2))])
    wanted = classifier.predict_probs(views).mean(axis=0)
    assert classifier.predict(path, tta="ten-crop").probs == pytest.approx(wanted, abs=1e-6)
    assert classifier.predict_probs(folder, tta="ten-crop").shape == (12, 3)


def test_evaluate_measures_the_averaged_answers(folder):
    classifier = linear(0, classes=tuple(sorted(CLASSES)))
    labels = np.repeat([0, 1, 2], 4)
    for name in ("ten-crop", "flip", "multi-scale"):
        probs = classifier.predict_probs(folder, tta=name)
        figures = classifier.evaluate(folder, tta=name)
        assert figures["accuracy"] == pytest.approx((probs.argmax(1) == labels).mean())
        assert figures["loss"] == pytest.approx(-np.log(probs[range(12), labels]).mean(), rel=1e-4)


def test_an_augmentation_is_applied_ten_times_with_keyed_numbers():
    classifier, data = linear(0), pictures()
    first = classifier.predict_probs(data.images, tta=RandomFlip())
    assert np.array_equal(first, classifier.predict_probs(data.images, tta=RandomFlip()))
    assert not np.allclose(first, classifier.predict_probs(data.images))


def test_arrays_of_the_networks_own_size_are_refused_and_flips_are_not():
    classifier, data = linear(0), pictures()
    for ask in (classifier.predict, classifier.evaluate):
        with pytest.raises(DataError, match='tta="flip"'):
            ask(data, tta="ten-crop")
    assert "accuracy" in classifier.evaluate(data.images, data.labels, tta="flip")
    with pytest.raises(LaminaError, match="tta came beside sample_weight"):
        classifier.evaluate(data, sample_weight=np.ones(60), tta="flip")


def test_a_picture_that_cannot_be_read_is_left_out_and_named(folder):
    (folder / "right" / "zz.png").write_bytes(b"no picture")
    classifier = linear(0, classes=tuple(sorted(CLASSES)))
    with pytest.warns(UserWarning, match=r"1 of 13 pictures cannot be read(.|\n)*zz.png"):
        figures = classifier.evaluate(folder, tta="ten-crop")
    (folder / "right" / "zz.png").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classifier.evaluate(folder, tta="ten-crop") == pytest.approx(figures)


@pytest.mark.parametrize(("member", "said"), [(5, "member of the ensemble is 5"), (nn.Flatten, "the class Flatten")])
def test_what_is_no_member_is_named(member, said):
    with pytest.raises(LaminaError, match=said):
        lamina.Ensemble([linear(0), member])


def test_one_class_that_differs_differs():
    with pytest.raises(LaminaError, match="; fly differs"):
        lamina.Ensemble([linear(0), linear(1, classes=(*CLASSES, "fly"))])
