import pytest
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError
from lamina.models.graph import Graph


def names(*described, **options):
    graph = Graph.chain(described, layers.Input((4,), **options))
    return list(graph.names.values())


def test_layers_are_counted_by_kind_and_given_names_kept():
    assert names(layers.Dense(3), layers.ReLU(), layers.Dense(3, name="mine"), layers.Dense(3)) == [
        *("input_layer", "dense", "re_lu", "mine", "dense_1")
    ]


def test_an_automatic_name_gives_way_to_a_given_one_and_its_siblings():
    assert names(layers.Dense(3), layers.Dense(3, name="dense"))[1:] == ["dense_1", "dense"]
    assert names(layers.Dense(3, activation="relu"), layers.Dense(3, name="dense_relu"))[1:] == [
        "dense_1",
        "dense_relu",
    ]


def test_a_layer_keeps_the_name_of_its_first_graph_and_may_have_another_in_the_next():
    x, first, second = layers.Input((4,)), layers.Dense(3), layers.Dense(3)
    Graph.from_symbols(x, first(x))
    Graph.from_symbols(x, second(x))
    assert (first.name, second.name) == ("dense", "dense")
    both = Graph.from_symbols(x, first(x) + second(x))
    assert list(both.names.values()) == ["input_layer", "dense", "dense_1", "add"]


@pytest.mark.parametrize(
    "name", ["forward", "train", "graph", "code", "parameters", "append", "training", "class", "weight.x", ""]
)
def test_names_that_the_network_could_not_bear_are_refused(name):
    with pytest.raises(LaminaError, match=repr(name)):
        names(layers.Dense(3, name=name))


def test_duplicates_and_clashing_siblings_are_refused():
    with pytest.raises(LaminaError, match="Two layers are called 'd'"):
        names(layers.Dense(3, name="d"), layers.Dense(2, name="d"))
    with pytest.raises(LaminaError, match="both have the key 'd_relu'"):
        names(layers.Dense(3, name="d", activation="relu"), layers.ReLU(name="d_relu"))


def test_torch_modules_are_called_by_their_class():
    class Train(nn.Linear):
        pass

    assert names(nn.Linear(4, 4), Train(4, 4))[1:] == ["linear", "train_1"]
