"""An ensemble as one file: the mean of its members' answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Classifier, Ensemble, Preprocess
from lamina.core.errors import LaminaError
from lamina.export import checking, writing

PREPROCESS = Preprocess(size=(16, 16), mean=(0.5,), std=(0.25,))


@pytest.fixture(autouse=True)
def untimed(monkeypatch):
    monkeypatch.setattr(checking, "_TIMED_S", 0.0)
    monkeypatch.setattr(writing, "_has_openvino", lambda: False)


def member(seed, classes="abc", preprocess=PREPROCESS):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    return Classifier(net, classes=list(classes), preprocess=preprocess)


@pytest.mark.parametrize("average", ["probs", "logits"])
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_one_file_answers_as_the_ensemble_does(tmp_path, average, suffix):
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    whole = Ensemble([member(0), member(1, "cab")], weights=[3, 1], average=average)
    wanted = whole.predict_probs(images)
    np.testing.assert_allclose(whole.deployable().module()(images).numpy(), wanted, atol=1e-6)
    made = whole.export(tmp_path / f"both{suffix}", data=images)
    assert made.agreement == 1
    assert made.largest_difference < 1e-5
    if suffix == ".onnx":
        assert Preprocess.from_onnx(made.path) == PREPROCESS


def test_members_that_prepare_pictures_otherwise_are_told(tmp_path):
    other = Preprocess(size=(16, 16), mean=(0.4,), std=(0.25,))
    with pytest.raises(LaminaError, match="prepares pictures otherwise"):
        Ensemble([member(0), member(1, preprocess=other)]).export(tmp_path / "both.onnx")


def test_weights_for_plain_torch_are_those_of_one_network(tmp_path):
    with pytest.raises(LaminaError, match="one by one"):
        Ensemble([member(0), member(1)]).export(tmp_path / "both.safetensors")
    assert list(tmp_path.iterdir()) == []
