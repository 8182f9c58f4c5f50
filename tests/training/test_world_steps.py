"""Steps that a DDP wrapper lets diverge or fails at: here all processes stay equal."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from lamina.data.loader import ArrayBatches
from lamina.structures.batch import Logs
from lamina.training import Loop, Runtime, Update
from lamina.training.world import World


def float32() -> Runtime:
    """Made where it is used: it takes the world as it finds it."""
    return Runtime("cpu", precision="float32")


def are_equal(world: World, *networks: nn.Module) -> bool:
    states = world.gather([tensor for net in networks for tensor in net.state_dict().values()])
    return all(torch.equal(a, b) for other in states[1:] for a, b in zip(states[0], other, strict=True))


class GanStep:
    def __init__(self, world):
        torch.manual_seed(world.rank)
        self.generator, self.discriminator = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.updates = {name: Update(net, "adam", runtime=float32()) for name, net in self.networks.items()}
        self.metrics = {}

    def train(self, batch):
        real = batch.inputs
        fakes = self.generator(torch.randn(len(real), 2))  # other noise in each process
        loss = F.softplus(self.discriminator(fakes.detach())).mean() + F.softplus(-self.discriminator(real)).mean()
        self.updates["discriminator"](loss)
        return Logs(len(real), loss=self.updates["generator"](F.softplus(-self.discriminator(fakes)).mean()))

    evaluate = train


class TwoMethods(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up, self.head = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(3, 1)

    def encode(self, x):
        return self.down(x).tanh()

    def decode(self, x):
        return self.up(x)


class TwoMethodsStep:
    """A network that is never called as a whole, with a head that only some batches of some processes use."""

    def __init__(self, world):
        torch.manual_seed(world.rank)
        self.net, self.rank = TwoMethods(), world.rank
        self.networks = {"net": self.net}
        self.updates = {"net": Update(self.net, "adam", runtime=float32())}
        self.metrics, self.seen = {}, 0

    def train(self, batch):
        codes = self.net.encode(batch.inputs)
        loss = F.mse_loss(self.net.decode(codes), batch.inputs)
        if self.seen % 3 == self.rank:
            loss = loss + self.net.head(codes).square().mean()
        self.seen += 1
        return Logs(len(batch.inputs), loss=self.updates["net"](loss))

    evaluate = train


def unusual_steps(world):
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(2))
    told = {}
    for kind in (GanStep, TwoMethodsStep):
        step = kind(world)
        before = copy.deepcopy(step.networks)
        Loop(step, seed=1).fit(ArrayBatches(x, batch_size=8, shard=world.shard), epochs=2)
        moved = all(
            not torch.equal(a, b)
            for n in before
            for a, b in zip(before[n].parameters(), step.networks[n].parameters(), strict=True)
        )
        told[kind.__name__] = moved and are_equal(world, *step.networks.values())
    update = Update(net := nn.Linear(2, 1), "lbfgs", runtime=float32())
    world.broadcast(net)
    mine = x[world.rank :: 2]
    for _ in range(3):
        update(lambda: (net(mine) - mine.sum(1, keepdim=True)).square().mean(), count=len(mine))
    told["lbfgs"] = are_equal(world, net)
    return told


def test_a_gan_two_methods_an_unused_head_and_a_line_search_stay_equal_on_all_processes(together):
    for told in together(unusual_steps):
        assert told == {"GanStep": True, "TwoMethodsStep": True, "lbfgs": True}
