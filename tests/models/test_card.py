"""Model cards: what a file says of the model in it, for a person, for a notebook and for the Hub."""

from __future__ import annotations

import json
import re

import pytest
import torch
import yaml
from torch import nn

import lamina
from lamina import Classifier, Preprocess, Regressor, layers, models
from lamina.core.errors import FileFormatError
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
    assert head["datasets"] == ["pets: old"]
    assert head["license"] == "other"


def test_one_changed_bit_is_named_as_damage(saved, tmp_path):
    content = bytearray(saved[1].read_bytes())
    content[-5] ^= 1
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="damaged"):
        card.read(path)
