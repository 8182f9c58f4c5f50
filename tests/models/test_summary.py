import io
import json

import pytest
import torch
from rich.console import Console
from torch import nn

from lamina import layers
from lamina.core.errors import LaminaError, ShapeError
from lamina.models.graph import Graph
from lamina.models.summary import counted_bytes, summarize


def residual(shape=(1, 8, 8), **options):
    x = layers.Input(shape, name="image", **options)
    conv = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")
    y = conv(x)
    again = layers.Conv2D(4, 3, padding="same", name="second")(y)
    merged = layers.Add()([y, again])
    out = layers.Dense(10, name="head")(layers.Flatten()(layers.MaxPooling2D()(merged)))
    return Graph.from_symbols(x, out)


def test_one_row_per_layer_with_shape_parameters_work_and_field():
    graph = residual()
    summary = summarize(graph.net, [(1, 8, 8)], graph=graph)
    rows = {row.name: row for row in summary.rows}
    assert list(rows) == ["image", "stem", "second", "add", "max_pooling2d", "flatten", "head"]
    assert rows["stem"].output_shape == ((4, 8, 8),)
    assert (rows["stem"].parameters, rows["second"].parameters, rows["head"].parameters) == (40, 148, 650)
    assert rows["stem"].multiply_adds == 9 * 4 * 64
    assert rows["second"].receptive_field == rows["add"].receptive_field == (5, 5)
    assert rows["max_pooling2d"].receptive_field == (6, 6)
    assert rows["head"].receptive_field == (None, None)
    assert summary.parameters == summary.trainable_parameters == 838
    assert summary.multiply_adds == 9 * 4 * 64 + 9 * 16 * 64 + 640


def test_a_shared_layer_is_counted_once():
    x, dense = layers.Input((4,)), layers.Dense(4, name="d")
    graph = Graph.from_symbols(x, dense(dense(x)))
    rows = summarize(graph.net, [(4,)], graph=graph).rows
    assert [(row.name, row.parameters, row.multiply_adds) for row in rows[1:]] == [("d", 20, 16), ("d (again)", 0, 16)]


def test_frozen_parameters_are_told_apart():
    graph = residual()
    graph.net.stem.requires_grad_(False)
    summary = summarize(graph.net, [(1, 8, 8)], graph=graph)
    assert (summary.parameters, summary.trainable_parameters) == (838, 798)
    assert "40 of them not trained" in str(summary)


def test_keras_layout_is_shown_as_keras_shows_it():
    graph = residual((8, 8, 1), data_format="channels_last")
    rows = {row.name: row for row in summarize(graph.net, [(8, 8, 1)], graph=graph).rows}
    assert rows["image"].output_shape == ((8, 8, 1),)
    assert rows["stem"].output_shape == ((8, 8, 4),)


def test_open_sizes_have_fields_but_no_count():
    x = layers.Input((3, None, None))
    graph = Graph.from_symbols(x, layers.Conv2D(4, 3)(x))
    summary = summarize(graph.net, [(3, None, None)], graph=graph)
    assert summary.multiply_adds is None
    assert summary.rows[1].receptive_field == (3, 3)
    assert summary.rows[1].output_shape == ((4, None, None),)


def test_any_torch_module_is_summarised_by_its_leaves():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(144, 2))
    net.train()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    summary = summarize(net, [(1, 8, 8)])
    assert [(row.name, row.kind) for row in summary.rows] == [
        *(("0", "Conv2d"), ("1.0", "ReLU"), ("1.1", "Flatten"), ("2", "Linear"))
    ]
    assert summary.multiply_adds == 36 * 36 + 288
    assert net.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not net[0]._forward_hooks


