"""AdamKernel's own way to the fused kernel beside torch's."""

import copy
import functools
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from lamina.optimizers import kernels
from lamina.optimizers.kernels import AdamKernel

SETTINGS = {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1, "epsilon": 0.05, "fused": True}


def made(dtype=torch.float32, groups=1, **settings):
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(size, generator=generator).to(dtype)) for size in ((3, 4), (5,), (2, 1, 3))]
    parts = [{"params": weights}] if groups == 1 else [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:]}]
    return AdamKernel(parts, **SETTINGS | settings)


def weights_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def update(optimizer, count=1):
    for _ in range(count):
        for number, weight in enumerate(weights_of(optimizer)):
            weight.grad = torch.sin(weight.detach() * (number + 1))
        optimizer.step()


@pytest.fixture
def torchs(monkeypatch):
    """The steps that torch's way has made."""
    steps, step = [], kernels._torchs_adamw_step
    monkeypatch.setattr(kernels, "_torchs_adamw_step", lambda *given: steps.append(1) or step(*given))
    return steps


def assert_equal(one, other):
    for ours, theirs in zip(weights_of(one), weights_of(other), strict=True):
        assert torch.equal(ours, theirs)
        mine, its = one.state[ours], other.state[theirs]
        assert mine.keys() == its.keys()
        assert all(torch.equal(mine[name], its[name]) for name in mine)
    assert [group["updates"] for group in one.param_groups] == [group["updates"] for group in other.param_groups]


def torchs_way(optimizer, count):
    optimizer.register_step_post_hook(lambda *_: None)
    update(optimizer, count)
    return optimizer


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"maximize": True}, {"weight_decay": 0.0}, {"dtype": torch.bfloat16}])
def test_five_updates_are_torchs_to_the_bit(groups, settings, torchs):
    ours = made(groups=groups, **settings)
    update(ours, 5)
    assert len(torchs) == 1  # the first, which makes the state
    assert_equal(ours, torchs_way(made(groups=groups, **settings), 5))
    assert len(torchs) == 1 + 5


def _without_a_gradient(optimizer):
    step = optimizer.step

    def without():
        weights_of(optimizer)[1].grad = None
        step()

    optimizer.step = without


def _sparse(optimizer):
    step = optimizer.step

    def sparse():
        weight = weights_of(optimizer)[0]
        weight.grad = weight.grad.to_sparse()
        with pytest.raises(RuntimeError):
            step()

    optimizer.step = sparse


def _set(**settings):
    return lambda optimizer: optimizer.param_groups[0].update(settings)


UNUSUAL = {
    "before": lambda optimizer: optimizer.register_step_pre_hook(lambda *_: None),
    "after": lambda optimizer: optimizer.register_step_post_hook(lambda *_: None),
    "another parameter": lambda optimizer: optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]}),
    "no state": lambda optimizer: optimizer.state.clear(),
    "no gradient": _without_a_gradient,
    "sparse": _sparse,
    "a tensor's rate": _set(lr=torch.tensor(0.01)),
    "capturable": _set(capturable=True),
    "not fused": _set(fused=False),
    "gradients that are scaled": lambda optimizer: setattr(optimizer, "found_inf", torch.zeros(())),
    "closure": lambda optimizer: setattr(optimizer, "step", functools.partial(optimizer.step, lambda: 1.0)),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_whatever_is_unusual_goes_torchs_way(name, torchs):
    optimizer = made()
    update(optimizer, 2)
    torchs.clear()
    UNUSUAL[name](optimizer)
    update(optimizer)
    assert torchs == [1]
    assert optimizer.param_groups[0]["updates"] == 3  # counted once


def test_a_hook_for_all_optimizers_and_the_profiler_see_each_step_once(torchs):
    optimizer, seen = made(), []
    update(optimizer)
    hook = register_optimizer_step_post_hook(lambda *_: seen.append(1))
    try:
        update(optimizer, 2)
    finally:
        hook.remove()
    with torch.profiler.profile() as profile:
        update(optimizer)
    assert seen == [1, 1]
    assert [event.name for event in profile.events()].count("Optimizer.step#AdamKernel.step") == 1
    assert len(torchs) == 1 + 3


def test_torchs_own_adam_beside_it_changes_nothing():
    torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    torch.optim.Adam([nn.Parameter(torch.ones(2))])
    one = torchs_way(made(), 3)
    assert one.param_groups[0]["updates"] == 3


def test_hooks_run_once_where_torchs_adam_came_first():
    code = """
import torch
torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
from lamina.optimizers.kernels import AdamKernel
weight = torch.nn.Parameter(torch.ones(2))
optimizer = AdamKernel([weight], epsilon=0.1)
weight.grad = torch.ones(2)
optimizer.step()
print(optimizer.param_groups[0]["updates"])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_state_in_another_order_reaches_its_own_parameter():
    found = []
    for update_on in (update, torchs_way):
        optimizer = made()
        for weight in weights_of(optimizer)[1:]:
            weight.grad = torch.ones_like(weight)
        optimizer.step()  # the first weight's state is the last to come
        update_on(optimizer, 3)
        found.append(optimizer)
    assert_equal(*found)


def test_copies_pickles_and_loaded_states_go_on_alike(torchs):
    first = made(groups=2)
    update(first, 3)
    loaded = made(groups=2)
    loaded.load_state_dict(copy.deepcopy(first.state_dict()))
    for ours, theirs in zip(weights_of(loaded), weights_of(first), strict=True):
        ours.data.copy_(theirs)
    others = [copy.deepcopy(first), pickle.loads(pickle.dumps(first)), loaded]
    torchs.clear()
    for optimizer in (first, *others):
        update(optimizer, 2)
    for optimizer in others:
        assert_equal(first, optimizer)
    assert torchs == []


def test_a_schedule_of_torchs_counts_its_steps(torchs):
    optimizer = made()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for _ in range(3):
        update(optimizer)
        schedule.step()
    assert len(torchs) == 1
    assert optimizer.param_groups[0]["lr"] == 0.01 / 8


@pytest.mark.parametrize("when", ["before the first step", "later"])
def test_states_that_reading_or_resetting_left_empty_are_begun_anew(when):
    parameters = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
    adam = AdamKernel(parameters, epsilon=1e-7, lr=0.1, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    if when == "later":
        adam.step()
    for parameter in parameters:
        adam.state[parameter] = {}
    adam.step()
    assert all(adam.state[parameter]["step"] == 1 for parameter in parameters)
