"""Operators that ONNX lacks, or torch's exporter gets wrong, are written in others that it has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lamina import Classifier, Preprocess
from lamina.core.errors import LaminaError
from lamina.export.engines import OnnxEngine
from lamina.export.onnx_file import to_onnx


def answers(net, size):
    """Those of ONNX Runtime, and the model's own."""
    model = Classifier(net, classes=list("abc"), preprocess=Preprocess(size=size))
    images = torch.randint(0, 256, (5, 3, *size), dtype=torch.uint8)
    return OnnxEngine(to_onnx(model.deployable()).SerializeToString())(images.numpy())[0], model.predict_probs(images)


@pytest.mark.parametrize("size", [(24, 24), (32, 33), (37, 20)])
def test_adaptive_maximum_pooling_of_any_size(size):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d((2, 3)), nn.Flatten(), nn.Linear(24, 3))
    np.testing.assert_allclose(*answers(net, size), atol=1e-6)


def test_the_places_of_maxima_are_refused_with_a_way_out():
    class Places(nn.Module):
        def forward(self, images):
            return nn.functional.adaptive_max_pool2d(images, (1, 5), return_indices=True)[1].flatten(1)[:, :3].float()

    with pytest.raises(LaminaError, match=r"\.pt2"):
        answers(Places(), (24, 24))


def test_average_pooling_with_a_divisor_of_its_own():
    net = nn.Sequential(nn.AvgPool2d(2, divisor_override=3), nn.Flatten(), nn.Linear(3 * 6 * 6, 3))
    np.testing.assert_allclose(*answers(net, (12, 12)), atol=1e-6)
