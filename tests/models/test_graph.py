import copy
import json

import pytest
import torch
from torch import fx, nn

from lamina import layers
from lamina import nn as lamina_nn
from lamina.core.errors import LaminaError, ShapeError, UnknownNameError
from lamina.models.graph import Graph, apply, cut


def branches():
    """Two inputs, a shared layer, a branch, an operator, dropout and batch norm, two outputs."""
    image = layers.Input((3, 8, 8), name="image")
    other = layers.Input((3, 8, 8), name="other")
    conv = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")
    a, b = conv(image), conv(other)
    joined = layers.BatchNormalization(name="bn")(layers.Concatenate()([a, a * 2 - b]))
    features = layers.Flatten()(layers.Dropout(0.5)(joined))
    classes = layers.Dense(10, activation="softmax", name="classes", kernel_regularizer="l2")(features)
    yes = layers.Dense(1, activation="sigmoid", name="yes")(features)
    return Graph.from_symbols([image, other], [classes, yes])


def chain():
    return Graph.chain(
        [layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(10, activation="softmax", name="d")],
        layers.Input((1, 8, 8)),
    )


def test_the_network_is_what_a_torch_user_would_have_written():
    graph = branches()
    net = graph.net.eval()
    assert isinstance(net, fx.GraphModule)
    assert list(dict(net.named_children())) == [
        *("conv_pad", "conv", "conv_relu", "bn", "dropout", "flatten"),
        *("classes", "classes_softmax", "yes", "yes_sigmoid"),
    ]
    image, other = torch.randn(2, 2, 3, 8, 8)
    conv = lambda x: net.conv(nn.functional.pad(x, (0, 1, 0, 1))).relu()  # noqa: E731
    features = net.bn(torch.cat([conv(image), conv(image) * 2 - conv(other)], 1)).flatten(1)
    classes, yes = net(image, other)
    torch.testing.assert_close(classes, net.classes(features).softmax(1))
    torch.testing.assert_close(yes, net.yes(features).sigmoid())


def test_a_chain_is_a_plain_sequential():
    net = chain().net
    assert type(net) is nn.Sequential
    assert list(dict(net.named_children())) == ["conv2d", "conv2d_relu", "flatten", "d", "d_softmax"]
    assert [type(module) for module in net] == [lamina_nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear, nn.Softmax]


def test_a_chain_that_repeats_a_layer_shares_it():
    dense = layers.Dense(4)
    graph = Graph.chain([dense, dense], layers.Input((4,)))
    assert list(graph.net.state_dict()) == ["dense.weight", "dense.bias"]
    x = torch.randn(2, 4)
    torch.testing.assert_close(graph.net(x), graph.net.dense(graph.net.dense(x)))


def test_a_chain_takes_torch_modules_and_models():
    inner = chain()
    inner.graph, inner.name = inner, "inner"
    graph = Graph.chain([nn.Conv2d(3, 1, 1), lambda x: apply(inner, [x])], layers.Input((3, 8, 8)))
    assert list(dict(graph.net.named_children())) == ["conv2d", "inner"]


def test_two_models_over_the_same_layers_share_them():
    x = layers.Input((4,))
    a = layers.Dense(3)(x)
    b = layers.Dense(2)(a)
    assert Graph.from_symbols(x, a).net.dense is Graph.from_symbols(x, b).net.dense


@pytest.mark.parametrize("make", [branches, chain])
def test_works_in_deepcopy(make):
    graph = make()
    inputs = [torch.randn(2, *shape) for shape in graph.input_shapes]
    net = graph.net.eval()
    copied = copy.deepcopy(net)
    one, other = net(*inputs), copied(*inputs)
    assert all(
        torch.equal(a, b) for a, b in zip(*[x if isinstance(x, tuple) else (x,) for x in (one, other)], strict=True)
    )
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in copied.parameters()}


@pytest.mark.parametrize("make", [branches, chain])
def test_works_in_export_with_a_free_batch(make):
    graph = make()
    net = graph.net.eval()
    inputs = tuple(torch.randn(2, *shape) for shape in graph.input_shapes)
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, inputs, dynamic_shapes=[{0: batch} for _ in inputs], strict=False)
    more = tuple(torch.randn(5, *shape) for shape in graph.input_shapes)
    one, other = net(*more), program.module()(*more)
    for a, b in zip(*[x if isinstance(x, tuple) else (x,) for x in (one, other)], strict=True):
        torch.testing.assert_close(a, b)


