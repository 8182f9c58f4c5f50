"""Engines: torch and ONNX Runtime give the answers of the model that they were made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess
from lamina.export.engines import OnnxEngine, TorchEngine
from lamina.export.onnx_file import to_onnx


@pytest.fixture(scope="module")
def model():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    return Classifier(net, classes=list("abc"), preprocess=Preprocess(size=(32, 32), mean=(0.5,), std=(0.2,)))


def test_engines_answer_as_the_model_does(model):
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    wanted = model.predict_probs(images)
    shipped = model.deployable()
    for engine in (TorchEngine(shipped), OnnxEngine(to_onnx(shipped).SerializeToString())):
        (probs,) = engine(images.numpy())
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs, wanted, atol=1e-5, err_msg=engine.name)


def test_batch_norm_is_folded_into_its_convolution(model):
    kinds = [node.op_type for node in to_onnx(model.deployable()).graph.node]
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds
