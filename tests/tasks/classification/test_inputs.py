"""What people call data, at the door of a classifier: what is held out, what is one picture, what is refused."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lamina
from lamina import layers, models
from lamina.core.errors import DataError, LaminaError
from lamina.data import ImageDataset, Splits
from lamina.models import borrowed
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
        assert set(classifier.split) == {"trained_on"}


def test_sample_weights_go_with_their_pictures():
    train = dataset(40)
    weights = np.arange(40) + 1.0
    weight_of = {image.numpy().tobytes(): weight for image, weight in zip(train.images, weights, strict=True)}
    rest, (held, nothing, held_weights), rest_weights = inputs.hold_out(train, 0.25, weights)
    assert nothing is None
    assert (len(rest), len(held)) == (30, 10)
    for part, given in ((rest, rest_weights), (held, held_weights)):
        assert [weight_of[image.numpy().tobytes()] for image in part.images] == given.weights.tolist()
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
    assert [float(path.stem) for path in rest.paths] == rest_weights.weights.tolist()
    assert [float(path.stem) for path in held.paths] == held_weights.weights.tolist()


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


def described(shape, **options):
    i = layers.Input(shape=shape, **options)
    return models.Model(i, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(i))))


def test_a_network_that_says_its_size_and_channels_gets_them(tmp_path):
    for index in range(20):
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        Image.fromarray(noise(1, index)[0, 0]).save(tmp_path / "ab"[index % 2] / f"{index}.png")
    for shape, wanted in (
        ((3, 96, 80), (3, (96, 80))),
        ((3, None, None), (3, (28, 28))),
        ((1, 40, 40), (1, (40, 40))),
    ):
        classifier = lamina.Classifier(described(shape))
        classifier.fit(tmp_path, verbose=0)
        assert (classifier.preprocess.channels, classifier.preprocess.size) == wanted
        assert len(classifier.preprocess.mean) == wanted[0]
        assert classifier.predict(tmp_path / "a" / "0.png").label in ("a", "b")


def test_arrays_of_another_size_than_the_network_says_are_told_how_to_be_resized():
    classifier = lamina.Classifier(described((1, 32, 32)))
    with pytest.raises(
        LaminaError, match=r"takes \(1, 32, 32\).*Preprocess\(channels=1, size=\(32, 32\)\)\.stack\(x\)"
    ):
        classifier.fit(noise(20), np.arange(20) % 2, verbose=0)
    x = lamina.Preprocess(channels=1, size=(32, 32)).stack(noise(20))
    classifier.fit(x, np.arange(20) % 2, verbose=0)
    assert classifier.preprocess.size == (32, 32)


def test_networks_whose_input_is_no_picture_are_refused_at_once():
    flat = models.Sequential([layers.Dense(2, input_shape=(784,))])
    for network, says in (
        (flat, r"\(784,\).*Flatten"),
        (described((32, 32, 3), data_format="channels_last"), "channels last"),
        (described((4, 32, 32)), "1 or 3 channels"),
    ):
        with pytest.raises(LaminaError, match=says):
            lamina.Classifier(network)


def test_a_preprocessing_that_scales_beside_a_network_that_scales_is_warned_of():
    def scaling(first):
        return models.Sequential([first, layers.Flatten(), layers.Dense(2)])

    divides = layers.Rescaling(1 / 255, input_shape=(1, 28, 28))
    ours = {"classes": ("a", "b"), "preprocess": lamina.Preprocess(channels=1, size=(28, 28))}
    with pytest.warns(UserWarning, match=r"Rescaling\(scale=0.0039.* scales them again.*0\.\.255"):
        classifier = lamina.Classifier(scaling(divides), **ours)
    centred = lamina.Classifier(scaling(layers.Rescaling(2, offset=-1, input_shape=(1, 28, 28))), **ours)
    assert centred.predict(noise(1)[0]).label in ("a", "b")
    raw = lamina.Preprocess(channels=1, size=(28, 28), std=(1 / 255,))
    lamina.Classifier(scaling(divides), classes=("a", "b"), preprocess=raw)
    lamina.Classifier(scaling(divides)).fit(dataset(20), verbose=0)
    assert classifier.predict(noise(1)[0]).label in ("a", "b")


def photos(root, *, mode="RGB"):
    for index in range(6):
        folder = root / "ab"[index % 2]
        folder.mkdir(exist_ok=True, parents=True)
        picture = np.random.default_rng(index).integers(0, 256, (40, 50 + index, 3), dtype=np.uint8)
        Image.fromarray(picture).convert(mode).save(folder / f"{index}.png")
    return root


def test_a_module_of_timm_s_tells_its_preprocessing_itself(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    net.pretrained_cfg = {
        "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "input_size": (3, 48, 56), "crop_pct": 0.9,
        "crop_mode": "center", "interpolation": "bicubic", "classifier": "3",
    }  # fmt: skip
    mean_std = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}
    expected = lamina.Preprocess(size=(48, 56), crop=0.9, interpolation="bicubic", **mean_std)
    folder = photos(tmp_path)
    classifier = lamina.Classifier(net)
    classifier.fit(folder, epochs=1, verbose=0, validation_split=0.0)
    assert classifier.preprocess == expected
    assert inputs.sized_preprocess(lamina.data.open(folder).train, net, (32, 32)).size == (32, 32)
    regressor = lamina.Regressor(net)
    files = sorted(folder.rglob("*.png"))
    regressor.fit(files, np.zeros((6, 2)), epochs=1, verbose=0, validation_split=0.0)
    assert regressor.preprocess == expected
    arrays = lamina.Classifier(net)
    arrays.fit(np.zeros((4, 3, 20, 20), np.uint8), [0, 1, 0, 1], epochs=1, verbose=0, validation_split=0.0)
    assert (arrays.preprocess.size, arrays.preprocess.mean) == ((20, 20), mean_std["mean"])


def test_a_real_network_of_timm_s_is_prepared_for_as_timm_does(tmp_path):
    timm = pytest.importorskip("timm")
    for channels in (3, 1):
        net = timm.create_model("mobilenetv3_small_050", num_classes=2, in_chans=channels)
        told = timm.data.resolve_data_config(net.pretrained_cfg)
        taken = borrowed.brought(net)
        assert (taken.channels, taken.size, taken.crop) == (channels, told["input_size"][1:], told["crop_pct"])
        assert taken.interpolation == told["interpolation"]
        assert taken.mean == (told["mean"] if channels == 3 else (pytest.approx(sum(told["mean"]) / 3),))


def test_grey_pictures_become_as_many_channels_as_a_module_takes(tmp_path):
    folder = photos(tmp_path, mode="L")
    classifier = lamina.Classifier(torchvision.models.resnet18(num_classes=2))
    classifier.fit(folder, epochs=1, verbose=0, validation_split=0.0)
    assert classifier.preprocess.channels == 3
    assert len(classifier.predict(folder)) == 6
    files = sorted(folder.rglob("*.png"))
    regressor = lamina.Regressor(torchvision.models.resnet18(num_classes=1))
    regressor.fit(files, np.arange(6), epochs=1, verbose=0, validation_split=0.0)
    assert regressor.preprocess.channels == 3


class Repeats(nn.Module):
    """Makes three channels of one by itself."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(self.conv(x.repeat(1, 3 // x.shape[1], 1, 1)).mean((2, 3)))


def test_a_module_that_takes_grey_pictures_is_given_grey_ones():
    x, y = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8), np.arange(20) % 2
    classifier = lamina.Classifier(Repeats())
    classifier.compile("adam")
    classifier.fit(x, y, verbose=0)
    assert classifier.preprocess.channels == 1
    regressor = lamina.Regressor(Repeats(), names=["a", "b"])
    regressor.fit(x, np.stack([y, 1 - y], 1).astype("float32"), verbose=0)
    assert regressor.preprocess.channels == 1
