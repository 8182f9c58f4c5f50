"""Model cards: what a file says of the model in it, for a person, for a notebook and for the Hub."""

from __future__ import annotations

import json
import re
import shutil
import zipfile

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import lamina
from lamina import Classifier, Preprocess, Regressor, layers, models
from lamina.core.errors import DataError, FileFormatError
from lamina.data.dataset import ImageDataset
from lamina.models import borrowed, card

SMALL = Preprocess(size=(16, 16), mean=(0.5,), std=(0.25,))


def small_net(outputs=2):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    images = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8)
    data = ImageDataset(images, torch.arange(24) % 3 // 2, ["cat", "dog"], name="pets")
    model = Classifier("lenet5")
    model.fit(data, epochs=1, verbose=0, validation_split=0.25)
    return model, model.save(tmp_path_factory.mktemp("card") / "pets.safetensors")


def test_a_card_says_what_the_model_is_and_what_it_learnt_from(saved):
    model, path = saved
    rows = card.read(path).rows
    assert rows["kind"] == "classifier"
    assert rows["network"] == f"lenet5, {model.count_params():,} parameters"
    assert rows["classes"] == "2: cat, dog"
    assert re.match(r"pets: \d+ pictures, \d+ to \d+ a class", rows["learnt from"])
    assert rows["held out"].startswith("25 % of 24 pictures")
    assert "val_accuracy" in rows["figures"]
    assert f"lamina {lamina.__version__}" in rows["made with"]
    assert len(rows["sha256"]) == 64
    assert str(card.read(path)).splitlines()[0].split() == ["kind", "classifier"]


def test_what_was_told_is_told_again_after_opening_and_saving(saved, tmp_path):
    _, path = saved
    again = card.read(lamina.load(path).save(tmp_path / "again.safetensors"))
    first = card.read(path)
    for name in ("network", "classes", "learnt from", "held out"):
        assert again.rows[name] == first.rows[name]


def test_a_live_model_has_a_card_that_draws_itself_in_a_notebook(saved):
    told = saved[0].card()
    assert "file" not in told.rows
    assert "<table>" in told._repr_html_()
    assert json.loads(json.dumps(told.to_dict()))["classes"] == ["cat", "dog"]


def test_names_are_escaped():
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    data = ImageDataset(images, torch.arange(8) % 2, ["<b>", "a|b"], name="<script>")
    model = Classifier(small_net(), preprocess=SMALL)
    model.fit(data, epochs=1, verbose=0, validation_split=0.0)
    told = model.card()
    assert "<script>" not in told._repr_html_()
    assert "<b>" not in told.to_markdown()
    assert "a&#124;b" in told.to_markdown()


def test_the_licence_of_named_data_is_told():
    images = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8)
    told = card.told_of_data(ImageDataset(images, torch.arange(8) % 2, ["0", "1"], name="mnist"))
    assert "CC BY-SA" in told["licence"]
    assert told["of_classes"] == [4, 4]


def test_the_licence_of_borrowed_weights_goes_on_from_file_to_file(tmp_path):
    weights = lamina.networks.weights.get("resnet18")
    lent = borrowed.Borrowed({}, "resnet18 v1", trained_on=weights.trained_on, licence=weights.licence)
    model = Classifier(small_net(), classes=["a", "b"], preprocess=SMALL)
    model.began_with = lent.told()
    path = model.save(tmp_path / "one.safetensors")
    assert "non-commercial" in card.read(path).licence
    assert "ImageNet-1K" in card.read(path).rows["began with"]
    assert "non-commercial" in borrowed.borrow("lenet5", path).licence


def test_regressors_and_plain_models_have_cards(tmp_path):
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    regressor = Regressor(small_net(1), names=["age"], preprocess=SMALL)
    regressor.fit(images, torch.rand(8, 1), verbose=0, validation_split=0.0)
    rows = card.read(regressor.save(tmp_path / "age.safetensors")).rows
    assert (rows["kind"], rows["numbers"]) == ("regressor", "1: age")
    assert "8 pictures" in rows["learnt from"]
    model = models.Sequential([layers.Dense(3, input_shape=(4,))])
    assert card.read(model.save(tmp_path / "dense.safetensors")).rows["network"] == "layers, 15 parameters"


def test_files_of_before_cards_have_one_too():
    told = card.Card({"kind": "classifier", "network": {"made_of": "network", "name": "lenet5"}}, 61706)
    assert told.rows == {"kind": "classifier", "network": "lenet5, 61,706 parameters"}
    assert told.licence == ""


def test_the_hubs_head_is_yaml_that_says_task_data_and_licence():
    described = {
        "kind": "classifier",
        "began_with": {"weights": "w", "licence": "BSD"},
        "learnt_from": {"name": "pets: old"},
    }
    page = card.Card(described, 1).to_markdown(title="Pets")
    head = yaml.safe_load(page.split("---")[1])
    assert head["pipeline_tag"] == "image-classification"
    assert "datasets" not in head, "somebody's folder is no data set of the Hub"
    assert head["license"] == "other"


def test_a_data_set_that_is_known_by_name_stands_in_the_hubs_head():
    page = card.Card({"kind": "classifier", "learnt_from": {"name": "mnist"}}, 1).to_markdown(title="Digits")
    assert yaml.safe_load(page.split("---")[1])["datasets"] == ["mnist"]


