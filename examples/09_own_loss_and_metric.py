"""A loss and a metric of your own: functions of (outputs, targets) that use torch."""

import torch
from torch import Tensor

from lamina import layers, models


def quantile_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Pinball loss of the 0.9 quantile (Koenker & Bassett 1978): too low costs nine times too high."""
    gap = targets - outputs
    return torch.maximum(0.9 * gap, -0.1 * gap).mean()


def share_below(outputs: Tensor, targets: Tensor) -> Tensor:
    """Which samples lie below the prediction; their mean is what the loss aims at."""
    return (targets <= outputs).float().mean(dim=1)


torch.manual_seed(0)
x = torch.rand(4000, 1)
y = x + 0.5 * torch.rand(4000, 1)  # the 0.9 quantile of y is x + 0.45

model = models.Sequential([layers.Dense(16, activation="relu", input_shape=(1,)), layers.Dense(1)])
model.compile("adam", quantile_loss, [share_below])
model.fit(x, y, batch_size=64, epochs=20)

figures = model.evaluate(x, y)
print(f"{100 * figures['share_below']:.0f} % of the samples lie below the predicted 0.9 quantile")
assert abs(figures["share_below"] - 0.9) < 0.05
