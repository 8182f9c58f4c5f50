"""One optimizer with all that belongs to it."""

import pytest
import torch
from torch import nn

from lamina import optimizers
from lamina.training import Loop, Runtime, Update
from lamina.training.averaging import EMA, Lookahead
from lamina.training.world import World, shard, whole

FLOAT32 = Runtime("cpu", precision="float32")


def test_differentiates_its_own_parameters_only():
    mine, other = nn.Linear(2, 2), nn.Linear(2, 1)
    update = Update(mine, "sgd", runtime=FLOAT32)
    update(other(mine(torch.ones(3, 2))).sum())
    assert all(p.grad is not None for p in mine.parameters())
    assert all(p.grad is None for p in other.parameters())


def test_a_parameter_that_the_loss_does_not_reach_stays_put():
    net = nn.ModuleDict({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 1)})
    before = net["unused"].weight.clone()
    Update(net, "sgd", runtime=FLOAT32)(net["used"](torch.ones(3, 2)).sum())
    assert torch.equal(net["unused"].weight, before)


def test_a_schedule_is_laid_over_the_planned_updates():
    net = nn.Linear(1, 1)
    seen = []
    update = Update(net, lambda p: torch.optim.SGD(p, lr=0.5), runtime=FLOAT32, schedule=lambda q: 1 - q)
    update.plan(4)
    for _ in range(6):
        update(net(torch.ones(1, 1)).sum())
        seen.append(update.optimizer.param_groups[0]["lr"])
    assert seen == [0.5, 0.375, 0.25, 0.125, 0.0, 0.0]


def test_setting_the_learning_rate_scales_every_group():
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    update = Update(
        [a, b],
        lambda p: torch.optim.SGD([{"params": p[:2], "lr": 0.2}, {"params": p[2:], "lr": 0.02}]),
        runtime=FLOAT32,
    )
    update.learning_rate = 0.1
    assert [group["lr"] for group in update.optimizer.param_groups] == [0.1, pytest.approx(0.01)]


def test_a_network_with_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="no trainable parameters"):
        Update(nn.ReLU(), "sgd", runtime=FLOAT32)


def test_lbfgs_without_a_closure_is_refused_with_advice():
    net = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="closure"):
        Update(net, "lbfgs", runtime=FLOAT32)(net(torch.ones(1, 1)).sum())


def test_state_goes_round():
    def run(steps, state=None):
        torch.manual_seed(0)
        net = nn.Linear(3, 1)
        update = Update(net, "adam", runtime=FLOAT32, schedule=lambda q: 1 - q)
        update.plan(10)
        if state is not None:
            net.load_state_dict(state[0])
            update.load_state_dict(state[1])
        for step in range(update.count, steps):
            update((net(torch.full((4, 3), float(step))) ** 2).mean())
        return net.state_dict(), update.state_dict()

    whole, _ = run(8)
    resumed, _ = run(8, run(5))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def gan(world):
    """Two networks that use each other, in windows of two, on some of the rows; their weights and averages at the end."""
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, out)) for out in (4, 1)]
    if world.size > 1:
        nets = [shard(net, world) for net in nets]
    settings = {"accumulate": 2, "clip_norm": 0.5, "average": EMA(0.9), "lookahead": Lookahead(k=2)}
    runtime = Runtime("cpu", precision="float32")  # made here: it has the world of this process
    makes = [[Update(net, optimizers.SGD(0.1), runtime=runtime, **settings) for net in nets] for _ in range(2)]
    (generator, discriminator), updates = nets, makes[0]
    noise = torch.randn(8, 8, 4)
    for turn, rows in enumerate(noise):
        if turn == 5:  # in the middle of a window the run goes on with other updates
            whole_states = [whole(update.state_dict()) for update in updates]
            updates = makes[1]
            for update, state in zip(updates, whole_states, strict=True):
                update.load_state_dict(state)
        z = rows if world.size == 1 else rows[:3] if world.rank == 0 else rows[3:]
        updates[1](discriminator(generator(z).detach()).square().mean(), count=len(z))
        updates[0]((discriminator(generator(z)) - 1).square().mean(), count=len(z))
    ends = [whole(net.state_dict()) for net in nets]
    for net, update in zip(nets, updates, strict=True):
        with update.averaged():
            ends.append({name: value.clone() for name, value in whole(net.state_dict()).items()})
    return ends


def test_sharded_networks_do_not_leak_into_each_other_and_are_averaged_and_resumed_as_whole_ones(together):
    alone = gan(World())
    for ends in together(gan):
        for state, expected in zip(ends, alone, strict=True):
            for name, value in state.items():
                torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_a_schedule_without_a_plan_is_refused_before_anything_is_changed():
    net = nn.Linear(2, 1)
    before = net.weight.detach().clone()
    update = Update(net, "sgd", runtime=FLOAT32, schedule=lambda q: 1 - q)
    with pytest.raises(ValueError, match=r"no plan.*update\.plan\(updates, epochs=\.\.\.\)"):
        update(net(torch.ones(1, 2)).sum())
    assert torch.equal(net.weight, before)


def test_a_state_with_other_parts_is_refused_before_a_network_is_changed():
    class Both:
        metrics = {}  # noqa: RUF012

        def __init__(self, average):
            self.networks = {"net": nn.Linear(2, 1)}
            self.updates = {"net": Update(self.networks["net"], "sgd", runtime=FLOAT32, average=average)}

        train = evaluate = None

    step = Both(None)
    step.train = print
    loop, other = Loop(step), Both(EMA())
    other.train = print
    state, before = Loop(other).state_dict(), step.networks["net"].weight.detach().clone()
    with pytest.raises(ValueError, match="average"):
        loop.load_state_dict(state)
    assert torch.equal(step.networks["net"].weight, before)
