"""RetinaNet, FCOS and SSDlite beside torchvision's whole detectors with the same weights: what the heads say, what is found, the losses."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection, resnet18
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from lamina import networks
from lamina.export.boxes_apart import apart
from lamina.tasks.detection.decode import DECODERS, Suppression, answer
from lamina.tasks.detection.targets import LOSSES

PX, K = 96, 3
LEAST = 0.5  # of a score
RULE = Suppression(overlap=0.5, least_score=LEAST, most=1000, candidates=10_000)
PLAIN = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "score_thresh": LEAST, "nms_thresh": 0.5}
SIZE = {"min_size": PX, "max_size": PX}
MOST = {"detections_per_img": 10_000, "topk_candidates": 10_000}


def ours(name: str, backbone: str) -> nn.Module:
    torch.manual_seed(0)
    return networks.create_on(name, networks.create(backbone), arguments={"num_classes": K})


def pictures() -> Tensor:
    return torch.rand(2, 3, PX, PX, generator=torch.Generator().manual_seed(1))


def lively(net: nn.Module) -> nn.Module:
    """The network with the statistics of one batch, by which what passes keeps its scale: else places tie, and come in any order."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(pictures())
    return net


def pyramid() -> nn.Module:
    body = lively(resnet18(weights=None))
    return _resnet_fpn_extractor(body, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))


def copied(net: nn.Module, theirs: nn.Module, heads: dict[str, str]) -> None:
    """Loads their weights, by the beginnings of names; the class layers are made to say something."""
    with torch.no_grad():
        for module in theirs.head.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(3)
                module.bias.mul_(0.0)
    names = {
        "backbone.body.": "trunk.net.",
        "backbone.fpn.extra_blocks.p6.": "pyramid.coarser.0.",
        "backbone.fpn.extra_blocks.p7.": "pyramid.coarser.1.",
        "backbone.fpn.": "pyramid.fpn.",
        **heads,
    }
    made = {}
    for key, value in theirs.state_dict().items():
        start = next(start for start in names if key.startswith(start))
        made[names[start] + key[len(start) :]] = value
    net.load_state_dict(made)


def retinanet() -> tuple[nn.Module, nn.Module]:
    net, theirs = ours("retinanet", "resnet18"), detection.RetinaNet(pyramid(), K, **PLAIN, **SIZE, **MOST)
    heads = {}
    for mine, part, last in (
        ("classes", "classification_head", "cls_logits"),
        ("boxes", "regression_head", "bbox_reg"),
    ):
        heads |= {f"head.{part}.conv.{place}.0.": f"{mine}.{2 * place}." for place in range(4)}
        heads[f"head.{part}.{last}."] = f"{mine}.8."
    copied(net, theirs, heads)
    return net, theirs


def fcos() -> tuple[nn.Module, nn.Module]:
    anchors = AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((1.0,),) * 5)
    net, theirs = (
        ours("fcos", "resnet18"),
        detection.FCOS(pyramid(), K, anchor_generator=anchors, **PLAIN, **SIZE, **MOST),
    )
    copied(
        net,
        theirs,
        {
            "head.classification_head.conv.": "classes.",
            "head.classification_head.cls_logits.": "classes.12.",
            "head.regression_head.conv.": "around.",
            "head.regression_head.bbox_reg.": "sides.",
            "head.regression_head.bbox_ctrness.": "centredness.0.",
        },
    )
    return net, theirs


