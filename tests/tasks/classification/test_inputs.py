"""What people call data, at the door of a classifier: what is held out, what is one picture, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import lamina
from lamina.core.errors import DataError, LaminaError
from lamina.data import ImageDataset, Splits
from lamina.tasks.classification import inputs


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, 1, 28, 28), dtype=np.uint8)


def dataset(count, seed=0):
    return ImageDataset(torch.from_numpy(noise(count, seed)), torch.arange(count) % 2, ("even", "odd"))


def rows(images):
    return {bytes(np.asarray(image).tobytes()) for image in images}


def test_what_was_held_out_is_found_again_and_measured_where_there_is_no_other_part():
    train, other = dataset(40), dataset(10, seed=1)
    split = {"held_out": 0.25, "of": 40, "by": "content hash", "seed": 0}
    name, part = inputs.measured(Splits(train, None), split)
    rest, held = train.split(0.25, seed=0)
    assert name == "validation"
    assert rows(part.images) == rows(held.images)
    assert not rows(part.images) & rows(rest.images)
    assert inputs.measured(Splits(train, other), split) == ("test", other)
    assert inputs.measured(Splits(train, None, other), split) == ("validation", other)
    assert inputs.measured(Splits(train, None), {}) == ("train", train)


def test_evaluating_the_training_data_measures_only_what_was_held_out():
    train = dataset(40)
    classifier = lamina.Classifier("fastconvnet")
    classifier.fit(Splits(train, None), validation_split=0.25, verbose=0)
    held = train.split(0.25, seed=0)[1]
    assert classifier.evaluate(Splits(train, None)) == classifier.evaluate(held)
    assert len(classifier.memorised(Splits(train, None))) == 10
    assert len(classifier.memorised(train)) == 40


@pytest.mark.parametrize(("asked", "kept"), [(None, 36), (0.25, 30), (0.0, 40)])
def test_arrays_are_held_out_by_content_as_data_sets_are(monkeypatch, asked, kept):
    x, y = noise(40), np.arange(40) % 2
    classifier = lamina.Classifier("fastconvnet")
    trained, validated = [], []
    original = lamina.Classifier._sets

    def noted(self, *given):
        train, validation = original(self, *given)
        trained.append(train)
        validated.append(validation)
        return train, validation

    monkeypatch.setattr(lamina.Classifier, "_sets", noted)
    history = classifier.fit(x, y, validation_split=asked, verbose=0).history
    assert trained[0].samples == kept
    assert ("val_loss" in history) == (kept < 40)
    if kept < 40:
        assert classifier.split["held_out"] == (asked or 0.1)
        expected = dataset(40).split(asked or 0.1, seed=0)[1]
        assert rows(validated[0].images) == rows(expected.images)
        assert not rows(validated[0].images) & rows(trained[0].inputs[0])
        assert classifier.evaluate(x, y)["loss"] > 0
    else:
        assert classifier.split == {}


def test_sample_weights_go_with_their_pictures():
    train = dataset(40)
    weights = np.arange(40) + 1.0
    weight_of = {image.numpy().tobytes(): weight for image, weight in zip(train.images, weights, strict=True)}
    rest, (held, nothing, held_weights), rest_weights = inputs.hold_out(train, 0.25, weights)
    assert nothing is None
    assert (len(rest), len(held)) == (30, 10)
    for part, given in ((rest, rest_weights), (held, held_weights)):
        assert [weight_of[image.numpy().tobytes()] for image in part.images] == given.tolist()
    assert rows(held.images) == rows(train.split(0.25, seed=0)[1].images)
    with pytest.raises(DataError, match="sample_weight has 3"):
        lamina.Classifier("fastconvnet").fit(train, sample_weight=[1, 2, 3], verbose=0)
    lamina.Classifier("fastconvnet").fit(train, sample_weight=weights, verbose=0)


def test_sample_weights_go_with_their_files(tmp_path):
    for index in range(20):
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        Image.fromarray(noise(1, index)[0, 0]).save(tmp_path / "ab"[index % 2] / f"{index}.png")
    train = lamina.data.open(tmp_path).train
    weights = [float(path.stem) for path in train.paths]
    rest, (held, _, held_weights), rest_weights = inputs.hold_out(train, 0.25, weights)
    assert [float(path.stem) for path in rest.paths] == rest_weights.tolist()
    assert [float(path.stem) for path in held.paths] == held_weights.tolist()


@pytest.mark.parametrize(
    ("shape", "channels", "single"),
    [
        ((28, 28), 1, True),
        ((1, 28, 28), 1, True),
        ((28, 28, 1), 1, True),
        ((28, 28, 3), 1, True),
        ((3, 28, 28), 1, False),
        ((5, 28, 28), 1, False),
        ((3, 28, 28), 3, True),
        ((28, 28, 3), 3, True),
        ((5, 28, 28), 3, False),
        ((2, 3, 28, 28), 3, False),
    ],
)
def test_the_classifiers_channels_decide_whether_an_array_is_one_picture(shape, channels, single):
    preprocess = lamina.Preprocess(channels=channels, size=(28, 28))
    array = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    for value in (array, torch.from_numpy(array)):
        assert inputs.is_single(value, channels) == single
        count = 1 if single else shape[0]
        assert inputs.pictures(value, preprocess).shape == (count, channels, 28, 28)


def test_three_grey_pictures_get_three_answers():
    classifier = lamina.Classifier("fastconvnet")
    classifier.fit(dataset(20), verbose=0)
    assert len(classifier.predict(noise(3)[:, 0])) == 3
    assert classifier.predict(noise(1)[0]).label in ("even", "odd")


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (["cat", "dog"] * 10, "such as .*cat"),
        ([0.5, 1.0] * 10, "float64"),
        ([-1, 1] * 10, "Label 0 is -1"),
        ([[0, 1]] * 20, r"argmax\(1\)"),
        ([0, 1], "20 images and 2 labels"),
    ],
)
def test_labels_that_number_no_class_are_refused_before_a_network_is_made(y, says):
    classifier = lamina.Classifier("fastconvnet")
    with pytest.raises(DataError, match=says):
        classifier.fit(noise(20), np.array(y), verbose=0)
    assert classifier.classes is None
    assert classifier._net is None


def test_a_column_of_labels_and_whole_floats_are_labels():
    for y in (np.arange(20)[:, None] % 2, (np.arange(20) % 2).astype(float)):
        classifier = lamina.Classifier("fastconvnet")
        classifier.fit(noise(20), y, verbose=0)
        assert classifier.classes == ("0", "1")


def test_batches_and_foreign_data_sets_are_refused_with_what_to_pass():
    pairs = TensorDataset(torch.from_numpy(noise(8)), torch.arange(8) % 2)
    classifier = lamina.Classifier("fastconvnet")
    with pytest.raises(DataError, match=r"DataLoader came as data.*folder.*arrays"):
        classifier.fit(DataLoader(pairs), verbose=0)
    with pytest.raises(DataError, match="DataLoader came as data"):
        classifier.fit(dataset(8), validation_data=DataLoader(pairs), verbose=0)
    with pytest.raises(DataError, match=r"TensorDataset.*ImageDataset"):
        classifier.fit(pairs, verbose=0)
    with pytest.raises(DataError, match=r"fit\(x, y\)"):
        classifier.fit(noise(8), verbose=0)
    with pytest.raises(DataError, match="Leave y out"):
        classifier.fit(dataset(8), np.arange(8) % 2, verbose=0)
    classifier.fit(dataset(20), verbose=0)
    for wrong in (DataLoader(pairs), pairs):
        with pytest.raises(LaminaError, match=r"DataLoader|ImageDataset"):
            classifier.evaluate(wrong)


def test_a_folder_gives_the_pictures_that_training_would_read(tmp_path):
    for name in ("b10.png", "b2.png", ".hidden.png", "__MACOSX/x.png", ".cache/x.png", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(1)[0, 0]).save(tmp_path / name)
    for name in ("report.pdf", "film.mpg"):  # endings that Pillow registers
        (tmp_path / name).write_bytes(b"no picture")
    found = [path.relative_to(tmp_path).as_posix() for path in inputs.sources(tmp_path)]
    assert found == ["b2.png", "b10.png", "sub/c.jpg"]
