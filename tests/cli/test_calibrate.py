"""`lamina calibrate`, as a person types it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina import Classifier, Preprocess, Regressor


@pytest.fixture
def typed(tmp_path, typed_in):
    torch.manual_seed(0)
    net = lamina.networks.create("lenet5", num_classes=2)
    Classifier(net, classes=["cat", "dog"], preprocess=Preprocess(channels=1, size=(32, 32))).save(
        tmp_path / "pets.safetensors"
    )
    for index in range(36):
        folder = tmp_path / f"pets/{('train', 'val', 'test')[index % 3]}/{('cat', 'dog')[index // 3 % 2]}"
        folder.mkdir(parents=True, exist_ok=True)
        rough = np.random.default_rng(index).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(rough).save(folder / f"{index}.png")
    return typed_in(tmp_path)


def test_the_temperature_is_learnt_from_validation_kept_in_the_file_and_measured_on_test(typed, tmp_path):
    code, out, err = typed("calibrate", "pets.safetensors", "pets", "-o", "warm.safetensors")
    assert code == 0, err
    first, second, third = out.splitlines()
    warm = lamina.load(tmp_path / "warm.safetensors")
    assert first.startswith(f"temperature {warm.temperature:.3f}, fitted to 12 pictures; crosswise")
    assert second.startswith("Test, 12 pictures that it was not fitted to: says ")
    assert third == "warm.safetensors"
    assert warm.temperature != 1
    assert lamina.load(tmp_path / "pets.safetensors").temperature == 1
    told = json.loads(typed("calibrate", "pets.safetensors", "pets", "--json")[1])
    assert told["value"] == pytest.approx(warm.temperature)
    assert told["test"]["count"] == 12
    assert lamina.load(tmp_path / "pets.safetensors").temperature == pytest.approx(warm.temperature)
    assert "calibrated   temperature" in typed("info", "pets.safetensors")[1]


def test_a_run_knows_its_data(typed, tmp_path):
    assert typed("train", "pets", "--model", "lenet5", "--epochs", "1", "-o", "run")[0] == 0
    code, out, err = typed("calibrate", "run")
    assert code == 0, err
    assert out.splitlines()[-1] == "run/best.safetensors"


def test_a_slip_is_told(typed, tmp_path):
    code, _, err = typed("calibrate", "pets.safetensors")
    assert (code, "lamina calibrate pets.safetensors DATA" in err) == (1, True)
    regressor = Regressor(lamina.networks.create("lenet5", num_classes=1), names=["age"])
    regressor.fit(torch.zeros(8, 1, 32, 32, dtype=torch.uint8), torch.rand(8, 1), verbose=0, validation_split=0.0)
    regressor.save(tmp_path / "age.safetensors")
    assert "holds a Regressor" in typed("calibrate", "age.safetensors", "pets")[2]
    assert "There is no file none" in typed("calibrate", "none", "pets")[2]