def test_figures_and_their_epoch_outlive_opening_and_saving_until_training_gives_others(saved, tmp_path):
    _, path = saved
    figures = card.read(path).rows["figures"]
    assert figures.endswith("(epoch 1)")
    opened = lamina.load(path)
    assert opened.card().rows["figures"] == figures
    assert card.read(opened.save(tmp_path / "again.safetensors")).rows["figures"] == figures
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    opened.fit(images, torch.arange(8) % 2, epochs=2, verbose=0, validation_split=0.0)
    assert opened.card().rows["figures"].endswith("(epoch 2)")
    assert "val_accuracy" not in opened.card().rows["figures"]


def test_a_calibrated_classifier_tells_its_temperature_and_what_that_does(tmp_path):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    data = ImageDataset(images, torch.arange(40) % 2, ["cat", "dog"])
    net = lamina.networks.create("squeezenet1_1", num_classes=2, in_channels=3)
    model = Classifier(net, classes=["cat", "dog"], preprocess=Preprocess(size=(32, 32)))
    assert "calibrated" not in model.card().rows
    found = model.calibrate(data)
    told = f"temperature {found.value:.3f}; expected calibration error {100 * found.before.ece:.2f} % -> {100 * found.after.ece:.2f} %"
    assert model.card().rows["calibrated"].startswith(told)
    again = card.read(lamina.load(model.save(tmp_path / "pets.safetensors")).save(tmp_path / "again.safetensors"))
    assert again.rows["calibrated"] == model.card().rows["calibrated"]
    model.temperature = 2.0  # set by hand: nothing is known of it
    assert model.card().rows["calibrated"] == "temperature 2.000"


def test_a_runs_folder_is_its_best_model(saved, tmp_path):
    shutil.copy(saved[1], tmp_path / "last.safetensors")
    assert lamina.load(tmp_path).classes == ("cat", "dog")
    saved[0].save(tmp_path / "best.safetensors")
    assert card.read(tmp_path).path.endswith("best.safetensors")
    (tmp_path / "data").mkdir()
    with pytest.raises(FileFormatError, match=r"is a folder without best\.safetensors or last.*Train first"):
        lamina.load(tmp_path / "data")
    shutil.copy(saved[1], tmp_path / "data" / "pets.safetensors")
    with pytest.raises(FileFormatError, match=r"Name the file in it: .*pets\.safetensors"):
        lamina.load(tmp_path / "data")


def test_a_picture_is_no_model_and_is_called_a_picture(tmp_path):
    path = tmp_path / "cat.jpg"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(FileFormatError, match=r"cat.jpg is a picture.*lamina predict MODEL cat\.jpg"):
        lamina.load(path)


@pytest.mark.parametrize("name", ["pets.onnx", "pets.pt2", "pets.safetensors"])
def test_an_exported_file_has_a_card_of_what_it_says(saved, tmp_path, name):
    made = saved[0].export(tmp_path / name)
    assert card.is_export(made.path)
    rows = card.of_export(made.path).rows
    assert rows["format"] == f"{made.format} in float32"
    assert (rows["kind"], rows["network"], rows["classes"]) == ("classifier", "lenet5", "2: cat, dog")
    assert rows["pictures"].startswith("RGB, 16 x 16 px")
    assert "val_accuracy" in rows["figures"]
    assert Preprocess.from_export(made.path) == saved[0].preprocess


def test_what_is_no_export_is_told(saved, tmp_path):
    assert not card.is_export(saved[1])
    assert not card.is_export(tmp_path / "none.safetensors")
    for name, content in (("a.onnx", b"\xff" * 20), ("a.pt2", b"no archive"), ("a.safetensors", b"\xff" * 20)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=f"{name} cannot be read"):
            card.of_export(tmp_path / name)
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            Preprocess.from_export(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("archive/data/x", "")
    with pytest.raises(FileFormatError, match="does not say what is in it"):
        card.of_export(tmp_path / "other.pt2")
    with zipfile.ZipFile(tmp_path / "liar.pt2", "w") as archive:
        archive.writestr("archive/extra/lamina.json", json.dumps({"format": "lamina export", "preprocess": "[1]"}))
    with pytest.raises(DataError, match="The preprocessing names 1"):
        card.of_export(tmp_path / "liar.pt2")


def test_one_changed_bit_is_named_as_damage(saved, tmp_path):
    content = bytearray(saved[1].read_bytes())
    content[-5] ^= 1
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="damaged"):
        card.read(path)


@pytest.mark.parametrize(
    ("kind", "metrics", "told", "pipeline"),
    [
        (
            "detector",
            {"loss": 0.5, "AP": 0.61, "val_AP": 0.4321, "val_AP50": 0.8},
            "validation AP 0.4321, validation AP50 0.8, AP 0.61, loss 0.5",
            "object-detection",
        ),
        (
            "segmenter",
            {"loss": 0.5, "val_mean_iou": 0.6},
            "validation mean IoU 0.6, loss 0.5",
            "image-segmentation",
        ),
    ],
)
def test_detectors_and_segmenters_say_what_they_find_and_how_well(kind, metrics, told, pipeline):
    made = card.Card({"kind": kind, "classes": ["road", "sky"], "metrics": metrics}, 12)
    assert made.rows["kind"].startswith(f"{kind}: ")
    assert made.rows["classes"] == "2: road, sky"
    assert made.rows["figures"] == told
    assert f"pipeline_tag: {pipeline}" in made.to_markdown()
