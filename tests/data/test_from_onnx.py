"""Preprocess.from_onnx: what the host does before an exported network, as its file tells."""

from __future__ import annotations

import json

import onnx
import pytest

from lamina import Preprocess
from lamina.core.errors import DataError


@pytest.fixture
def told(tmp_path):
    """`told(texts)`: an ONNX file with these texts."""

    def write(texts):
        model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
        onnx.helper.set_model_props(model, texts)
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return write


def test_the_preprocessing_of_an_exported_file_comes_back(told):
    wanted = Preprocess(size=(48, 64), resize="pad", mean=(0.1, 0.2, 0.3), std=(0.5,))
    path = told({"format": "lamina export", "preprocess": json.dumps(wanted.to_dict())})
    assert Preprocess.from_onnx(path) == wanted
    assert Preprocess.from_onnx(str(path)) == wanted


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ({}, "does not tell how pictures are prepared"),
        ({"format": "another's"}, "does not tell how pictures are prepared"),
        ({"format": "lamina export"}, "takes no pictures"),
        ({"format": "lamina export", "preprocess": "{"}, "cannot be understood"),
        ({"format": "lamina export", "preprocess": "3"}, "cannot be understood"),
        ({"format": "lamina export", "preprocess": '{"size": 0}'}, "size"),
        ({"format": "lamina export", "preprocess": '{"zoom": 2}'}, "'zoom'"),
    ],
)
def test_another_file_is_told(told, texts, match):
    with pytest.raises(DataError, match=match):
        Preprocess.from_onnx(told(texts))


def test_what_is_no_onnx_file_is_told(tmp_path):
    (tmp_path / "pets.onnx").write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    for path, match in (("pets.onnx", "cannot be read"), ("none.onnx", "No such file"), (".", "cannot be read")):
        with pytest.raises(DataError, match=match):
            Preprocess.from_onnx(tmp_path / path)