def test_keras_layout_permutes_at_the_ends_only():
    image = layers.Input((8, 6, 3), data_format="channels_last")
    graph = Graph.from_symbols(image, layers.Conv2D(4, 3, name="c")(image))
    assert graph.output_shapes == [(6, 4, 4)]
    x = torch.randn(2, 8, 6, 3)
    expected = graph.net.c(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert torch.equal(graph.net(x), expected)
    sequential = Graph.chain([layers.Conv2D(4, 3)], layers.Input((8, 6, 3), data_format="channels_last"))
    assert list(dict(sequential.net.named_children())) == ["channels_first", "conv2d", "channels_last"]
    assert sequential.net(x).shape == (2, 6, 4, 4)


# Names ------------------------------------------------------------------------------------------------------------


def test_equal_code_gives_equal_keys():
    assert list(chain().net.state_dict()) == list(chain().net.state_dict())


def test_names_and_shapes_are_told():
    graph = branches()
    assert graph.input_names == ["image", "other"]
    assert graph.output_names == ["classes", "yes"]
    assert graph.input_shapes == [(3, 8, 8), (3, 8, 8)]
    assert graph.output_shapes == [(10,), (1,)]
    assert graph.get_layer("bn").epsilon == 1e-3
    with pytest.raises(UnknownNameError, match="'conv'"):
        graph.get_layer("cnov")


def test_outputs_of_one_layer_are_numbered():
    class Split(nn.Module):
        def forward(self, x):
            return x[:, :2], x[:, 2:]

    x = layers.Input((4,))
    left, right = layers.Torch(Split(), name="split")(x)
    graph = Graph.from_symbols(x, [right, left])
    assert graph.output_names == ["split", "split_1"]
    assert [t.tolist() for t in graph.net(torch.tensor([[1, 2, 3, 4.0]]))] == [[[3, 4]], [[1, 2]]]


# Wrong graphs -----------------------------------------------------------------------------------------------------


def test_a_missing_and_an_idle_input_are_named():
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    total = a + b
    with pytest.raises(LaminaError, match=r"depend on the input 'b'.*inputs are 'a'"):
        Graph.from_symbols(a, total)
    with pytest.raises(LaminaError, match="No output depends on the input 'b'"):
        Graph.from_symbols([a, b], a * 2)


def test_refuses_inputs_and_outputs_that_are_none():
    x = layers.Input((4,))
    y = layers.Dense(3, name="d")(x)
    with pytest.raises(LaminaError, match=r"the result of Dense\(name='d', units=3\)"):
        Graph.from_symbols(y, layers.Dense(2)(y))
    with pytest.raises(LaminaError, match="outputs of a model are Tensor"):
        Graph.from_symbols(x, [torch.zeros(3)])
    with pytest.raises(LaminaError, match="empty list"):
        Graph.from_symbols([], y)
    with pytest.raises(LaminaError, match="twice"):
        Graph.from_symbols([x, x], y)


# Cutting ----------------------------------------------------------------------------------------------------------


def test_the_cut_view_gives_logits_and_shares_everything():
    graph = branches()
    view, cuts = graph.cut()
    assert cuts == ("softmax", "sigmoid")
    graph.net.eval()
    inputs = torch.randn(2, 2, 3, 8, 8)
    (classes, yes), (class_logits, yes_logits) = graph.net(*inputs), view.eval()(*inputs)
    assert torch.equal(class_logits.softmax(1), classes)
    assert torch.equal(yes_logits.sigmoid(), yes)
    assert view.conv is graph.net.conv
    assert list(view.state_dict()) == list(graph.net.state_dict())
    assert "softmax" not in view.code


def test_the_cut_of_a_chain_is_a_sequential_without_its_end():
    graph = chain()
    view, cuts = graph.cut()
    assert cuts == ("softmax",)
    assert list(dict(view.named_children())) == ["conv2d", "conv2d_relu", "flatten", "d"]


def test_what_needs_the_softmax_keeps_it():
    x = layers.Input((4,))
    probs = layers.Dense(3, activation="softmax")(x)
    graph = Graph.from_symbols(x, [probs, layers.Dense(2)(probs)])
    view, cuts = graph.cut()
    assert cuts == ("softmax", None)
    values = torch.randn(2, 4)
    logits, rest = view(values)
    assert torch.equal(logits.softmax(1), graph.net(values)[0])
    assert torch.equal(rest, graph.net(values)[1])


def test_images_are_cut_over_their_channels_in_either_layout():
    for shape, data_format in (((3, 8, 6), None), ((8, 6, 3), "channels_last")):
        x = layers.Input(shape, data_format=data_format)
        for form in (Graph.from_symbols(x, layers.Conv2D(5, 1, activation="softmax")(x)),):
            view, cuts = form.cut()
            values = torch.randn(2, *shape)
            axis = 3 if data_format else 1
            assert cuts == ("softmax",)
            torch.testing.assert_close(view(values).softmax(axis), form.net(values))
    sequential = Graph.chain(
        [layers.Conv2D(5, 1, activation="softmax")], layers.Input((8, 6, 3), data_format="channels_last")
    )
    view, cuts = sequential.cut()
    torch.testing.assert_close(view(values).softmax(3), sequential.net(values))


def test_a_softmax_over_anything_but_classes_is_not_cut():
    x = layers.Input((3, 8, 6))
    graph = Graph.from_symbols(x, layers.Softmax(axis=2)(x))
    assert graph.cut() == (graph.net, (None,))


def test_a_model_at_the_end_is_cut_inside():
    inner, x = chain(), layers.Input((1, 8, 8))
    outer = Graph.from_symbols(x, inner.apply([x], name="inner"))
    view, cuts = outer.cut()
    assert cuts == ("softmax",)
    values = torch.randn(2, 1, 8, 8)
    assert torch.equal(view(values).softmax(1), outer.net(values))
    assert list(view.state_dict()) == list(outer.net.state_dict())
    twice = Graph.from_symbols(x, [inner.apply([x]), inner.apply([x * 2])])
    assert twice.cut()[1] == (None, None)


def test_a_plain_torch_network_is_cut_too():
    net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    view, cuts = cut(net)
    assert cuts == ("softmax",)
    assert view[0] is net[0]
    other = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(dim=1))
    assert cut(other) == (other, (None,))


