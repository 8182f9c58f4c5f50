"""Pictures whose file names are no UTF-8, as archives of other systems unpack them, are trained on, answered and listed."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina.data.checking import check

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of files are texts here")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(4):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    os.rename(tmp_path / "cat/0.png", os.fsencode(tmp_path) + b"/cat/caf\xe9.png")
    return tmp_path


def test_they_are_trained_on_answered_and_listed(folder, tmp_path):
    classifier = lamina.Classifier("lenet5", preprocess=lamina.Preprocess(size=32))
    classifier.fit(folder, epochs=1, verbose=0, validation_split=0.0, run=tmp_path / "run")
    found = classifier.predict(folder / "cat")
    strange = next(each for each in found if "caf" in str(each.path))
    assert os.fsencode(strange.path).endswith(b"caf\xe9.png")
    assert "caf" in json.dumps(strange.to_dict())
    told = json.loads(check(folder, duplicates=False).to_json(tmp_path / "report.json"))
    assert [each["kind"] for each in told["faults"] if "caf" in each["where"]] == ["name is no UTF-8"]
