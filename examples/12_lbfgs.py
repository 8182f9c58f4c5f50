"""L-BFGS, an optimizer that evaluates the loss several times an update: the step hands it a closure."""

import torch
import torch.nn.functional as F
from torch import nn

from lamina.data import ArrayBatches
from lamina.optimizers import LBFGS
from lamina.structures.batch import Batch, Logs
from lamina.training import Loop, Runtime, Update


class LeastSquares:
    """All the data in one batch, one L-BFGS update an epoch."""

    def __init__(self, features: int) -> None:
        runtime = Runtime("cpu", precision="float32")
        self.net = nn.Linear(features, 1)
        self.networks, self.metrics = {"net": self.net}, {}
        self.updates = {"net": Update(self.net, LBFGS(), runtime=runtime)}

    def train(self, batch: Batch) -> Logs:
        return Logs(batch.size, loss=self.updates["net"](lambda: F.mse_loss(self.net(batch.inputs), batch.targets)))

    def evaluate(self, batch: Batch) -> Logs:
        return Logs(batch.size, loss=F.mse_loss(self.net(batch.inputs), batch.targets))


torch.manual_seed(0)
weights = torch.tensor([[1.0], [-2.0], [0.5]])
x = torch.randn(256, 3)
y = x @ weights + 0.25

step = LeastSquares(3)
history = Loop(step).fit(ArrayBatches(x, y, batch_size=256), epochs=10)

print(f"weights {step.net.weight.tolist()[0]}, bias {step.net.bias.item():.4f}, loss {history.history['loss'][-1]:.2e}")
assert torch.allclose(step.net.weight.T, weights, atol=1e-3)
assert torch.allclose(step.net.bias, torch.tensor([0.25]), atol=1e-3)
