"""Ten updates of every optimizer beside Keras 3's, from the same weights with the same gradients."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lamina import optimizers

os.environ.setdefault("KERAS_BACKEND", "torch")
keras: Any = pytest.importorskip("keras")

CASES: list[tuple[optimizers.Optimizer, Callable[[], Any]]] = [
    (optimizers.SGD(0.1), lambda: keras.optimizers.SGD(0.1)),
    (optimizers.SGD(0.1, 0.9), lambda: keras.optimizers.SGD(0.1, 0.9)),
    (optimizers.SGD(0.1, 0.9, True, 0.02), lambda: keras.optimizers.SGD(0.1, 0.9, True, 0.02)),
    (optimizers.Adam(0.01), lambda: keras.optimizers.Adam(0.01)),
    (optimizers.Adam(0.01, epsilon=0.1), lambda: keras.optimizers.Adam(0.01, epsilon=0.1)),
    (optimizers.Adam(0.01, amsgrad=True), lambda: keras.optimizers.Adam(0.01, amsgrad=True)),
    (optimizers.AdamW(0.01), lambda: keras.optimizers.AdamW(0.01)),
    (optimizers.Nadam(0.01, epsilon=0.1), lambda: keras.optimizers.Nadam(0.01, epsilon=0.1)),
    (optimizers.Nadam(0.01, weight_decay=0.1), lambda: keras.optimizers.Nadam(0.01, weight_decay=0.1)),
    (optimizers.Adagrad(0.1, epsilon=0.1), lambda: keras.optimizers.Adagrad(0.1, epsilon=0.1)),
    (optimizers.Adagrad(0.1, weight_decay=0.1), lambda: keras.optimizers.Adagrad(0.1, weight_decay=0.1)),
    (optimizers.Adadelta(1.0, epsilon=1e-3), lambda: keras.optimizers.Adadelta(1.0, epsilon=1e-3)),
    (optimizers.RMSprop(0.01, epsilon=0.1), lambda: keras.optimizers.RMSprop(0.01, epsilon=0.1)),
    (
        optimizers.RMSprop(0.01, 0.8, 0.9, centered=True, weight_decay=0.1),
        lambda: keras.optimizers.RMSprop(0.01, 0.8, 0.9, centered=True, weight_decay=0.1),
    ),
    (optimizers.Muon(0.01), lambda: keras.optimizers.Muon(0.01)),
    (
        optimizers.Muon(0.01, rms_rate=None, nesterov=False, weight_decay=0.1, adam_lr_ratio=0.5),
        lambda: keras.optimizers.Muon(0.01, rms_rate=None, nesterov=False, weight_decay=0.1, adam_lr_ratio=0.5),
    ),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("ours", "theirs"), CASES, ids=lambda case: repr(case)[:60] if not callable(case) else "")
def test_ten_updates_are_those_of_keras(ours: optimizers.Optimizer, theirs: Callable[[], Any], fused: bool) -> None:
    random = np.random.default_rng(0)
    start = [random.normal(size=shape).astype("float32") for shape in ((6, 4), (7,), (3, 9))]
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    # Keras's kernels are (in, out); Muon's formula is the same for a matrix and its transpose.
    variables = [keras.Variable(value) for value in start]
    optimizer, peer = ours.build(parameters, fused=fused), theirs()
    peer.build(variables)
    for _ in range(10):
        grads = [random.normal(size=value.shape).astype("float32") for value in start]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = torch.tensor(grad)
        optimizer.step()
        peer.apply([keras.ops.convert_to_tensor(grad) for grad in grads], variables)
    for parameter, variable in zip(parameters, variables, strict=True):
        np.testing.assert_allclose(
            parameter.detach().numpy(), keras.ops.convert_to_numpy(variable.value), rtol=2e-5, atol=2e-5
        )
