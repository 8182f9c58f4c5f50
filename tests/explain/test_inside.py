"""The report's sections that look into the network."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina import Classifier, Preprocess
from lamina.explain import deeper, inside
from lamina.explain.subject import Subject


def subject(model, count=40, **told):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 1, 32, 32), dtype=np.uint8)
    probs = model.predict_probs(images)
    labels = (probs.argmax(1) + np.arange(count) % 2) % 3
    return Subject(model, None, images, labels.astype(np.int64), probs, ("<b>one", "two", "three"), **told)


@pytest.fixture
def model():
    torch.manual_seed(3)
    net = lamina.networks.create("lenet5", num_classes=3)
    return Classifier(net, classes=["<b>one", "two", "three"], preprocess=Preprocess(channels=1, size=(32, 32)))


SECTIONS = (
    inside.first_filters,
    inside.sources_of_mistakes,
    inside.as_points,
    deeper.maps,
    deeper.excited,
    deeper.covered,
)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_holds_its_pictures_itself_and_escapes_names(model, section):
    told = section(subject(model))
    assert "data:image/" in told
    assert "//" not in told.replace("data:image/", "").split("base64,")[0]
    assert "<b>one" not in told
    assert len(told) < 1_500_000


def test_the_filters_before_training_are_made_again_from_the_run_s_seed(model):
    with torch.no_grad():
        next(model.net.parameters()).mul_(2)
    assert "moved by 100 %" in inside.first_filters(subject(model, settings={"seed": 3}))
    assert "moved" not in inside.first_filters(subject(model))
    assert "moved" not in inside.first_filters(subject(model, settings={"seed": 3, "pretrained": True}))


def test_two_pictures_stand_side_by_side_for_each_of_the_surest_mistakes(model):
    told = inside.sources_of_mistakes(subject(model))
    assert told.count("<figure>") == 12
    assert told.count('class="said"') == told.count('class="truth"') == 13  # and the legend


@pytest.mark.parametrize("section", SECTIONS)
def test_networks_without_convolutions_and_other_models_have_no_such_section(section):
    net = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 3))
    plain = Classifier(net, classes=["a", "b", "c"], preprocess=Preprocess(channels=1, size=(32, 32)))
    assert section(subject(plain)) == ""

    class Asked:
        def predict_probs(self, images):
            return np.tile([0.2, 0.3, 0.5], (len(images), 1))

    assert section(subject(Asked())) == ""


def test_the_points_are_as_wide_as_a_phone_and_the_numbered_pictures_stand_below_as_pictures(model):
    told = inside.as_points(subject(model, sources=[f"a/{row}.png" for row in range(40)]))
    assert told.count("<figure>") == 8
    assert re.findall(r'<b class="truth">(\d)</b>', told) == list("12345678")
    assert re.search(r"<figcaption title=\"a/\d+\.png\">[^<]+<span>\d+\.png</span>", told)
    written = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", told)[1])
    assert Image.open(io.BytesIO(written)).width / 180 < 390 / 96 + 0.2, "letters are not made smaller there"


def test_no_section_takes_longer_than_it_may(model, monkeypatch):
    monkeypatch.setattr(inside, "SECONDS", 0.0)
    assert inside.sources_of_mistakes(subject(model)).count("<figure>") <= 1
    assert "data:image/png" in inside.as_points(subject(model, count=100)), "of the first batch"


def test_the_maps_of_a_mistake_what_excites_channels_and_what_covering_takes(model):
    about = subject(model)
    assert "the most confident mistake" in deeper.maps(about)
    assert "the first picture" in deeper.maps(replace(about, labels=about.probs.argmax(1)))
    assert deeper.excited(about).count("<img") == 3
    told = deeper.covered(about)
    assert told.count("<figure>") == 4
    assert "&lt;b&gt;one" in told
    assert deeper.covered(replace(about, labels=about.probs.argmax(1))) == ""


def test_looking_deeper_takes_no_longer_than_it_may(model, monkeypatch):
    monkeypatch.setattr(deeper, "_SECONDS", 0.0)
    assert deeper.covered(subject(model)).count("<figure>") <= 1
    assert deeper.excited(subject(model)).count("<img") == 3, "of the first pictures"
