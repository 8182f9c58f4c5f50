"""Parameters spread over processes (fully_shard): updates, checkpoints, and steps of two networks."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.training import Runtime, Update
from lamina.training import world as worlds
from lamina.training.world import World, shard, spread, whole


def net_of(world: World, *, sharded: bool) -> nn.Module:
    torch.manual_seed(world.rank)
    net = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Sequential(nn.Linear(40, 30), nn.Tanh()), nn.Linear(30, 3))
    if world.size > 1:
        world.broadcast(net)
    return shard(net, world) if sharded else net


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(21, 6, generator=generator), torch.randint(0, 3, (21,), generator=generator)


def train(world, net, update, steps):
    """Batches of 21 samples, which two processes do not share evenly."""
    x, y = samples()
    rows = slice(world.rank * 21 // world.size, (world.rank + 1) * 21 // world.size)
    for _ in range(steps):
        update(F.cross_entropy(net(x[rows]), y[rows]), count=rows.stop - rows.start)


OPTIONS = {"adam": {"accumulate": 2, "clip_norm": 0.1}, "sgd": {"accumulate": 3}}


def trained(world, sharded, optimizer, begun):
    worlds._SHARDED_FROM = 1000
    net = net_of(world, sharded=sharded)
    update = Update(net, optimizer, runtime=Runtime("cpu", precision="float32"), **OPTIONS[optimizer])
    train(world, net, update, begun)
    parts = sum(p.to_local().numel() if sharded else p.numel() for p in net.parameters())
    first = copy.deepcopy({"net": whole(net.state_dict()), "update": whole(update.state_dict())})
    train(world, net, update, 4)
    last = whole(net.state_dict())
    if sharded:  # goes on from what was whole, in a new network
        again = net_of(world, sharded=True)
        again.load_state_dict(spread(first["net"], again.state_dict()))
        other = Update(again, optimizer, runtime=Runtime("cpu", precision="float32"), **OPTIONS[optimizer])
        other.load_state_dict(first["update"])
        train(world, again, other, 4)
        resumed = whole(again.state_dict())
        for name, value in last.items():  # of an open window the sums are kept, which rounds
            torch.testing.assert_close(resumed[name], value, rtol=1e-4 * (begun % 2), atol=1e-6 * (begun % 2))
    return last, parts


@pytest.mark.parametrize(("optimizer", "begun"), [("adam", 6), ("sgd", 6), ("sgd", 7)])
def test_a_sharded_network_learns_what_a_whole_one_does_and_goes_on_from_a_checkpoint(together, optimizer, begun):
    expected, numbers = trained(World(), False, optimizer, begun)
    told = together(trained, True, optimizer, begun)
    assert sum(parts for _, parts in told) == numbers
    for state, _ in told:
        assert list(state) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)


def two_networks(world):
    """A generator's loss goes through a sharded discriminator and leaves it as it was."""
    runtime = Runtime("cpu", precision="float32")
    generator, discriminator = (shard(nn.Linear(4, 4), world) for _ in range(2))
    updates = [Update(net, "sgd", runtime=runtime) for net in (generator, discriminator)]
    before = [whole(net.state_dict()) for net in (generator, discriminator)]
    torch.manual_seed(world.rank)
    updates[0](discriminator(generator(torch.randn(5, 4))).square().mean())
    after = [whole(net.state_dict()) for net in (generator, discriminator)]
    return [all(torch.equal(a[name], b[name]) for name in a) for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize("size", [2, 3])
def test_a_loss_moves_its_own_sharded_network_alone(together, size):
    assert together(two_networks, size=size) == [[False, True]] * size
