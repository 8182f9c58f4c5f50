"""The benchmark of networks runs for those that it names, at least for a step."""

import importlib.util
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "benchmarks" / "networks.py"


@pytest.fixture(scope="module")
def benchmark():
    found = importlib.util.spec_from_file_location("benchmark_of_networks", FILE)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1"])  # the one answers with a named tuple
def test_both_networks_take_the_same_weights_and_can_be_trained(benchmark, name):
    setting = benchmark.Setting(name, rounds=1, steps=1, size=64, batch=2, threads=1)
    ours, theirs = benchmark.ours(name), benchmark.theirs(name)
    theirs.load_state_dict(ours.state_dict())
    for net in (ours, theirs):
        before = [parameter.detach().clone() for parameter in net.parameters()]
        benchmark.inference(net, setting)()
        benchmark.plain_loop(net, setting)()
        assert not all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_ratios_are_the_others_time_over_ours(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark, "seconds", lambda run: run())
    ratios = benchmark.taking_turns({"ours": lambda: 2.0, "peer": lambda: 3.0}, rounds=3)
    assert ratios == {"ours": 2000.0, "peer": 1.5}