class Below(nn.Module):
    """The maps of our SSDlite, for their heads."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = [net]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        (net,) = self.net
        found = net.trunk(images)
        maps = [found[stride] for stride in net.taken]
        for extra in net.extras:
            maps.append(extra(maps[-1]))
        return OrderedDict((str(number), value) for number, value in enumerate(maps))


def ssdlite() -> tuple[nn.Module, nn.Module]:
    net = ours("ssdlite", "mobilenet_v2")
    lively(net)
    dims = [96, 1280, 512, 256, 256, 128]
    boxes = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    head = SSDLiteHead(dims, boxes.num_anchors_per_location(), K + 1, norm)
    theirs = SSD(Below(net), boxes, (PX, PX), K + 1, head=head, **PLAIN, **MOST)
    with torch.no_grad():
        for level in range(6):
            last = net.classes[level][1]
            last.weight.mul_(20)
            for mine, module in (
                (net.classes[level], head.classification_head),
                (net.boxes[level], head.regression_head),
            ):
                module.module_list[level].load_state_dict(mine.state_dict())
            rolled = head.classification_head.module_list[level][1]
            for name in ("weight", "bias"):  # their first class is nothing, ours the last
                value = getattr(last, name)
                getattr(rolled, name).copy_(value.view(6, K + 1, -1).roll(1, dims=1).reshape(value.shape))
    return net, theirs


@functools.cache
def built(name: str) -> tuple[nn.Module, nn.Module]:
    """Our network and theirs, in eval mode."""
    net, theirs = BUILDERS[name]()
    return net.eval(), theirs.eval()


BUILDERS = {"RetinaNet": retinanet, "FCOS": fcos, "SSDLite": ssdlite}


def said_by_theirs(theirs: nn.Module, images: Tensor) -> dict[str, Tensor]:
    told: dict[str, Tensor] = theirs.head(list(theirs.backbone(images).values()))
    return told


@pytest.mark.parametrize("name", BUILDERS)
def test_the_heads_say_what_torchvisions_say(name: str) -> None:
    net, theirs = built(name)
    with torch.no_grad():
        said, told = net(pictures()), said_by_theirs(theirs, pictures())
    logits = said.logits.roll(1, dims=2) if name == "SSDLite" else said.logits
    torch.testing.assert_close(logits, told["cls_logits"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said.deltas, told["bbox_regression"], rtol=1e-4, atol=1e-5)
    if name == "FCOS":
        torch.testing.assert_close(said.centredness, told["bbox_ctrness"][..., 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BUILDERS)
def test_what_is_found_is_what_torchvision_finds(name: str) -> None:
    net, theirs = built(name)
    with torch.no_grad():
        found = answer(DECODERS[name](net(pictures()), RULE), (PX, PX), RULE, K)
        told = theirs(list(pictures()))
    for rows, wanted in zip(found, told, strict=True):
        rows = rows[rows[:, 5] >= 0]
        covers = (wanted["boxes"][:, 2:] > wanted["boxes"][:, :2]).all(1)  # theirs may cover nothing
        theirs_too = torch.cat([wanted["boxes"], wanted["scores"][:, None], wanted["labels"][:, None]], dim=1)[covers]
        theirs_too[:, 5] -= int(name == "SSDLite")
        assert 5 < len(rows) == len(theirs_too)
        difference, both = apart(rows[None].numpy(), theirs_too[None].numpy())
        assert difference < 1e-4
        assert both == 1.0


@pytest.mark.parametrize("name", BUILDERS)
def test_the_losses_are_torchvisions(name: str) -> None:
    net, theirs = (each.train() for each in copy.deepcopy(built(name)))
    boxes = [torch.tensor([[8.0, 10, 40, 44], [50, 20, 90, 80], [12, 60, 30, 90]]), torch.tensor([[5.0, 5, 70, 60]])]
    labels = [torch.tensor([0, 2, 1]), torch.tensor([1])]
    targets = torch.zeros(2, 5, 6)
    targets[:, :, 4] = -1
    for row, some, names in zip(targets, boxes, labels, strict=True):
        row[1 : 1 + len(some), :4], row[1 : 1 + len(some), 4] = some, names
    with torch.no_grad():
        measured = LOSSES[name](net, pictures(), targets)
        net.train()
        shift = int(name == "SSDLite")
        told = theirs(list(pictures()), [{"boxes": b, "labels": k + shift} for b, k in zip(boxes, labels, strict=True)])
    pairs = {"class": "classification", "box": "bbox_regression", "centre": "bbox_ctrness"}
    for mine, value in measured.losses.items():
        torch.testing.assert_close(value, told[pairs[mine]], rtol=1e-3, atol=1e-5)
    assert len(told) == len(measured.losses)
