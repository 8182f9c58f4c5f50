"""Rates and weight decays of their own for some parameters."""

import pytest
import torch
from torch import nn

from lamina import optimizers
from lamina.optimizers import NO_DECAY, Group
from lamina.optimizers.groups import arrange


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.PReLU(2))
        self.plane = nn.LayerNorm((4, 4))  # its weights have two dimensions
        self.head = nn.Linear(2, 3)


def settings(net, optimizer):
    names = {id(p): name for name, p in net.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }


def test_no_decay_spares_biases_norms_and_what_only_scales():
    net = Net()
    made = settings(net, optimizers.build(optimizers.AdamW(0.1, weight_decay=0.5), arrange([net], NO_DECAY)))
    assert {name for name, (_, decay) in made.items() if decay} == {"backbone.0.weight", "head.weight"}
    assert {rate for rate, _ in made.values()} == {0.1}


def test_groups_combine_rates_multiply_and_the_first_decay_holds():
    net = Net()
    groups = (Group("backbone", rate=0.1), NO_DECAY, Group("*.weight", rate=0.5, weight_decay=0.2))
    made = settings(net, optimizers.build(optimizers.SGD(1.0, weight_decay=0.3), arrange([net], groups)))
    assert made["backbone.0.weight"] == pytest.approx((0.05, 0.2))
    assert made["backbone.0.bias"] == pytest.approx((0.1, 0.0))
    assert made["backbone.1.weight"] == pytest.approx((0.05, 0.0))
    assert made["head.bias"] == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "nadam", "adagrad", "adadelta", "rmsprop", "muon"])
def test_every_optimizer_with_rates_takes_them(optimizer):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    built = optimizers.build(optimizer, arrange([net], (Group("0", rate=0.0), NO_DECAY)))
    before = [p.detach().clone() for p in net.parameters()]
    net(torch.ones(1, 2)).sum().backward()
    built.step()
    moved = [not torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True)]
    assert moved == [False, False, True, True]


def test_a_torch_factory_takes_groups_too():
    net = Net()
    made = settings(
        net, optimizers.build(lambda p: torch.optim.AdamW(p, lr=0.2), arrange([net], Group("head", rate=2)))
    )
    assert made["head.weight"][0] == pytest.approx(0.4)
    assert made["backbone.0.weight"][0] == pytest.approx(0.2)


@pytest.mark.parametrize("optimizer", ["lbfgs", torch.optim.LBFGS])
def test_lbfgs_refuses_groups(optimizer):
    with pytest.raises(ValueError, match=r"2 groups.*Pass all|2 groups.*Leave out"):
        optimizers.build(optimizer, arrange([Net()], NO_DECAY))


def test_a_decay_for_an_optimizer_without_is_refused():
    class Plain(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.1})

    with pytest.raises(ValueError, match="knows none"):
        optimizers.build(Plain, arrange([Net()], Group("head", weight_decay=0.1)))


def test_a_name_that_matches_nothing_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'backbon'.*'backbone"):
        arrange([Net()], Group("backbon"))


def test_frozen_parameters_stay_out_and_shared_ones_come_once():
    net = Net()
    net.head.requires_grad_(False)
    net.again = net.backbone
    made = [p for group in arrange([net], NO_DECAY) for p in group["params"]]
    assert {id(p) for p in made} == {id(p) for p in [*net.backbone.parameters(), *net.plane.parameters()]}
    assert len(made) == len({id(p) for p in made})


def test_several_networks_are_told_apart_by_their_number():
    made = arrange([nn.Linear(2, 1), nn.Linear(2, 1)], Group("1.*", rate=0.1))
    assert [(group["rate"], len(group["params"])) for group in made] == [(1.0, 2), (0.1, 2)]


@pytest.mark.parametrize("wrong", [{"rate": -1.0}, {"weight_decay": -0.1}])
def test_negative_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="not negative"):
        Group("head", **wrong)