class Normed(nn.BatchNorm2d):
    """As timm's: parameters of its own, and modules without any inside."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class Scaled(nn.Module):
    """Parameters of its own, and a module with some inside; one more that is never called."""

    def __init__(self):
        super().__init__()
        self.gamma, self.linear, self.unused = nn.Parameter(torch.ones(4)), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.gamma * self.linear(x.mean((2, 3)))


def test_parameters_that_a_module_with_others_inside_has_itself_are_in_its_row():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), Normed(4), Scaled(), nn.TransformerEncoderLayer(4, 2, 8))
    summary = summarize(net, [(3, 8, 8)])
    rows = {row.name: row for row in summary.rows}
    assert "1.act" not in rows
    assert [rows[name].parameters for name in ("0", "1", "2.linear", "2")] == [112, 8, 20, 4 + 10]
    assert sum(row.parameters for row in summary.rows) == summary.parameters
    assert sum(row.multiply_adds for row in summary.rows) == summary.multiply_adds
    assert sum(row.activation_bytes for row in summary.rows) <= summary.activation_bytes
    assert rows["2.linear"].multiply_adds == 16
    assert rows["2"].multiply_adds == 0


def test_embeddings_are_asked_with_integers():
    assert summarize(nn.Sequential(nn.Embedding(10, 4)), [(7,)]).rows[0].output_shape == ((7, 4),)


def test_prints_itself_as_table_html_and_json():
    graph = residual()
    summary = summarize(graph.net, [(1, 8, 8)], graph=graph)
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(summary)
    text = console.export_text()
    for part in ("stem", "(4, 8, 8)", "2.3 k", "838 parameters"):
        assert part in text
        assert part in str(summary)
        assert part in summary._repr_html_()
    assert json.loads(json.dumps(summary.to_dict()))["rows"][1]["name"] == "stem"


def test_html_holds_names_as_text():
    x = layers.Input((4,))
    graph = Graph.from_symbols(x, layers.Dense(3, name="<b>")(x))
    assert "&lt;b&gt;" in summarize(graph.net, [(4,)], graph=graph)._repr_html_()


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"\(3, 8, 8\).*torch says.*correct the network's forward") as error:
        summarize(nn.Conv2d(1, 4, 3), [(3, 8, 8)])
    assert ".." not in str(error.value)
    with pytest.raises(ShapeError, match=r"\(8,\).*without the batch, of a picture"):
        summarize(nn.Conv2d(1, 4, 3), [(8,)])
    graph = residual()
    with pytest.raises(LaminaError, match="2 input shapes"):
        summarize(graph.net, [(1, 8, 8)] * 2, graph=graph)


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120])
def test_the_table_fits_the_terminal_with_a_line_for_each_layer(width, monkeypatch):
    first = x = layers.Input((3, 224, 224), name="image")
    for number in range(3):
        x = layers.Conv2D(64, 3, padding="same", name=f"layer{number}_block{number}_convolution")(x)
    graph = Graph.from_symbols(first, x)
    monkeypatch.setenv("COLUMNS", str(width))
    text = str(summarize(graph.net, [(3, 224, 224)], graph=graph))
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert sum("64, 224, 224" in line for line in lines) == 3
    assert ("kind" in text.partition("parameters;")[0]) == (width >= 80)
    assert ("multiply-adds" in lines[1]) == (width >= 120)
    assert ("memory" in text) == (width == 100)
    left_out = " ".join(text.split()).partition("no room for: ")[2]
    assert left_out.startswith(
        {50: "kind, activations", 60: "kind, activations", 80: "activations", 100: "", 120: ""}[width]
    )
    assert bool(left_out) == (width <= 80)
    assert sum("1.85 G" in line for line in lines) == 2


def test_memory_of_activations_is_told_by_layer_and_in_all():
    graph = residual()
    summary = summarize(graph.net, [(1, 8, 8)], graph=graph)
    bytes_of = {row.name: row.activation_bytes for row in summary.rows}
    assert bytes_of["stem"] == 2 * 4 * 4 * 64  # a convolution and a ReLU
    assert bytes_of["second"] == bytes_of["add"] == 4 * 4 * 64
    assert (bytes_of["image"], bytes_of["flatten"], bytes_of["head"]) == (0, 0, 40)
    assert summary.activation_bytes == sum(bytes_of.values())
    text = str(summary)
    assert f"{summary.activation_bytes / 1000:.3g} kB of activations per sample" in " ".join(text.split())
    assert "held in training" in " ".join(text.split())
    assert "2.05 kB" in summary._repr_html_()


def test_a_networks_own_sums_count_in_all_though_no_layer_gives_them():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, x):
            y = self.conv(x)
            return y + y

    summary = summarize(Doubled(), [(1, 8, 8)])
    assert [row.activation_bytes for row in summary.rows] == [4 * 2 * 64]
    assert summary.activation_bytes == 2 * 4 * 2 * 64


def test_of_a_module_that_needs_numbers_the_memory_of_training_is_not_known():
    class Sure(nn.Module):
        def forward(self, x):
            return x * 2 if float(x.sum()) >= 0 else x

    summary = summarize(nn.Sequential(nn.Conv2d(1, 2, 3), Sure()), [(1, 8, 8)])
    assert summary.training_bytes is None
    assert "held in training" not in str(summary)


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (999, "999 B"), (1230, "1.23 kB"), (61_074_720, "61.1 MB")])
def test_bytes_are_told_in_three_digits(number, text):
    assert counted_bytes(number) == text
