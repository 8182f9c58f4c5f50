"""Where and how things run."""

import pytest
import torch
from torch import nn

from lamina.training import runtime
from lamina.training.runtime import Runtime, evaluating


@pytest.mark.parametrize("flags", [{"avx2"}, {"avx2", "avx512f"}])
def test_bfloat16_is_not_chosen_where_the_processor_would_emulate_it(monkeypatch, flags):
    monkeypatch.setattr(runtime, "processor_flags", lambda: frozenset(flags))
    assert Runtime("cpu").precision == "float32"


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_bfloat16_is_chosen_where_the_processor_has_it_and_float32_turns_it_off(monkeypatch, flag):
    monkeypatch.setattr(runtime, "processor_flags", lambda: frozenset({"avx2", flag}))
    assert Runtime("cpu").precision == "bfloat16"
    assert Runtime("cpu", precision="float32").precision == "float32"


def test_bfloat16_autocast_holds_within_its_context_only():
    layer = nn.Linear(4, 4)
    with Runtime("cpu", precision="bfloat16").autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with Runtime("cpu", precision="float32").autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.float32


def test_an_unknown_precision_lists_the_known():
    with pytest.raises(ValueError, match="bfloat16"):
        Runtime("cpu", precision="bf16")


def test_placing_keeps_the_module_and_its_keys():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    keys = list(net.state_dict())
    assert Runtime("cpu").place(net) is net
    assert list(net.state_dict()) == keys
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_evaluating_puts_every_module_back_into_its_own_mode():
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    net[1].eval()
    with evaluating(net):
        assert not net[0].training
    assert net[0].training
    assert not net[1].training


def test_float16_autocast_computes_in_float16():
    layer = nn.Linear(4, 4)
    with Runtime("cpu", precision="float16").autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.float16


def test_evaluation_multiplies_in_true_float32_whatever_training_does():
    before = runtime.set_float32_products("tf32", "tf32")
    try:
        with evaluating(nn.Linear(1, 1)):
            assert runtime.set_float32_products("ieee", "ieee") == ("ieee", "ieee")
        assert runtime.set_float32_products("ieee", "ieee") == ("tf32", "tf32")
    finally:
        runtime.set_float32_products(*before)


def test_each_process_of_a_machine_takes_its_own_device_of_a_list(monkeypatch):
    monkeypatch.setattr(runtime.World, "current", lambda: runtime.World(rank=3, local_rank=1, size=4))
    assert Runtime(["meta", "cpu"]).device == torch.device("cpu")


def test_a_list_of_devices_in_one_process_says_how_to_start_several():
    with pytest.raises(ValueError, match="torchrun --nproc-per-node 2"):
        Runtime(["cpu", "cpu"])
    assert Runtime(["cpu"]).device == torch.device("cpu")


def test_an_unknown_device_lists_those_that_are_there():
    with pytest.raises(ValueError, match="Here there are: cpu"):
        Runtime("gpu0")


def test_compiling_is_done_in_place_and_only_where_it_was_chosen(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    net = nn.Linear(2, 2)
    assert Runtime("cpu").compile(net) is net
    assert not compiled
    assert Runtime("cpu", compile=True).compile(net) is net
    assert compiled == [net]


def test_one_gpu_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setattr(runtime.World, "current", lambda: runtime.World(rank=1, local_rank=1, size=2))
    with pytest.raises(ValueError, match=r"'cuda:1' came in each of 2 processes.*'cuda' or \"auto\""):
        Runtime("cuda:1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # two machines with a process each
    with pytest.raises(ValueError, match="cannot be used"):  # for there is none here
        Runtime("cuda:99")
