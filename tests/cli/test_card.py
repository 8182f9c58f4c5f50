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


def test_info_of_an_exported_file_prints_what_is_in_it(typed, tmp_path):
    typed("export", "pets.safetensors", "pets.pt2")
    code, out, err = typed("info", "pets.pt2")
    assert code == 0, err
    assert "format       torch program in float32" in out
    assert "classes      2: cat, dog" in out
    assert json.loads(typed("info", "pets.pt2", "--json")[1])["kind"] == "classifier"


def test_what_is_no_model_is_called_what_it_is(typed, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    assert "cat.jpg is a picture" in typed("info", "cat.jpg")[2]
    (tmp_path / "photos").mkdir()
    for command in ("info", "serve"):
        code, _, err = typed(command, "photos")
        assert code == 1
        assert "photos is a folder without best.safetensors or last.safetensors." in err


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
