"""One file: what goes in comes out, and what is wrong with a file is said."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

import lamina
from lamina import layers, metrics, models
from lamina.core import sealed
from lamina.core.errors import FileFormatError, LaminaError
from lamina.models import file

GOLDEN = Path(__file__).parent / "golden"
X = np.random.default_rng(0).random((6, 1, 8, 8), dtype=np.float32)


def small_model():
    torch.manual_seed(0)
    inputs = layers.Input((1, 8, 8))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Add(name="sum")([x, layers.Conv2D(4, 1, name="shortcut")(inputs)])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = models.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x))
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(X, np.array([0, 1, 2, 0, 1, 2]), verbose=0)
    return model


def test_a_model_goes_round_with_the_same_predictions(tmp_path):
    model = small_model()
    loaded = lamina.load(model.save(tmp_path / "model.safetensors"))
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert list(loaded.net.state_dict()) == list(model.net.state_dict())
    assert set(loaded.evaluate(X, np.zeros(6, dtype=np.int64))) == {"loss", "accuracy"}


def test_a_sequential_and_a_named_network_go_round(tmp_path):
    torch.manual_seed(0)
    chain = models.Sequential([layers.Flatten(input_shape=(1, 8, 8)), layers.Dense(2)])
    named = models.Model(lamina.networks.create("fastconvnet", num_classes=3, in_channels=1))
    for model, x in ((chain, X), (named, np.zeros((2, 1, 28, 28), np.float32))):
        assert np.array_equal(lamina.load(model.save(tmp_path / "m.safetensors")).predict(x), model.predict(x))


def test_a_module_of_the_user_s_comes_back_when_it_is_brought(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    path = models.Model(net).save(tmp_path / "m.safetensors")
    with pytest.raises(FileFormatError, match="Sequential"):
        lamina.load(path)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    loaded = lamina.load(path, modules={"torch.nn.modules.container.Sequential": fresh})
    assert np.array_equal(loaded.predict(X), models.Model(net).predict(X))


class Accuracy(metrics.Accuracy):
    """Somebody's own, under the name of one of ours."""

    def update(self, outputs, targets, weights=None):
        super().update(-outputs, targets, weights)


def closeness(outputs, targets):
    return (outputs.argmax(1) == targets).float()


def test_metrics_come_back_as_they_were_compiled(tmp_path):
    told = [
        metrics.Accuracy("sparse"),
        metrics.Precision(ignore_class=0),
        metrics.TopKAccuracy(2, name="top5"),
        metrics.Recall,
        "f1",
    ]
    model = models.Sequential([layers.Dense(4, input_shape=(6,))])
    model.compile("adam", "sparse_categorical_crossentropy", told)
    loaded = lamina.load(model.save(tmp_path / "m.safetensors"))
    x, y = torch.randn(60, 6), torch.arange(60) % 4
    assert loaded.evaluate(x, y) == model.evaluate(x, y)
    assert loaded._compiled["metrics"][-1] == "f1"
    again = lamina.load(loaded.save(tmp_path / "again.safetensors"))
    assert again.evaluate(x, y) == model.evaluate(x, y)


@pytest.mark.parametrize("own", [Accuracy(), closeness])
def test_metrics_of_one_s_own_are_left_out_and_that_is_said(tmp_path, own):
    model = models.Sequential([layers.Dense(4, input_shape=(6,))])
    model.compile("adam", "sparse_categorical_crossentropy", ["recall", own])
    with pytest.warns(UserWarning, match=r"metric '(accuracy|closeness)'.*left out of the file"):
        path = model.save(tmp_path / "m.safetensors")
    assert lamina.load(path)._compiled["metrics"] == ["recall"]


def test_a_loss_of_one_s_own_is_left_out_and_that_is_said(tmp_path):
    model = models.Sequential([layers.Dense(4, input_shape=(6,))])
    model.compile("adam", lambda outputs, targets: (outputs - targets).abs().mean())
    with pytest.warns(UserWarning, match=r"compiled with is left out.*Compile the loaded model again"):
        path = model.save(tmp_path / "m.safetensors")
    with pytest.raises(LaminaError, match="not compiled"):
        lamina.load(path).fit(np.zeros((4, 6), "float32"), np.zeros((4, 4), "float32"))


def test_golden_files_of_every_format_version_are_read():
    for path in sorted(GOLDEN.glob("*.safetensors")):
        expected = json.loads(path.with_suffix(".json").read_text())
        predicted = lamina.load(path).predict(np.array(expected["x"], dtype=np.float32))
        assert np.abs(predicted - np.array(expected["predictions"])).max() < 1e-5, path.name
    assert {path.stem for path in GOLDEN.glob("*.safetensors")} == {f"version_{n}" for n in file._READABLE}


def test_one_flipped_bit_anywhere_is_named_as_damage(tmp_path):
    path = small_model().save(tmp_path / "m.safetensors")
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(8), *range(8, header, 37), *range(header, len(whole), 61), len(whole) - 1]
    for place in places:
        for bit in range(8) if place < 8 else (0, 6):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(FileFormatError, match="damaged"):
                lamina.load(path)


