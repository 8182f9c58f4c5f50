"""Safetensors files whose damage is seen."""

import pytest
import torch
from safetensors import SafetensorError

from lamina.core import sealed

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(True), "c": torch.zeros(0, 2)}


def test_texts_and_tensors_come_back(tmp_path):
    sealed.write(tmp_path / "file", TENSORS, {"said": "ü"})
    data = (tmp_path / "file").read_bytes()
    assert sealed.header_of(data) == {"said": "ü"}
    back = sealed.tensors_of(data)
    assert back.keys() == TENSORS.keys()
    assert all(torch.equal(back[name], value) for name, value in TENSORS.items())
    assert sealed.digest("1", "text", back) == sealed.digest("1", "text", TENSORS)


@pytest.mark.parametrize(
    ("version", "text", "tensors"),
    [
        ("2", "text", TENSORS),
        ("1", "tex", TENSORS),
        ("1", "text", TENSORS | {"a": TENSORS["a"] + 1e-6}),
        ("1", "text", TENSORS | {"a": TENSORS["a"].reshape(3, 2)}),
        ("1", "text", TENSORS | {"d": torch.zeros(0)}),
        ("1", "text", TENSORS | {"b": torch.tensor(1, dtype=torch.uint8)}),
    ],
)
def test_any_change_changes_the_digest(version, text, tensors):
    assert sealed.digest(version, text, tensors) != sealed.digest("1", "text", TENSORS)


@pytest.mark.parametrize(
    "data", [b"", b"1234567", b"\xff" * 20, b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{x"]
)
def test_what_is_no_header_is_none(data):
    assert sealed.header_of(data) is None
    with pytest.raises(ValueError, match=r"."):
        sealed.tensors_of(data)


def test_a_full_disk_is_an_os_error(tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(sealed, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        sealed.write(tmp_path / "file", TENSORS, {})
