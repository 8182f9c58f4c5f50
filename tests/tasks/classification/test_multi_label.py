"""Several labels for a picture, and answers below a threshold."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina.core.errors import DataError, LaminaError
from lamina.structures import Labelling


def quarters(count, seed=0):
    """Grey pictures whose four quarters are each bright or not: (N 16 16), and which are (N 4)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (count, 4))
    images = rng.integers(0, 60, (count, 16, 16), dtype=np.uint8)
    for quarter in range(4):
        rows, columns = (
            slice(8 * (quarter // 2), 8 * (quarter // 2) + 8),
            slice(8 * (quarter % 2), 8 * (quarter % 2) + 8),
        )
        images[:, rows, columns] += (180 * labels[:, quarter, None, None]).astype(np.uint8)
    return images, labels


NAMES = ("top left", "top right", "bottom left", "bottom right")
GREY = lamina.Preprocess(channels=1, size=(16, 16), mean=(0.3,), std=(0.3,))


def made():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 4))
    return lamina.Classifier(net, classes=NAMES, preprocess=GREY, multi_label=True)


@pytest.fixture(scope="module")
def trained():
    classifier = made()
    classifier.compile(lamina.optimizers.AdamW(learning_rate=0.01))
    classifier.fit(*quarters(200), epochs=8, verbose=0)
    return classifier


def test_learns_each_label_by_itself(trained):
    x, y = quarters(40, seed=1)
    figures = trained.evaluate(x, y)
    assert set(figures) == {"loss", "accuracy", "f1"}
    assert figures["accuracy"] > 0.97
    assert "val_f1" in trained.history.history
    probs = trained.predict_probs(x)
    assert probs.shape == (40, 4)
    assert figures["accuracy"] == pytest.approx(((probs > 0.5) == y).mean(), abs=1e-6)
    clipped = np.clip(probs.astype(np.float64), 1e-12, 1 - 1e-12)
    by_hand = -(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)).mean()
    assert figures["loss"] == pytest.approx(by_hand, rel=1e-3)


def test_answers_with_the_labels_above_the_threshold(trained):
    x, y = quarters(40, seed=1)
    several = trained.predict(x)
    assert all(isinstance(result, Labelling) for result in several)
    index = int((y.sum(1) == 2).argmax())
    assert set(several[index].labels) == {name for name, there in zip(NAMES, y[index], strict=True) if there}
    none = trained.predict(x[index], threshold=1.0)
    assert none.labels == {}
    assert str(none).startswith("none of these (nearest: ")
    everything = trained.predict(x[index], threshold=0.0)
    assert set(everything.labels) == set(NAMES)
    assert json.loads(json.dumps(everything.to_dict()))["labels"].keys() == set(NAMES)


class Ends(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(256, 4)

    def forward(self, x):
        return torch.sigmoid(self.linear(x.flatten(1)))


def test_a_module_that_ends_in_a_sigmoid_of_its_own_gets_no_second_one(tmp_path):
    images, labels = quarters(200)
    torch.manual_seed(0)
    classifier = lamina.Classifier(Ends(), classes=NAMES, preprocess=GREY, multi_label=True)
    with torch.no_grad():
        inside = classifier.net(GREY.normalize()(torch.from_numpy(images[:4, None]))).numpy()
    np.testing.assert_allclose(classifier.predict_probs(images[:4]), inside, atol=1e-6)
    classifier.compile("adam", "binary_crossentropy", ["accuracy"])
    classifier.fit(images, labels, epochs=15, verbose=0, validation_split=0.0)
    assert classifier.evaluate(images, labels)["accuracy"] > 0.9
    assert ((classifier.predict_probs(images) > 0.5) == labels).mean() > 0.9


def test_goes_through_a_file_with_the_same_answers(trained, tmp_path):
    x, _ = quarters(5, seed=2)
    path = trained.save(tmp_path / "quarters.safetensors")
    kind = f"{nn.Sequential.__module__}.{nn.Sequential.__qualname__}"
    loaded = lamina.load(path, modules={kind: made().net})
    assert loaded.multi_label
    assert np.array_equal(loaded.predict_probs(x), trained.predict_probs(x))


def test_a_data_set_may_hold_several_labels():
    x, y = quarters(40)
    data = lamina.data.ImageDataset(torch.from_numpy(x)[:, None], torch.from_numpy(y), NAMES)
    assert torch.equal(data[3][1], torch.from_numpy(y[3]))
    classifier = made()
    classifier.fit(data, epochs=1, verbose=0)
    assert classifier.split["of"] == 40
    assert set(classifier.evaluate(data)) == {"loss", "accuracy", "f1"}
    assert len(data.limit(7)) == 7


def test_labels_of_the_other_kind_are_told():
    x, y = quarters(12)
    with pytest.raises(DataError, match="0 or 1 was expected for each picture and class"):
        made().fit(x, y[:, 0], verbose=0)
    with pytest.raises(DataError, match="0 or 1"):
        made().fit(x, y * 3, verbose=0)
    several = lamina.data.ImageDataset(torch.from_numpy(x)[:, None], torch.from_numpy(y), NAMES)
    with pytest.raises(DataError, match=r"several labels for each picture.*multi_label=True"):
        lamina.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 4))).fit(several, verbose=0)
    with pytest.raises(DataError, match="one label for each picture"):
        made().fit(lamina.data.ImageDataset(several.images, torch.arange(12) % 4, NAMES), verbose=0)


