"""DeepConvNet (Deep Learning from Scratch, chapter 8) as a plain torch module, for the peers that train one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

PARAMETERS = 123_552


def deepconvnet() -> nn.Sequential:
    """B 1 28 28 -> logits B 10, He normal. The fourth convolution has padding 2; the last dropout is on the logits."""
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 50), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(50, 10), nn.Dropout(0.5),
    )  # fmt: skip
    for module in net:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS
    return net


def answers(net: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """The function that gives `net`'s class numbers for digits N 28 28, in eval mode."""

    @torch.no_grad()
    def predict(digits: np.ndarray) -> np.ndarray:
        net.eval()
        return torch.cat([net(part).argmax(1) for part in torch.from_numpy(digits)[:, None].split(1000)]).numpy()

    return predict
