"""A try-out leaves no trace, whatever happens in it."""

from __future__ import annotations

import copy
import os
import random as python_random
import signal
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lamina import losses, metrics
from lamina.optimizers import SGD
from lamina.structures.batch import Batch
from lamina.training import Loop, Runtime, SupervisedStep, Target, Update
from lamina.training.untouched import untouched

FLOAT32 = Runtime("cpu", precision="float32")


def batches(count=6):
    generator = torch.Generator().manual_seed(1)
    return [
        Batch(torch.randn(8, 5, generator=generator), torch.randint(0, 3, (8,), generator=generator))
        for _ in range(count)
    ]


def make_step(optimizer="adam", **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    net.register_buffer("unsaved", torch.zeros(2), persistent=False)
    loss = losses.get("sparse_categorical_crossentropy")
    target = Target(loss, metrics=[metrics.get("accuracy", loss)])
    update = Update(net, optimizer, runtime=FLOAT32, **options)
    update.plan(10)
    return SupervisedStep(net, update, targets=[target], runtime=FLOAT32)


def everything(step):
    """All that a step may change, in comparable form, and the tensors that hold it."""
    state = copy.deepcopy(Loop(step).state_dict())
    net = step.networks["net"]
    update = step.updates["net"]
    others = {
        "buffers": {name: value.clone() for name, value in net.named_buffers()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "modes": [module.training for module in net.modules()],
        "lr": [group["lr"] for group in update.optimizer.param_groups],
        "schedule": update.schedule,
        "held": [
            value.data_ptr()
            for entry in update.optimizer.state.values()
            for value in entry.values()
            if hasattr(value, "data_ptr")
        ],
    }
    drawn = [torch.get_rng_state(), np.random.get_state()[1].copy(), python_random.getstate()]
    return state, others, drawn


def same(a, b):
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor) and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) and a.dtype == b.dtype
        )
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def disturb(step, data, error=None):
    step.networks["net"].eval()
    step.networks["net"][1].train()
    step.networks["net"].unsaved += 1
    step.updates["net"].schedule = None
    step.updates["net"].learning_rate = 7.0
    for batch in data:
        step.train(batch)
    torch.rand(3), np.random.rand(), python_random.random()
    if error is not None:
        raise error


OPTIONS = [
    ("adam", {}),
    ("lbfgs", {}),
    ("muon", {}),
    (SGD(lr=0.1, momentum=0.9), {"accumulate": 4, "clip_norm": 1.0, "schedule": lambda progress: 1 - progress / 2}),
]


@pytest.mark.parametrize("trained", [0, 3], ids=["new", "trained"])
@pytest.mark.parametrize(("optimizer", "options"), OPTIONS, ids=["adam", "lbfgs", "muon", "sgd"])
def test_everything_is_as_it_was_bit_for_bit(optimizer, options, trained) -> None:
    step, data = make_step(optimizer, **options), batches()
    for batch in data[:trained]:  # with accumulation, in the midst of a window
        step.train(batch)
    before = everything(step)
    with untouched(step):
        disturb(step, data)
        assert not same(everything(step), before)
    assert same(everything(step), before)


def test_training_goes_on_as_if_nothing_had_been() -> None:
    plain, tried = make_step(), make_step()
    for step in (plain, tried):
        Loop(step).fit(batches(), epochs=2)
    with untouched(tried):
        disturb(tried, batches())
    for step in (plain, tried):
        Loop(step).fit(batches(), epochs=2)
    assert same(everything(tried)[:1], everything(plain)[:1])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_everything_is_as_it_was_after_an_exception(error) -> None:
    step = make_step()
    before = everything(step)
    with pytest.raises(error), untouched(step):
        disturb(step, batches(2), error)
    assert same(everything(step), before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")
def test_ctrl_c_while_things_are_put_back_waits_until_they_are() -> None:
    step, data = make_step(), batches(2)
    before = everything(step)

    class Position:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            os.kill(os.getpid(), signal.SIGINT)  # in the midst of putting back

    with pytest.raises(KeyboardInterrupt), untouched(step, Position()):
        disturb(step, data)
    assert same(everything(step), before)


def test_the_generators_of_the_data_are_as_they_were() -> None:
    class Noisy(torch.utils.data.Dataset):
        def __init__(self):
            self.numpys, self.pythons = np.random.default_rng(0), python_random.Random(0)

        def __len__(self):
            return 8

        def __getitem__(self, index):
            return float(self.numpys.random() + self.pythons.random())

    def drawn(tries):
        loader = torch.utils.data.DataLoader(Noisy(), 2, shuffle=True, generator=torch.Generator().manual_seed(5))
        for _ in range(tries):
            with untouched(None, loader):
                list(loader)
        return torch.cat(list(loader))

    assert torch.equal(drawn(2), drawn(0))


def test_attributes_outside_a_dict_come_back_too() -> None:
    class Slotted:
        __slots__ = ("empty", "full")

    held = Slotted()
    held.full = [1]
    with untouched({"held": held}):
        held.full.append(2)
        held.full, held.empty = None, 3
    assert held.full == [1]
    assert not hasattr(held, "empty")
