"""`lamina export`, as a person types it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.export import checking, writing


@pytest.fixture(autouse=True)
def untimed(monkeypatch):
    monkeypatch.setattr(checking, "_TIMED_S", 0.0)
    monkeypatch.setattr(writing, "_has_openvino", lambda: False)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with photos of two classes, a run on them, and a model file that lies in no run."""
    folder, rng = tmp_path_factory.mktemp("export"), np.random.default_rng(0)
    for name, bright in (("dark", 60), ("light", 200)):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(bright - 50, bright + 50, (32, 32))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{index}.png")
    torch.manual_seed(0)
    classifier = lamina.Classifier("fastconvnet", preprocess=lamina.Preprocess(channels=1, size=(28, 28)))
    classifier.fit(folder / "photos", epochs=2, batch_size=4, verbose=0, run=folder / "runs" / "pets")
    (folder / "runs" / "pets" / "config.yaml").write_text(f"data: {folder / 'photos'}\nmodel: fastconvnet\n")
    (folder / "alone").mkdir()
    classifier.save(folder / "alone" / "pets.safetensors")
    return folder


@pytest.fixture
def typed(work, typed_in):
    return typed_in(work)


def test_a_run_is_exported_and_compared_on_its_own_pictures(typed, work):
    code, out, err = typed("export", "runs/pets", "out/pets.onnx", "--tolerance", "1e-3")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("out/pets.onnx: ONNX in float32, 0.")
    assert lines[1] == "compared on 2 pictures of photos" or lines[1].startswith("compared on 20 pictures of ")
    assert lines[2].startswith("  onnxruntime: largest difference ")
    assert lamina.Preprocess.from_onnx(work / "out" / "pets.onnx").size == (28, 28)


def test_a_bare_file_is_compared_on_pictures_that_are_named_or_made(typed):
    code, out, err = typed("export", "alone/pets.safetensors", "pets.pt2", "--fixed-size", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["tried_on"], told["sizes"]) == ("16 pictures made of gradients and noise", "28 x 28 px")
    code, out, err = typed("export", "alone/pets.safetensors", "plain.safetensors", "--data", "photos", "--json")
    assert code == 0, err
    assert json.loads(out)["tried_on"] == "20 pictures of photos"


def test_int8_of_a_bare_file_asks_for_data_and_of_a_run_takes_its_own(typed, work):
    code, out, err = typed("export", "alone/pets.safetensors", "no.onnx", "--precision", "int8")
    assert (code, out) == (1, "")
    assert "--data photos/" in err
    code, out, err = typed(
        "export", "runs/pets", "pets.int8.onnx", "--precision", "int8", "--tolerance", "0.9", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["precision"] == "int8"
    assert not (work / "no.onnx").exists()


def test_an_engine_is_named_and_a_wrong_one_is_told(typed, work):
    code, out, err = typed(
        "export",
        "alone/pets.safetensors",
        "one.onnx",
        "--data",
        "photos",
        "--engine",
        "onnxruntime",
        "--agreement",
        "0.5",
    )
    assert code == 0, err
    assert "openvino" not in out
    code, _, err = typed("export", "alone/pets.safetensors", "two.onnx", "--engine", "onnxruntme")
    assert (code, "'onnxruntime'" in err) == (2, True)
    assert not (work / "two.onnx").exists()


def test_answers_above_the_tolerance_fail_and_leave_no_file(typed, work):
    code, out, err = typed(
        "export", "alone/pets.safetensors", "half.safetensors", "--precision", "bfloat16", "--tolerance", "0"
    )
    assert (code, out) == (1, "")
    assert "answers otherwise than the network" in err
    assert "Traceback" not in err
    assert not (work / "half.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "exit_code", "match"),
    [
        (("none.safetensors", "pets.onnx"), 1, "no file"),
        (("alone/pets.safetensors", "pets.tflite"), 1, ".onnx"),
        (("alone/pets.safetensors", "pets.onnx", "--precision", "int4"), 2, "int8"),
        (("alone/pets.safetensors", "pets.pt2", "--data", "nowhere"), 2, "nowhere"),
        (("alone/pets.safetensors", "pets.pt2", "--tolerance", "-1"), 2, "tolerance"),
        (("alone/pets.safetensors",), 2, "OUT"),
    ],
)
def test_bad_input_is_told_without_a_traceback(typed, words, exit_code, match):
    code, out, err = typed("export", *words)
    assert (code, out) == (exit_code, "")
    assert match in err
    assert "Traceback" not in err
