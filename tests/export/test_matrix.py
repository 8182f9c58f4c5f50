"""Every network of the library as ONNX, with no BatchNorm left behind a convolution, and answers as torch has them.

The fast run has one of each family, as small as it comes, on the smallest pictures that it takes; `make slow` has all, at their own size.
"""

from __future__ import annotations

import functools

import onnx
import pytest
import torch
from torch import nn

from lamina import Classifier, Detector, Preprocess, Segmenter, networks
from lamina.models import sizes
from lamina.tasks.detection import Suppression

pytestmark = pytest.mark.usefixtures("untimed")

FAMILIES = {  # arguments that make it small, a side in pixels, and the sizes that the file takes
    "airbench": ({"width": 0.25}, 32, "any size"),
    "alexnet": ({}, 64, "64 x 64 px"),
    "alexnet_2012": ({}, 67, "67 x 67 px"),
    "cifar_resnet20": ({}, 32, "any size"),
    "deepconvnet": ({}, 28, "28 x 28 px"),
    "densenet121": ({"layers": (1, 1, 1, 1), "growth_rate": 8}, 64, "any size"),
    "fastconvnet": ({}, 28, "28 x 28 px"),
    "googlenet": ({"auxiliary": False}, 32, "32 x 32 px"),
    "googlenet_2014": ({"auxiliary": False}, 32, "32 x 32 px"),
    "lenet5": ({}, 32, "32 x 32 px"),
    "mobilenet_v1": ({"width": 0.25}, 32, "32 x 32 px"),
    "mobilenet_v2": ({"width": 0.25}, 64, "any size"),
    "nin_cifar": ({}, 32, "any size"),
    "preact_resnet18": ({}, 32, "32 x 32 px"),
    "resnet18": ({}, 32, "32 x 32 px"),
    "squeezenet1_1": ({}, 32, "32 x 32 px"),
    "unet_encoder": ({"depth": 2, "width": 8}, 32, "any size"),
    "vgg11": ({}, 32, "32 x 32 px"),
}
_ON = {"backbone": "mobilenet_v2", "backbone_arguments": {"width": 0.25, "num_classes": 2}}
STANDING = {  # of pictures of 64 px alone: other sizes cost the exporter up to minutes more, and the tasks' own tests have them
    "deeplabv3": {"width": 16, **_ON},
    "fcn8s": _ON,
    "segnet": _ON,
    "unet_2015": {"backbone": "unet_encoder", "backbone_arguments": {"depth": 2, "width": 8}},
    "faster_rcnn": {"dims": (16, 32), "regions": 20, "tried": 50, "pyramid": False, **_ON},
    "fcos": {"channels": 16, "convs": 1, "levels": 3, **_ON},
    "retinanet": {"channels": 16, "convs": 1, "levels": 3, **_ON},
    "ssdlite": {"width": 0.25, "levels": 4, **_ON},
}


def files(*tasks):
    """By the name of each network, the file that its family is."""
    tables = {"classification": networks._NETWORKS} | {
        task: {name: made for name, (made, _) in table.items()} for task, table in networks._STANDING.items()
    }
    made = {name: factory for task in tasks for name, factory in tables[task].items()}
    plain = {name: each.func if isinstance(each, functools.partial) else each for name, each in made.items()}
    return {name: each.__module__ for name, each in plain.items()}


@pytest.mark.parametrize(
    ("tasks", "small"), [(["classification"], FAMILIES), (["detection", "segmentation"], STANDING)]
)
def test_the_fast_run_has_one_of_each_family(tasks, small):
    known = files(*tasks)
    assert {known[name] for name in small} == set(known.values())


def narrowed(net, units=64):
    """Hidden layers of AlexNet's and VGG's 4,096 units are nearly all that there is to write, and like any other width."""
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    for number, name in enumerate(linear[:-1] if len(linear) > 2 else []):
        inputs = units if number else net.get_submodule(name).in_features
        net.set_submodule(name, nn.Linear(inputs, units))
    if len(linear) > 2:
        net.set_submodule(linear[-1], nn.Linear(units, net.get_submodule(linear[-1]).out_features))
    return net


def alive(name, arguments, side, *, narrow=False):
    """The network with statistics of what it has seen, and answers that differ from picture to picture."""
    torch.manual_seed(0)
    net = networks.create(name, num_classes=10, arguments=arguments)
    if narrow:
        narrowed(net)
    images = torch.randn(4, net.in_channels, side, side)
    with torch.no_grad():
        net.train()(images)
        logits = net.eval()(images)
        spread = getattr(logits, "logits", logits).std().clamp_min(1e-6)
        for path in networks.class_layers(net):
            net.get_submodule(path).weight.mul_(2 / spread)
    return net


def check(name, arguments, side, tmp_path, *, narrow=False):
    net = alive(name, arguments, side, narrow=narrow)
    prepared = Preprocess(channels=net.in_channels, size=(side, side), mean=(0.5,), std=(0.25,))
    made = Classifier(net, classes=list("abcdefghij"), preprocess=prepared).export(tmp_path / "net.onnx")
    assert made.largest_difference < (
        1e-3 if name.endswith("1001") else 1e-4
    )  # a thousand layers add their rounding up
    require_folded(made)
    return made


def require_folded(made):
    graph = onnx.load(made.path).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    behind = [made_by.get(node.input[0]) for node in graph.node if node.op_type == "BatchNormalization"]
    assert "Conv" not in behind


@pytest.mark.usefixtures("without_openvino")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_small_network_of_each_family_answers_in_onnx_as_in_torch(name, tmp_path):
    arguments, side, taken = FAMILIES[name]
    made = check(name, arguments, side, tmp_path, narrow=name.startswith(("alexnet", "vgg")))
    assert made.sizes == taken  # of the small ones nothing would be left to take a mean of


@pytest.mark.usefixtures("without_openvino")
@pytest.mark.parametrize("name", STANDING)
def test_a_small_network_of_each_family_that_finds_things_answers_in_onnx_as_in_torch(name, tmp_path):
    torch.manual_seed(0)
    net = networks.create(name, num_classes=3, arguments=STANDING[name])
    detects = name in networks.names("detection")
    with torch.no_grad():
        net.train()(torch.randn(2, 3, 64, 64))
        for value in net.parameters():
            if value.dim() == 4 and value.std() < 0.02:
                value.mul_(20)  # heads that begin at next to nothing: all boxes would be ties
    prepared = Preprocess(size=(64, 64), resize="pad" if detects else "stretch", mean=(0.5,), std=(0.25,))
    model = (Detector if detects else Segmenter)(net.eval(), classes=list("abc"), preprocess=prepared)
    if detects:
        model.suppression = Suppression(least_score=1e-6)
    made = model.export(tmp_path / "net.onnx", any_size=False)
    assert made.agreement == 1.0  # and not None: there were boxes
    assert made.largest_difference < 1e-4
    require_folded(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.names())
def test_each_network_answers_in_onnx_as_in_torch(name, tmp_path):
    check(name, {}, sizes.usual_shape(name)[1], tmp_path)


@pytest.mark.usefixtures("without_openvino")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["airbench"])
def test_networks_run_in_16_bits_as_torch_programs(name, precision, tmp_path):
    arguments, side, _ = FAMILIES[name]
    net = alive(name, arguments, side)
    prepared = Preprocess(channels=net.in_channels, size=(side, side), mean=(0.5,), std=(0.25,))
    made = Classifier(net, classes=list("abcdefghij"), preprocess=prepared).export(
        tmp_path / "net.pt2", precision=precision, any_size=False
    )
    assert made.largest_difference > 0