def test_one_class_below_the_threshold_is_none_of_these():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    classifier = lamina.Classifier(net, classes=("x", "y"), preprocess=GREY)
    x, _ = quarters(1)
    plain = classifier.predict(x[0])
    assert plain.is_known
    above, below = (classifier.predict(x[0], threshold=plain.probability + by) for by in (-0.01, 0.01))
    assert above.label == plain.label
    assert below.label == "none of these"
    assert (below.to_dict()["label"], below.to_dict()["index"]) == ("none of these", None)
    assert below.to_dict()["top"] == plain.to_dict()["top"]
    for nonsense in (1.5, -0.1, True, "high"):
        with pytest.raises(LaminaError, match="threshold is"):
            classifier.predict(x[0], threshold=nonsense)


@pytest.mark.parametrize("address", ["http://example.org/cat.jpg", "https://example.org/", "s3://bucket/cat.jpg"])
def test_addresses_are_never_fetched(trained, address):
    for ask in (
        trained.predict,
        trained.predict_probs,
        trained.evaluate,
        trained.fit,
        lambda each: trained.predict([each]),
    ):
        with pytest.raises(DataError, match="Download it first"):
            ask(address)


def test_mean_average_precision_goes_by_name_and_several_labels_have_a_report_of_their_own(trained, tmp_path):
    x, y = quarters(40, seed=1)
    classifier = made()
    classifier.net.load_state_dict(trained.net.state_dict())
    classifier.compile(metrics=["mean_average_precision"])
    figure = classifier.evaluate(x, y)["mean_average_precision"]
    by_hand = lamina.metrics.MeanAveragePrecision()
    by_hand.update(torch.from_numpy(classifier.predict_probs(x)), torch.from_numpy(y))
    assert figure == pytest.approx(float(by_hand.compute()), abs=1e-6)
    assert figure > 0.97
    data = lamina.data.ImageDataset(torch.from_numpy(x)[:, None], torch.from_numpy(y), NAMES)
    text = lamina.explain.report(classifier, data, path=tmp_path / "r.html").read_text(encoding="utf-8")
    assert "mean average precision" in text
    assert "Confusion matrix" not in text


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.full((40, 4), 2), r"hold 2\."),
        (np.ones((40, 3), int), r"3 columns, and there are 4 classes"),
        ([["a", "b"], ["a"]] * 20, "names, or as lists of several lengths"),
        ([["a", "b"], ["a", "c"]] * 20, "names, or as lists of several lengths"),
        (np.ones(40, int), r"shape \(40,\)"),
    ],
)
def test_labels_that_are_no_zeros_and_ones_for_each_class_are_named(y, said):
    with pytest.raises(DataError, match=said):
        made().fit(quarters(40)[0], y)


def test_data_of_one_label_a_picture_is_not_asked_for_what_is_there_already():
    images = torch.from_numpy(quarters(8)[0])[:, None]
    data = lamina.data.ImageDataset(images, torch.arange(8) % 2, ("a", "b"))
    with pytest.raises(DataError, match="Make the Classifier without multi_label"):
        lamina.Classifier("fastconvnet", multi_label=True).fit(data)


@pytest.mark.parametrize("made", ["nin_cifar", "module"])
def test_a_network_whose_paper_ends_in_a_relu_may_say_no_to_every_label(made, tmp_path):
    torch.manual_seed(0)
    network = lamina.networks.create("nin_cifar", num_classes=2) if made == "module" else made
    classifier = lamina.Classifier(network, multi_label=True)
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    y = np.eye(2, dtype=np.int64)[np.zeros(32, dtype=np.int64)]
    classifier.fit(x, y, epochs=2, verbose=0, validation_split=0.0)
    probs = classifier.predict_probs(x)
    assert probs[:, 1].max() < 0.5
    loaded = lamina.load(classifier.save(tmp_path / "labels.safetensors"))
    assert np.array_equal(loaded.predict_probs(x), probs)


def test_a_file_from_when_the_relu_stayed_answers_as_it_did(tmp_path):
    classifier = lamina.Classifier("nin_cifar", multi_label=True)
    x = np.zeros((2, 32, 32, 3), np.uint8)
    classifier.fit(x, np.array([[0, 1], [1, 0]]), epochs=0, verbose=0, validation_split=0.0)
    classifier.net.relu = nn.ReLU()
    del classifier.net.architecture["arguments"]["final_relu"]
    loaded = lamina.load(classifier.save(tmp_path / "old.safetensors"))
    assert np.array_equal(loaded.predict_probs(x), classifier.predict_probs(x))
    assert isinstance(loaded.net.relu, nn.ReLU)
