"""Every network of the library as ONNX, with no BatchNorm left behind a convolution, and answers as torch has them.

The fast run has one of each family, as small as it comes, on the smallest pictures that it takes; `make slow` has all, at their own size.
"""

from __future__ import annotations

import onnx
import pytest
import torch

from lamina import Classifier, Preprocess, networks
from lamina.models import sizes

pytestmark = pytest.mark.usefixtures("untimed")

FAMILIES = {  # arguments that make it small, and a side in pixels
    "airbench": ({"width": 0.25}, 32),
    "cifar_resnet20": ({}, 32),
    "densenet121": ({"layers": (1, 1, 1, 1), "growth_rate": 8}, 64),
    "lenet5": ({}, 32),
    "mobilenet_v2": ({"width": 0.25}, 64),
}


def alive(name, arguments, side):
    """The network with statistics of what it has seen, and answers that differ from picture to picture."""
    torch.manual_seed(0)
    net = networks.create(name, num_classes=10, arguments=arguments)
    images = torch.randn(4, net.in_channels, side, side)
    with torch.no_grad():
        net.train()(images)
        logits = net.eval()(images)
        spread = getattr(logits, "logits", logits).std().clamp_min(1e-6)
        for path in networks.class_layers(net):
            net.get_submodule(path).weight.mul_(2 / spread)
    return net


def check(name, arguments, side, tmp_path):
    net = alive(name, arguments, side)
    prepared = Preprocess(channels=net.in_channels, size=(side, side), mean=(0.5,), std=(0.25,))
    made = Classifier(net, classes=list("abcdefghij"), preprocess=prepared).export(tmp_path / "net.onnx")
    assert made.largest_difference < (
        1e-3 if name.endswith("1001") else 1e-4
    )  # a thousand layers add their rounding up
    graph = onnx.load(made.path).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    behind = [made_by.get(node.input[0]) for node in graph.node if node.op_type == "BatchNormalization"]
    assert "Conv" not in behind
    return made


@pytest.mark.usefixtures("without_openvino")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_small_network_of_each_family_answers_in_onnx_as_in_torch(name, tmp_path):
    made = check(name, *FAMILIES[name], tmp_path)
    assert made.sizes == (
        "32 x 32 px" if name == "lenet5" else "any size"
    )  # of 32 px nothing is left to take a mean of


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.names())
def test_each_network_answers_in_onnx_as_in_torch(name, tmp_path):
    check(name, {}, sizes.usual_shape(name)[1], tmp_path)


@pytest.mark.usefixtures("without_openvino")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["airbench"])
def test_networks_run_in_16_bits_as_torch_programs(name, precision, tmp_path):
    arguments, side = FAMILIES[name]
    net = alive(name, arguments, side)
    prepared = Preprocess(channels=net.in_channels, size=(side, side), mean=(0.5,), std=(0.25,))
    made = Classifier(net, classes=list("abcdefghij"), preprocess=prepared).export(
        tmp_path / "net.pt2", precision=precision, any_size=False
    )
    assert made.largest_difference > 0
