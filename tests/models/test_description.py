import copy
import json

import pytest
import torch
from torch import nn

import lamina
from lamina import layers
from lamina.core.errors import FileFormatError
from lamina.models.graph import Graph


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        y = self.linear(x)
        return y[:, :2], y[:, 2:]


def custom():
    x = layers.Input((4,))
    left, right = layers.Torch(Halves(), name="halves")(x)
    return Graph.from_symbols(x, right - left)


def nested():
    inner = Graph.chain([layers.Dense(3), layers.ReLU()], layers.Input((4,)))
    x = layers.Input((4,))
    return Graph.from_symbols(x, inner.apply([x], name="inner") + inner.apply([x * 2]))


def test_a_nested_and_shared_model_comes_back():
    graph = nested()
    again = Graph.from_config(json.loads(json.dumps(graph.config())))
    assert list(again.net.state_dict()) == ["inner.dense.weight", "inner.dense.bias"]
    again.net.load_state_dict(graph.net.state_dict())
    x = torch.randn(2, 4)
    assert torch.equal(again.net(x), graph.net(x))


def shared():
    """Two models over the same layers, in one, beside a layer that the outer graph has too."""
    first, x = layers.Input((4,)), layers.Input((4,))
    own, dense, last = layers.Dense(4), layers.Dense(3), layers.Dense(2)
    hidden = dense(own(first))
    inner = [
        Graph.from_symbols(first, last(hidden)),
        Graph.from_symbols(hidden_input := layers.Input((4,)), dense(hidden_input)),
    ]
    outputs = [inner[0].apply([own(x)], name="judge"), inner[1].apply([x], name="encoder"), dense(x)]
    return Graph.from_symbols(x, outputs)


def test_layers_that_several_graphs_of_a_model_share_come_back_shared(tmp_path):
    graph = shared()
    again = Graph.from_config(json.loads(json.dumps(graph.config())))
    assert list(again.net.state_dict()) == list(graph.net.state_dict())
    assert len(list(again.net.parameters())) == len(list(graph.net.parameters())) == 6
    again.net.load_state_dict(graph.net.state_dict())
    x = torch.randn(2, 4)
    assert all(torch.equal(a, b) for a, b in zip(again.net(x), graph.net(x), strict=True))
    assert again.config() == graph.config()
    model = lamina.models.Model(*(lambda x: (x, layers.Dense(2)(x)))(layers.Input((4,))))
    model._adopt(graph)
    model.compile("sgd", "mse")
    loaded = lamina.load(model.save(tmp_path / "m.safetensors"))
    assert loaded.count_params() == model.count_params()
    goals = [torch.zeros_like(value) for value in graph.net(x)]
    for each in (model, loaded):
        each.fit(x, goals, epochs=2, verbose=0)
    assert all(torch.equal(a, b) for a, b in zip(loaded.net(x), model.net(x), strict=True))


def test_custom_modules_come_back_by_the_name_of_their_layer():
    graph = custom()
    config = json.loads(json.dumps(graph.config()))
    with pytest.raises(FileFormatError, match=r"modules=\{'halves': module\}"):
        Graph.from_config(config)
    again = Graph.from_config(config, modules={"halves": Halves()})
    again.net.load_state_dict(graph.net.state_dict())
    x = torch.randn(2, 4)
    assert torch.equal(again.net(x), graph.net(x))


def changed(path, value):
    config = json.loads(json.dumps(nested().config()))
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["layers"], None),
        (["layers", 0, "layer"], "Evil"),
        (["layers", 0, "name"], None),
        (["layers", 1], {"layer": "Model", "name": "inner", "graph": {}}),
        (["layers", 1], {"layer": "Model", "name": "inner", "graph": {}, "code": "x"}),
        (["calls", 1], ["nobody", [[0, None]]]),
        (["calls", 1], ["inner", [[7, None]]]),
        (["calls", 1], ["inner", [[-1, None]]]),
        (["calls", 1], ["inner", [["0", None]]]),
        (["calls", 1], ["inner", [[0, 3]]]),
        (["calls", 1], ["inner", [[0, "__class__"]]]),
        (["inputs"], [9]),
        (["outputs"], [[0, None, 1]]),
        (["extra"], 1),
    ],
)
def test_a_tampered_description_is_refused(path, value):
    with pytest.raises(FileFormatError):
        Graph.from_config(changed(path, value))


def test_the_description_it_starts_from_is_sound():
    Graph.from_config(copy.deepcopy(nested().config()))


def test_a_description_that_is_no_dict_is_refused():
    for config in (None, [], "x", {}):
        with pytest.raises(FileFormatError):
            Graph.from_config(config)
