"""Where and how things run."""

import os

import pytest
import torch
from torch import nn

from lamina.core.errors import LaminaError
from lamina.structures.batch import Logs
from lamina.training import Loop, runtime
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


@pytest.fixture
def undetermined(monkeypatch):
    """Puts back what is set for the whole process."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    products = runtime.set_float32_products("ieee", "ieee")
    yield
    torch.use_deterministic_algorithms(False)
    runtime.set_float32_products(*products)


def test_the_deterministic_mode_of_a_gpu_is_torch_s_and_off_unless_asked_for(monkeypatch, undetermined):
    monkeypatch.setattr(runtime, "_device", lambda *_: torch.device("cuda"))
    Runtime("cuda", precision="float32")
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    Runtime("cuda", precision="float32", deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


class Put:
    """Does what torch has in no fixed order, also on a processor."""

    networks, updates, metrics = {}, {}, {}

    def train(self, batch):
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
        return Logs(1, loss=torch.zeros(()))

    evaluate = train


@pytest.mark.parametrize("act", [Loop.fit, Loop.evaluate])
def test_an_operation_without_a_fixed_order_is_named_with_what_to_do(undetermined, act):
    act(Loop(Put()), [0])
    torch.use_deterministic_algorithms(True)
    with pytest.raises(
        LaminaError, match=r"^put_ .*does not have a deterministic implementation\. .*device='cpu'.*warn_only=True"
    ):
        act(Loop(Put()), [0])


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="boom"), runtime.determinism_told():
        raise RuntimeError("boom")
