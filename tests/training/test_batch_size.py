"""The largest batch: every size told was run, and the end of memory is recognised."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from lamina import losses
from lamina.core.errors import LaminaError
from lamina.structures.batch import Batch
from lamina.training import Runtime, SupervisedStep, Target, Update
from lamina.training.batch_size import find_batch_size, is_out_of_memory, train_trial


def limited_to(most, error=torch.OutOfMemoryError):
    ran = []

    def trial(size):
        if size > most:
            raise error(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {size} bytes")
        ran.append(size)

    return trial, ran


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
@pytest.mark.parametrize("most", [1, 2, 21])
def test_the_largest_that_fits_is_found_and_was_run(most, error) -> None:
    trial, ran = limited_to(most, error)
    found = find_batch_size(trial, start=2)
    assert found.largest == most
    assert found.limited
    assert most in ran
    assert [size for size, fits in found.tried if fits] == ran
    assert len(found.tried) < 25
    assert f"was run: {most}" in str(found)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_it_ends_at_the_limit_that_was_asked_for(limit) -> None:
    trial, ran = limited_to(10**9)
    found = find_batch_size(trial, limit=limit)
    assert (found.largest, found.limited, max(ran)) == (limit, False, limit)


def test_where_nothing_fits_it_says_so() -> None:
    with pytest.raises(LaminaError, match="one sample"):
        find_batch_size(limited_to(0)[0])
    with pytest.raises(LaminaError, match="start=8"):
        find_batch_size(limited_to(9)[0], start=8, limit=4)


def test_other_errors_are_not_taken_for_it() -> None:
    def trial(size):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        find_batch_size(trial)
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (...)"))


def make_step():
    torch.manual_seed(0)
    runtime = Runtime("cpu", precision="float32")
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    target = Target(losses.get("sparse_categorical_crossentropy"))
    return net, SupervisedStep(net, Update(net, "adam", runtime=runtime), targets=[target], runtime=runtime)


def test_a_trial_trains_twice_and_leaves_the_step_as_it_was() -> None:
    net, step = make_step()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    counts = []

    def make(size):
        counts.append(step.updates["net"].count)
        return Batch(torch.ones(size, 3), torch.zeros(size, dtype=torch.int64))

    train_trial(step, make)(5)
    assert counts == [0, 1]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not step.updates["net"].optimizer.state

    def fails(size):
        if step.updates["net"].count:  # in the second update
            raise torch.OutOfMemoryError
        return make(size)

    with pytest.raises(torch.OutOfMemoryError):
        train_trial(step, fails)(7)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


REAL = """
import torch
from lamina.training import batch_size
batch_size._free_memory = lambda: 120 << 20
net = torch.nn.Linear(2, 2)
class Step:
    networks, updates = {"net": net}, {}
    def train(self, batch):
        from lamina.structures.batch import Logs
        return Logs(1, loss=batch.sum())
found = batch_size.find_batch_size(batch_size.train_trial(Step(), lambda size: torch.ones(size, 1 << 20)), limit=4096)
assert found.limited and 5 < found.largest < 60, found
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no bound to lower")
def test_on_a_processor_allocations_fail_before_the_system_kills() -> None:
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
