"""A step of your own with two networks and two optimizers: a GAN that learns to place points on a ring.

The loop repeats a step and knows nothing of losses. A step owns its networks and updates; it never writes zero_grad,
backward or step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.optimizers import Adam
from lamina.structures.batch import Logs
from lamina.training import Loop, Runtime, Update


class GanStep:
    """One discriminator update, then one generator update, on the same real points (Goodfellow 2014, algorithm 1)."""

    def __init__(self, *, noise_dim: int = 4) -> None:
        runtime = Runtime("cpu", precision="float32")
        self.noise_dim = noise_dim
        self.generator = nn.Sequential(
            nn.Linear(noise_dim, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
        )
        self.discriminator = nn.Sequential(
            nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
        )
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        adam = Adam(0.001, beta_1=0.5)
        self.updates = {name: Update(net, adam, runtime=runtime) for name, net in self.networks.items()}
        self.metrics = {}

    def train(self, real: Tensor) -> Logs:
        fake = self.generator(torch.randn(len(real), self.noise_dim))
        d_loss = realness(self.discriminator(real), 1.0) + realness(self.discriminator(fake.detach()), 0.0)
        self.updates["discriminator"](d_loss)  # differentiates the discriminator's parameters only
        g_loss = realness(self.discriminator(fake), 1.0)
        self.updates["generator"](g_loss)
        return Logs(len(real), d_loss=d_loss, g_loss=g_loss)

    def evaluate(self, real: Tensor) -> Logs:
        return Logs(len(real), d_loss=realness(self.discriminator(real), 1.0))


def realness(logits: Tensor, wanted: float) -> Tensor:
    """Binary cross-entropy of calling everything real (1.0) or fake (0.0)."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))


torch.manual_seed(0)
angle = torch.rand(2048) * 2 * torch.pi
ring = torch.stack([angle.cos(), angle.sin()], dim=1)

step = GanStep()
Loop(step).fit(list(ring.split(128)), epochs=120)

points = step.generator(torch.randn(1000, step.noise_dim)).detach()
radius = points.norm(dim=1)
print(
    f"radius of generated points {radius.mean():.2f} +- {radius.std():.2f}, their centre {points.mean(0).norm():.2f} off"
)
assert abs(radius.mean() - 1) < 0.2
assert radius.std() < 0.3
assert points.mean(0).norm() < 0.4
