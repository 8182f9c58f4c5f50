"""Texts of ONNX files, read without a library; onnx itself says what is right."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest

from lamina.core import onnx_texts


@pytest.fixture
def file(tmp_path):
    """An ONNX file with two texts, one of them long and not in ASCII."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    weights = onnx.numpy_helper.from_array(np.zeros(1000, "f4"), "w")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value], [weights])
    model = onnx.helper.make_model(graph, producer_name="somebody")
    onnx.helper.set_model_props(model, {"long": "Größe " * 500, "": "no key", "empty": ""})
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_texts_are_those_that_onnx_reads(file):
    told = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert onnx_texts.read(file) == told
    assert told["long"].startswith("Größe")


def test_a_file_without_texts_has_none(tmp_path):
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), tmp_path / "bare.onnx")
    assert onnx_texts.read(tmp_path / "bare.onnx") == {}


@pytest.mark.parametrize(
    "content", [b"", b"\x0b", b"\x3a\xff\xff\xff\x7f", b"\xff" * 12, b"\x72", b"\x72\x05\x0a\x09abc"]
)
def test_what_is_no_onnx_file_is_a_value_error(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ValueError):
        onnx_texts.read(tmp_path / "other")


def test_no_cut_and_no_changed_byte_ends_otherwise(file, tmp_path):
    content = file.read_bytes()
    changed = tmp_path / "changed.onnx"
    for place in [*range(60), *range(len(content) - 3100, len(content), 37)]:
        for data in (content[:place], content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]):
            changed.write_bytes(data)
            with contextlib.suppress(ValueError):
                onnx_texts.read(changed)
