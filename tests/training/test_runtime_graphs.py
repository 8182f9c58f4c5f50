"""CUDA graphs by torch.compile: what is asked of torch, and that nothing is kept which the next replay overwrites."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn

from lamina import models
from lamina.core.errors import UnknownNameError
from lamina.optimizers import SGD
from lamina.structures.batch import Batch
from lamina.training import Runtime, Update, runtime


def graphed():
    """A runtime of the processor that takes its networks for graphs."""
    made = Runtime("cpu", precision="float32")
    made.graphs, made.compile = True, lambda net: net
    return made


@pytest.fixture
def begun(monkeypatch):
    """The steps whose begin torch was told."""
    made = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: made.append(True))
    return made


@pytest.fixture
def modes(monkeypatch):
    """The arguments by which networks were compiled."""
    made = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **arguments: made.append(arguments))
    return made


def test_a_gpu_is_given_torch_s_mode_of_graphs_only_where_that_was_asked_for(monkeypatch, modes):
    monkeypatch.setattr(runtime, "_device", lambda *_: torch.device("cuda"))
    products = runtime.set_float32_products("ieee", "ieee")
    try:
        for chosen in ("auto", False, True, "reduce-overhead"):
            Runtime("cuda", precision="float32", compile=chosen).compile(nn.Linear(2, 2))
    finally:
        runtime.set_float32_products(*products)
    assert modes == [{}, {"mode": "reduce-overhead"}]


def test_a_processor_has_no_graphs_and_compiles_plainly(modes, begun):
    chosen = Runtime("cpu", compile="reduce-overhead")
    chosen.compile(nn.Linear(2, 2))
    chosen.begin_step()
    assert modes == [{}]
    assert not chosen.graphs
    assert not begun


def test_an_unknown_way_to_compile_names_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"compile='reduce_overhead' is not known\..*'reduce-overhead'.*True or False"
    ):
        Runtime("cpu", compile="reduce_overhead")


class Replayed(nn.Module):
    """Answers batches of one size in one and the same memory, as a graph does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.places = {}

    def forward(self, x):
        answer = self.layer(x)
        place = self.places.setdefault(len(x), torch.empty_like(answer.detach()))
        answer.data = place.copy_(answer.detach())
        return answer


def model(net, chosen, **arguments):
    torch.manual_seed(0)
    net.load_state_dict({name: torch.randn(value.shape) for name, value in net.state_dict().items()})
    made = models.Model(net)
    made.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"], runtime=chosen, **arguments)
    return made


X, Y = torch.linspace(-2, 2, 72).view(24, 3).cos(), torch.arange(24) % 2


def test_metrics_keep_outputs_that_the_next_step_does_not_overwrite(begun):
    class Plain(Replayed):
        def forward(self, x):
            return self.layer(x)

    def figures(net, chosen):
        made = model(net, chosen)
        history = made.fit(X, Y, epochs=2, batch_size=8, verbose=0).history
        return history, made.evaluate(X, Y, batch_size=8)

    wanted = figures(Plain(), Runtime("cpu", precision="float32"))
    assert figures(Replayed(), graphed()) == wanted
    assert figures(Replayed(), Runtime("cpu", precision="float32")) != wanted  # or this test would see nothing


def test_auxiliary_outputs_are_kept_too():
    class Answer(NamedTuple):
        logits: torch.Tensor
        side: torch.Tensor

    class Named(nn.Module):
        auxiliary_weight = 0.5

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.answer = None

        def forward(self, x):
            self.answer = Answer(self.layer(x), self.layer(x))
            return self.answer

    step = model(Named(), graphed())._make_step()
    outputs, auxiliary = step._run((X,))
    assert torch.equal(outputs[0], step.net.answer.logits)
    assert list(auxiliary) == ["side"]
    given = [step.net.answer.logits, step.net.answer.side]
    assert not {value.data_ptr() for value in given} & {outputs[0].data_ptr(), auxiliary["side"].data_ptr()}


def test_torch_is_told_of_each_step_before_its_network_runs(begun):
    made = model(nn.Linear(3, 2), graphed())
    step, batch, told_before = made._make_step(), Batch(X, Y), []
    step.net.register_forward_pre_hook(lambda *_: told_before.append(len(begun)))
    step.train(batch)
    with torch.no_grad():
        step.evaluate(batch)
        step.forward(batch)
    assert told_before == [1, 2, 3]
    made.predict(X, batch_size=8)
    assert told_before[3:] == [4, 5, 6]


def test_nothing_is_told_without_graphs(begun):
    model(nn.Linear(3, 2), Runtime("cpu", compile=False)).fit(X, Y, batch_size=8, verbose=0)
    assert not begun


def test_gathered_gradients_are_in_memory_that_the_next_step_does_not_overwrite(monkeypatch):
    replayed = torch.zeros(1, 1)

    def backward(loss, inputs):
        """As a graph does it: into one memory, which is taken for the gradient where there is none yet."""
        replayed.fill_(float(loss))
        for parameter in inputs:
            parameter.grad = replayed if parameter.grad is None else parameter.grad.add_(replayed)

    monkeypatch.setattr(torch.autograd, "backward", backward)

    def moved(chosen):
        net = nn.Linear(1, 1, bias=False)
        before = net.weight.item()
        update = Update(net, SGD(1.0), runtime=chosen, accumulate=3)
        for loss in (1.0, 2.0, 6.0):
            update(torch.tensor(loss), count=1)
        return before - net.weight.item()

    assert moved(graphed()) == pytest.approx(3.0)  # the mean
    assert moved(Runtime("cpu")) != pytest.approx(3.0)