def test_no_length_of_the_header_is_taken_for_another_format(tmp_path):
    begun = set()
    for length in range(1, 129):
        path = models.Sequential([layers.Dense(1, input_shape=(1,), name="a" * length)]).save(
            tmp_path / "m.safetensors"
        )
        begun.add(path.read_bytes()[0])
        assert lamina.load(path).layers[-1].name == "a" * length
    assert 0x80 in begun  # as a pickle begins
    for start in (b"\x80", b"PK"):  # damage that makes one begin so
        path.write_bytes(start + path.read_bytes()[len(start) :])
        with pytest.raises(FileFormatError, match="damaged"):
            lamina.load(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = small_model().save(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileFormatError, match="damaged"):
        lamina.load(path)


def test_foreign_files_are_named_for_what_they_are(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FileFormatError, match="pickle"):
        lamina.load(path)
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(FileFormatError, match=r"torch\.save"):
        lamina.load(path)
    for metadata in (None, {"format": "pt"}):
        save_file({"a": torch.ones(1)}, path, metadata=metadata)
        with pytest.raises(FileFormatError, match="another program"):
            lamina.load(path)
    path.write_text("hello")
    with pytest.raises(FileFormatError, match="no model file"):
        lamina.load(path)
    with pytest.raises(FileFormatError, match="There is no file"):
        lamina.load(tmp_path / "missing.safetensors")


def forged(path, change):
    """A file whose hash is right and whose header asks for something else."""
    contents = file.read(path)
    description = json.loads(json.dumps(contents.description))
    change(description)
    net = nn.Module()
    for name, value in contents.tensors.items():
        holder = net
        *parents, leaf = name.split(".")
        for parent in parents:
            if not hasattr(holder, parent):
                holder.add_module(parent, nn.Module())
            holder = getattr(holder, parent)
        holder.register_buffer(leaf, value)
    return file.write(path, net, description)


def walk(value, old, new):
    if isinstance(value, dict):
        return {key: walk(entry, old, new) for key, entry in value.items()}
    if isinstance(value, list):
        return [walk(entry, old, new) for entry in value]
    return new if value == old else value


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(kind="os.system"),
        lambda d: d["network"].update(made_of="code"),
        lambda d: d["network"].update(graph=walk(d["network"]["graph"], "Conv2D", "os.system")),
        lambda d: d["network"].update(made_of="network", name="subprocess.run", arguments={}),
        lambda d: d["network"].update(made_of="module", module="os.system"),
    ],
)
def test_a_header_that_asks_for_anything_outside_the_literal_list_is_refused(tmp_path, change):
    path = forged(small_model().save(tmp_path / "m.safetensors"), change)
    with pytest.raises(LaminaError):
        lamina.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(kind=["x"]),
        lambda d: d.pop("kind"),
        lambda d: d.update(kind="classifier"),
        lambda d: d.update(kind="classifier", classes=7, preprocess={}),
        lambda d: d.update(kind="classifier", classes=["a", "b", "c"], preprocess=[]),
        lambda d: d.update(network=[]),
        lambda d: d.update(network=None),
        lambda d: d["network"].update(made_of=["layers"]),
        lambda d: d["network"].pop("graph"),
        lambda d: d["network"].update(graph=[]),
        lambda d: d["network"].update(made_of="network"),
        lambda d: d["network"].update(made_of="network", name=["x"], arguments={}),
        lambda d: d["network"].update(made_of="network", name="deepconvnet", arguments={"depth": 3}),
        lambda d: d["network"].update(made_of="network", name="deepconvnet", arguments={"image_size": "x"}),
        lambda d: d["network"].update(made_of="network", name="deepconvnet", arguments={"num_classes": -3}),
        lambda d: d["network"].update(made_of="module"),
        lambda d: d.update(compiled=3),
    ],
)
def test_whatever_a_header_with_a_right_hash_says_the_error_names_the_file(tmp_path, change):
    path = forged(small_model().save(tmp_path / "m.safetensors"), change)
    with pytest.raises(FileFormatError, match=r"m\.safetensors|description of the network") as caught:
        lamina.load(path)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["[1]", "nonsense", "[" * 100_000])
def test_a_description_that_is_no_object_is_named(tmp_path, monkeypatch, text):
    monkeypatch.setattr(json, "dumps", lambda *_, **__: text)
    path = tmp_path / "m.safetensors"
    file.write(path, nn.Linear(1, 1), {})
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match=r"descri.*m\.safetensors|m\.safetensors describes"):
        lamina.load(path)


def test_a_newer_format_says_to_update(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "VERSION", "99")
    path = small_model().save(tmp_path / "m.safetensors")
    with pytest.raises(FileFormatError, match="pip install -U lamina"):
        lamina.load(path)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    model = small_model()
    path = model.save(tmp_path / "m.safetensors")
    before = path.read_bytes()

    def full(tensors, file, metadata):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(sealed, "save_file", full)
    with pytest.raises(LaminaError, match="No space left on device"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_an_unwritable_place_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LaminaError, match="could not be written"):
        small_model().save(tmp_path / "file" / "m.safetensors")


def test_weights_of_other_formats_are_told_how_to_begin_with_them(tmp_path):
    np.savez(tmp_path / "w.npz", weight=np.zeros(3))
    torch.save({"weight": torch.zeros(3)}, tmp_path / "w.pth")
    save_file({"weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    for name, said in (
        ("w.npz", "archive of numpy arrays"),
        ("w.pth", "torch.save archive"),
        ("w.safetensors", "another"),
    ):
        with pytest.raises(FileFormatError, match=rf"{said}(.|\n)*Classifier\('NETWORK', pretrained=PATH\)"):
            lamina.load(tmp_path / name)
