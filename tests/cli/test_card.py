"""`lamina info` and `lamina publish`, as a person types them."""

from __future__ import annotations

import json

import pytest

from lamina import Classifier, Preprocess


@pytest.fixture
def typed(tmp_path, typed_in):
    model = Classifier("lenet5", classes=["cat", "dog"], preprocess=Preprocess(channels=1, size=(28, 28)))
    model.save(tmp_path / "pets.safetensors")
    return typed_in(tmp_path)


def test_info_prints_the_card(typed):
    code, out, _ = typed("info", "pets.safetensors")
    assert code == 0
    assert "classes      2: cat, dog" in out
    code, out, _ = typed("info", "pets.safetensors", "--json")
    assert json.loads(out)["classes"] == ["cat", "dog"]


def test_a_damaged_file_is_named_as_damaged(typed, tmp_path):
    content = bytearray((tmp_path / "pets.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "pets.safetensors").write_bytes(content)
    code, _, err = typed("info", "pets.safetensors")
    assert code == 1
    assert "damaged" in err


def test_publish_writes_a_folder_and_sends_nothing(typed, tmp_path):
    code, out, _ = typed("publish", "pets.safetensors", "hub")
    assert code == 0
    assert "--upload USER/NAME" in out
    assert (tmp_path / "hub" / "README.md").is_file()