# A model as a layer -----------------------------------------------------------------------------------------------


def test_a_model_joins_as_one_layer_under_its_name():
    inner, x = branches(), layers.Input((3, 8, 8))
    inner.graph, inner.name = inner, "twins"
    classes, yes = apply(inner, [x, x * 2])
    outer = Graph.from_symbols(x, layers.Concatenate()([classes, yes]))
    assert all(key.startswith("twins.") for key in outer.net.state_dict())
    outer.net.eval()
    values = torch.randn(2, 3, 8, 8)
    assert torch.equal(outer.net(values), torch.cat(inner.net.eval()(values, values * 2), 1))
    assert outer.penalties == [("twins.classes.weight", layers.regularizers.L2())]


def test_a_keras_layout_model_joins_a_keras_layout_graph():
    inner_x, x = (layers.Input((8, 6, 3), data_format="channels_last") for _ in range(2))
    inner = Graph.from_symbols(inner_x, layers.Conv2D(4, 3)(inner_x))
    outer = Graph.from_symbols(x, layers.Flatten()(inner.apply([x])))
    values = torch.randn(2, 8, 6, 3)
    assert torch.equal(outer.net(values), inner.net(values).flatten(1))


def test_a_model_refuses_other_shapes_and_counts():
    inner = chain()
    with pytest.raises(ShapeError, match=r"\(1, 9, 9\).*made for shape \(1, 8, 8\)"):
        inner.apply([layers.Input((1, 9, 9))])
    with pytest.raises(LaminaError, match="has 1 inputs"):
        inner.apply([layers.Input((1, 8, 8))] * 2)


# Penalties and JSON -----------------------------------------------------------------------------------------------


def test_penalties_name_parameters_that_exist():
    graph = branches()
    assert graph.penalties == [("classes.weight", layers.regularizers.L2())]
    x = layers.Input((4,))
    bare = layers.Dense(3, use_bias=False, bias_regularizer="l2")(x)
    assert Graph.from_symbols(x, bare).penalties == []


@pytest.mark.parametrize("make", [branches, chain])
def test_json_and_back_gives_the_same_network(make):
    graph = make()
    again = Graph.from_config(json.loads(json.dumps(graph.config())))
    again.net.load_state_dict(graph.net.state_dict())
    inputs = [torch.randn(2, *shape) for shape in graph.input_shapes]
    one, other = graph.net.eval()(*inputs), again.net.eval()(*inputs)
    for a, b in zip(*[x if isinstance(x, tuple) else (x,) for x in (one, other)], strict=True):
        assert torch.equal(a, b)
    assert again.is_chain == graph.is_chain
    assert again.net.__class__.__name__ == graph.net.__class__.__name__
    assert list(again.net.state_dict()) == list(graph.net.state_dict())
    assert again.config() == graph.config()
