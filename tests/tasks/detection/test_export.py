"""Detectors that leave the library with their suppression inside, beside the network box by box."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamina.export.boxes_apart import apart
from lamina.tasks.detection import Suppression

onnxruntime = pytest.importorskip("onnxruntime")

# What a process without the library does with a torch program; torchvision has the operator by which regions are pooled.
PLAIN = """
import sys
sys.modules["lamina"] = None
import torch, torchvision
module, images = torch.export.load(sys.argv[1]).module(), torch.load(sys.argv[2] + "/images.pt")
for count in (1, 3):
    torch.save(module(images[:count]), f"{sys.argv[2]}/{count}.pt")
"""


@pytest.fixture(scope="module")
def exported(learnt: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    detector, images, _ = learnt
    made = detector.export(tmp_path_factory.mktemp("out") / "found.onnx", data=images)
    return made, made.path


def require_equal(mine: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    assert (mine[..., 5] >= 0).sum() > len(mine)
    np.testing.assert_allclose(theirs[..., :4], mine[..., :4], atol=1e-3)
    np.testing.assert_allclose(theirs[..., 4], mine[..., 4], atol=1e-5)
    np.testing.assert_array_equal(theirs[..., 5], mine[..., 5])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_onnx_runtime_finds_the_same_boxes_in_a_batch_of_any_size(learnt: Any, exported: Any, count: int) -> None:
    detector, images, _ = learnt
    session = onnxruntime.InferenceSession(str(exported[1]))
    (found,) = session.run(None, {"images": images[:count].numpy()})
    require_equal(detector.answer(images[:count], engine="torch"), found)


@pytest.mark.parametrize("count", [1, 5])
def test_openvino_finds_the_same_boxes(learnt: Any, exported: Any, count: int) -> None:
    openvino = pytest.importorskip("openvino")
    detector, images, _ = learnt
    compiled = openvino.Core().compile_model(str(exported[1]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    require_equal(detector.answer(images[:count], engine="torch"), compiled([images[:count].numpy()])[0])


def test_the_file_was_compared_box_by_box(exported: Any) -> None:
    made, _ = exported
    assert made.agreement == 1.0
    assert made.largest_difference < 1e-4
    assert "boxes agree 100.00 %" in str(made)


def test_an_export_that_found_no_box_says_that_choosing_them_is_untested(learnt: Any, tmp_path: Path) -> None:
    detector, images, _ = learnt
    detector.suppression = Suppression(least_score=0.9999)
    try:
        with pytest.warns(
            UserWarning, match=r"on 8 pictures of the data, in which no box was found: .*untested.*--data"
        ):
            made = detector.export(tmp_path / "found.onnx", data=images, engines=["onnxruntime"])
    finally:
        detector.suppression = Suppression()
    assert made.agreement is None
    assert "no boxes found" in str(made)


@pytest.mark.slow
def test_the_torch_program_finds_the_same_boxes_in_a_process_without_the_library(learnt: Any, tmp_path: Path) -> None:
    detector, images, _ = learnt
    made = detector.export(tmp_path / "found.pt2", data=images)
    torch.save(images, tmp_path / "images.pt")
    subprocess.run([sys.executable, "-c", PLAIN, made.path, tmp_path], check=True, timeout=400)
    for count in (1, 3):
        answers = torch.load(tmp_path / f"{count}.pt").numpy()
        require_equal(detector.answer(images[:count], engine="torch"), answers)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["onnx", "pt2"])
@pytest.mark.parametrize("network", ["fcos", "ssdlite", "faster_rcnn"])
def test_the_other_networks_too(small: Any, tmp_path: Path, network: str, ending: str) -> None:
    detector, images, _ = small.trained(network, epochs=10)
    made = detector.export(tmp_path / f"found.{ending}", data=images)
    assert made.agreement == 1.0
    wanted = detector.answer(images, engine="torch")
    torch.save(images, tmp_path / "images.pt")
    if ending == "pt2":
        subprocess.run([sys.executable, "-c", PLAIN, made.path, tmp_path], check=True, timeout=400)
    else:
        session = onnxruntime.InferenceSession(str(made.path))
    for count in (1, 3):
        answers = (
            torch.load(tmp_path / f"{count}.pt").numpy()
            if ending == "pt2"
            else session.run(None, {"images": images[:count].numpy()})[0]
        )
        difference, both = apart(wanted[:count], answers)  # of a network that has learnt little, boxes are hardly apart
        assert difference < 1e-4
        assert both == 1.0


def test_other_settings_ask_the_engines_anew(learnt: Any) -> None:
    detector, images, _ = learnt
    before = detector.answer(images[:2], engine="onnxruntime")
    detector.suppression = Suppression(least_score=0.5)
    try:
        after = detector.answer(images[:2], engine="onnxruntime")
    finally:
        detector.suppression = Suppression()
    assert (after[..., 5] >= 0).sum() < (before[..., 5] >= 0).sum()
