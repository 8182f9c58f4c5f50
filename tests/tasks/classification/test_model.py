"""Classifier: pictures in, classes out."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import layers, models, networks
from lamina.core.errors import DataError, LaminaError, ShapeError


def picture(rng, bright, size=(40, 48)):
    """A noisy picture, bright in its upper or its lower half."""
    pixels = rng.integers(0, 90, (*size, 3))
    half = slice(0, size[0] // 2) if bright == "top" else slice(size[0] // 2, None)
    pixels[half] += 150
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("bottom", "top"):
        (root / name).mkdir()
        for index in range(40):
            picture(rng, name).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def trained(photos):
    torch.manual_seed(0)
    classifier = lamina.Classifier("fastconvnet")
    classifier.fit(photos, epochs=6, batch_size=8, verbose=0)
    return classifier


def test_learns_a_folder_of_photos(trained, photos):
    assert trained.classes == ("bottom", "top")
    assert trained.preprocess.size == (64, 64)
    assert "val_accuracy" in trained.history.history
    assert trained.split == {"held_out": 0.1, "of": 80, "by": "content hash", "seed": 0}
    assert trained.evaluate(photos)["accuracy"] > 0.95


def test_says_what_is_in_a_picture_however_it_comes(trained, photos):
    path = photos / "top" / "0.png"
    result = trained.predict(path)
    assert result.label == "top"
    assert 0.5 < result.probability <= 1
    assert result.path == str(path)
    with Image.open(path) as opened:
        for same in (opened, np.asarray(opened)):
            assert trained.predict(same).probability == pytest.approx(result.probability, abs=1e-5)
    several = trained.predict([path, photos / "bottom" / "3.png"])
    assert [r.label for r in several] == ["top", "bottom"]
    assert len(trained.predict(photos / "top")) == 40


def test_predictions_do_not_depend_on_the_batch_size(trained, photos):
    one, many = (trained.predict_probs(photos, batch_size=size) for size in (1, 64))
    assert np.abs(one - many).max() < 1e-5
    assert np.allclose(one.sum(1), 1, atol=1e-5)


def test_goes_through_a_file_with_the_same_answers(trained, photos, tmp_path):
    loaded = lamina.load(trained.save(tmp_path / "photos.safetensors"))
    assert isinstance(loaded, lamina.Classifier)
    assert loaded.classes == trained.classes
    assert loaded.preprocess == trained.preprocess
    assert loaded.split == trained.split
    assert np.array_equal(loaded.predict_probs(photos), trained.predict_probs(photos))
    assert loaded.evaluate(photos) == pytest.approx(trained.evaluate(photos))


def test_trains_a_torch_module_and_a_model_of_layers(photos):
    preprocess = lamina.Preprocess(channels=3, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2))
    described = models.Sequential([layers.Flatten(input_shape=(3, 16, 16)), layers.Dense(2, activation="softmax")])
    for network in (net, described):
        classifier = lamina.Classifier(network, preprocess=preprocess)
        classifier.fit(photos, epochs=4, batch_size=8, verbose=0)
        assert classifier.evaluate(photos)["accuracy"] > 0.95
        assert np.allclose(classifier.predict_probs(photos).sum(1), 1, atol=1e-5)


def test_an_unreadable_picture_is_named_and_left_out_in_training_and_an_error_in_predict(photos, tmp_path):
    import shutil

    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    (root / "top" / "broken.png").write_bytes(b"\x89PNG not a picture")
    classifier = lamina.Classifier("fastconvnet")
    with pytest.warns(UserWarning, match=r"broken\.png"):
        classifier.fit(root, epochs=1, batch_size=8, verbose=0, validation_split=0.0)
    with pytest.raises(DataError, match=r"broken\.png"):
        classifier.predict(root / "top" / "broken.png")


def test_data_of_other_classes_is_refused(trained, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        picture(rng, "top").save(tmp_path / name / "0.png")
    with pytest.raises(LaminaError, match=r"left, right.*bottom, top"):
        trained.evaluate(tmp_path)


def test_scaled_pictures_are_refused_with_the_remedy(trained):
    with pytest.raises(DataError, match="uint8"):
        trained.predict(np.zeros((2, 3, 64, 64), np.float32))


def test_an_untrained_classifier_and_unknown_names_say_so():
    with pytest.raises(LaminaError, match="no weights yet"):
        lamina.Classifier("fastconvnet").predict(np.zeros((28, 28), np.uint8))
    with pytest.raises(LaminaError, match="'deepconvnet'"):
        lamina.Classifier("deepconvet")
    with pytest.raises(LaminaError, match="'mnist'"):
        lamina.Classifier("deepconvnet").fit("mnits", verbose=0)


def test_learns_digits_from_the_package_and_from_arrays():
    mnist = lamina.data.load("mnist")
    train, test = mnist.train.limit(3000), mnist.test.limit(1000)
    torch.manual_seed(0)
    classifier = lamina.Classifier("fastconvnet")
    classifier.fit(train, epochs=2, batch_size=64, verbose=0)
    assert classifier.evaluate(test)["accuracy"] > 0.9
    from_arrays = lamina.Classifier("fastconvnet")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_arrays.fit(train.images[:, 0].numpy(), train.labels.numpy(), epochs=2, batch_size=64, verbose=0)
    assert from_arrays.evaluate(test.images.numpy(), test.labels.numpy())["accuracy"] > 0.9


def test_networks_are_made_for_the_pictures_of_the_data():
    assert networks.create("deepconvnet", num_classes=3, in_channels=3, image_size=32).fc1.in_features == 64 * 4 * 4
    with pytest.raises(LaminaError, match="image_size"):
        networks.create("fastconvnet", image_size=32)


def test_a_network_that_scales_pixels_itself_is_given_them_raw(photos):
    described = models.Sequential(
        [layers.Rescaling(1 / 255, input_shape=(3, 64, 64)), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    bare = nn.Sequential(lamina.nn.Rescaling(1 / 255), nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    for network in (described, bare):
        classifier = lamina.Classifier(network)
        classifier.fit(photos, epochs=1, batch_size=8, verbose=0)
        values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
        assert torch.equal(classifier.preprocess.normalize()(values), values.float())
    scaled_once = lamina.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)))
    scaled_once.fit(photos, epochs=1, batch_size=8, verbose=0)
    assert scaled_once.preprocess.std != (1 / 255,)


def test_metrics_are_a_name_a_list_or_nothing():
    x, y = np.random.default_rng(0).integers(0, 255, (20, 28, 28), dtype=np.uint8), np.arange(20) % 2
    for metrics, names in (("accuracy", {"loss", "accuracy"}), (None, {"loss"}), (["accuracy"], {"loss", "accuracy"})):
        classifier = lamina.Classifier("fastconvnet")
        classifier.compile(metrics=metrics)
        classifier.fit(x, y, verbose=0, validation_split=0.0)
        assert set(classifier.evaluate(x, y)) == names


def test_an_untrained_classifier_says_so_whatever_it_is_asked(photos, tmp_path):
    classifier = lamina.Classifier("fastconvnet")
    for ask in (
        lambda: classifier.save(tmp_path / "x.safetensors"),
        lambda: classifier.summary(),
        lambda: classifier.evaluate(photos),
        lambda: classifier.evaluate(np.zeros((2, 28, 28), np.uint8), [0, 1]),
        lambda: classifier.predict(photos),
        lambda: classifier.memorised(photos),
    ):
        with pytest.raises(LaminaError, match="no weights yet"):
            ask()
    assert classifier.classes is None


def test_summary_knows_the_pictures(trained):
    assert trained.summary(show=False).to_dict() == trained.summary((3, 64, 64), show=False).to_dict()
    assert trained.summary((3, 32, 32), show=False).to_dict() != trained.summary(show=False).to_dict()


def test_a_failed_fit_leaves_nothing_behind(photos):
    classifier = lamina.Classifier("deepconvnet")
    x = np.random.default_rng(0).integers(0, 255, (20, 28, 30), dtype=np.uint8)
    with pytest.raises(LaminaError, match="28 x 30"):
        classifier.fit(x, np.arange(20) % 5, verbose=0)
    assert (classifier.classes, classifier.preprocess, classifier.split) == (None, None, {})
    classifier.fit(x[:, :, :28], np.arange(20) % 2, verbose=0)
    assert classifier.classes == ("0", "1")
    assert classifier.net.fc2.out_features == 2


def test_other_data_than_that_of_training_is_measured_whole(trained, tmp_path):
    rng = np.random.default_rng(5)
    for name in ("bottom", "top"):
        (tmp_path / name).mkdir()
        for index in range(6):
            picture(rng, name).save(tmp_path / name / f"{index}.png")
    name, part = trained.measured(tmp_path)
    assert (name, len(part)) == ("train", 12)


@pytest.mark.parametrize(
    ("network", "said"), [(nn.Flatten, "class Flatten.* Call it: Flatten"), (5, "The network is 5")]
)
def test_what_is_no_network_is_refused_at_once(network, said):
    with pytest.raises(LaminaError, match=said):
        lamina.Classifier(network)


def test_a_network_that_answers_with_several_arrays_is_refused(photos):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.LazyLinear(2)

        def forward(self, images):
            logits = self.last(images.flatten(1))
            return logits, logits

    with pytest.raises(ShapeError, match=r"answers with 2 arrays\. There is a loss for 1"):
        lamina.Classifier(Two()).fit(photos, verbose=0)


@pytest.mark.parametrize(("network", "side"), [("fastconvnet", 64), ("squeezenet1_1", 224)])
def test_a_network_trains_on_pictures_of_its_usual_size_and_says_it(photos, monkeypatch, capsys, network, side):
    monkeypatch.setattr(lamina.models.Model, "fit", lambda self, x, y, *_, **__: self._parts(x, y, None, None))
    classifier = lamina.Classifier(network)
    classifier.fit(photos)
    assert classifier.preprocess.size == (side, side)
    said = capsys.readouterr()
    assert said.out == ""  # where JSON may be
    assert said.err.startswith(f"{network}: Pictures are made {side} x {side} px.")


def test_measuring_the_pictures_of_training_is_told(photos, tmp_path):
    classifier = lamina.Classifier("fastconvnet")
    classifier.fit(photos, validation_split=0.0, verbose=0)
    for model in (classifier, lamina.load(classifier.save(tmp_path / "all.safetensors"))):
        with pytest.warns(UserWarning, match="trained on these very pictures"):
            model.evaluate(photos)
    (tmp_path / "other").mkdir()
    rng = np.random.default_rng(7)
    for name in ("bottom", "top"):
        (tmp_path / "other" / name).mkdir()
        for index in range(40):
            picture(rng, name).save(tmp_path / "other" / name / f"{index}.png")
    classifier.evaluate(tmp_path / "other")  # as many, of the same names


def test_labels_beyond_the_classes_say_how_to_have_more(trained):
    with pytest.raises(DataError, match=r"Label 2 is 2.*classes \(bottom, top\).*pretrained=PATH"):
        trained.fit(np.zeros((3, 64, 64, 3), np.uint8), [0, 1, 2])
