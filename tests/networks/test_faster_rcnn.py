"""Faster R-CNN: proposals, judgements and anchors beside torchvision's with copied weights, with a pyramid and on a single map."""

import copy
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection import FasterRCNN as TheirFasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.faster_rcnn import FasterRCNN
from lamina.networks.regions import RATIOS, anchors, levels, pooled
from lamina.networks.trunk import Trunk

CLASSES, SIDE = 3, 128
DIMS = {4: 8, 8: 12, 16: 16, 32: 24}


class Toy(nn.Module):
    """A backbone with maps of the strides 4 to 32, of few channels."""

    feature_dims = DIMS

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.stages = nn.ModuleList()
        before = 8
        for dim in DIMS.values():
            self.stages.append(nn.Sequential(nn.Conv2d(before, dim, 3, 2, 1), nn.BatchNorm2d(dim), nn.ReLU()))
            before = dim

    def features(self, images):
        maps, x = {}, self.stem(images)
        for stride, stage in zip(DIMS, self.stages, strict=True):
            x = maps[stride] = stage(x)
        return maps


def made(pyramid=True, **told):
    torch.manual_seed(0)
    net = FasterRCNN(Trunk(Toy()), CLASSES, pyramid=pyramid, dims=(16, 32), **{"regions": 40, "tried": 60, **told})
    with torch.no_grad():  # of the usual values all regions would be judged alike
        for layer in (
            net.proposer.conv,
            net.proposer.objectness,
            net.proposer.boxes,
            net.judger.classes,
            net.judger.boxes,
        ):
            layer.weight.normal_(std=0.1)
            layer.bias.normal_(std=0.3)
    return net.eval()


class Maps(nn.Module):
    """Our maps, as torchvision's detector takes them from its backbone."""

    def __init__(self, net):
        super().__init__()
        self.net, self.out_channels = [net], net.proposer.conv.in_channels

    def forward(self, images):
        (net,) = self.net
        maps = net.maps(images)
        if net.pyramid is not None:
            maps = {**maps, 64: F.max_pool2d(maps[32], 1, 2)}
        return OrderedDict((str(stride), x) for stride, x in maps.items())


def torchvisions(net):
    """torchvision's whole detector on our maps, with our weights in its proposer and its heads."""
    judge, proposer = net.judger, net.proposer
    dim = judge.fc7.out_features
    theirs = TheirFasterRCNN(
        Maps(net),
        min_size=SIDE,
        max_size=SIDE,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(tuple(proposer.anchors_px.values()), (RATIOS,) * len(proposer.anchors_px)),
        box_roi_pool=MultiScaleRoIAlign([str(stride) for stride in net.strides], 7, 2),
        box_head=nn.Sequential(nn.Flatten(), copy.deepcopy(judge.fc6), nn.ReLU(), copy.deepcopy(judge.fc7), nn.ReLU()),
        box_predictor=FastRCNNPredictor(dim, CLASSES + 1),
        rpn_pre_nms_top_n_test=proposer.tried,
        rpn_post_nms_top_n_test=proposer.regions,
    ).eval()
    with torch.no_grad():
        head = theirs.rpn.head
        pairs = (
            (head.conv[0][0], proposer.conv),
            (head.cls_logits, proposer.objectness),
            (head.bbox_pred, proposer.boxes),
        )
        for one, ours in pairs:
            one.load_state_dict(ours.state_dict())
        predictor = theirs.roi_heads.box_predictor
        for one, ours, width in ((predictor.cls_score, judge.classes, 1), (predictor.bbox_pred, judge.boxes, 4)):
            weight, bias = ours.weight, ours.bias
            one.weight[width:] = weight[: CLASSES * width]
            one.bias[width:] = bias[: CLASSES * width]
        predictor.cls_score.weight[0], predictor.cls_score.bias[0] = judge.classes.weight[-1], judge.classes.bias[-1]
    return theirs


@pytest.fixture(scope="module", params=[True, False], ids=["pyramid", "single map"])
def pair(request):
    net = made(request.param)
    torch.manual_seed(1)
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        return net, torchvisions(net), images, net(images)


def test_proposals_are_torchvisions(pair):
    _, theirs, images, ours = pair
    with torch.no_grad():
        expected, _ = theirs.rpn(ImageList(images, [(SIDE, SIDE)] * 2), theirs.backbone(images))
    for boxes, known, told in zip(ours.regions, ours.known, expected, strict=True):
        assert int(known.sum()) == len(told) > 10
        torch.testing.assert_close(boxes[known], told, rtol=1e-4, atol=1e-3)


def test_judgements_are_torchvisions(pair):
    _, theirs, images, ours = pair
    sizes = [(SIDE, SIDE)] * 2
    with torch.no_grad():
        maps = theirs.backbone(images)
        features = theirs.roi_heads.box_head(theirs.roi_heads.box_roi_pool(maps, list(ours.regions), sizes))
        logits, deltas = theirs.roi_heads.box_predictor(features)
    torch.testing.assert_close(ours.logits.flatten(0, 1), logits.roll(-1, dims=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.deltas.flatten(0, 1), deltas.unflatten(1, (-1, 4))[:, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pyramid", [True, False])
def test_single_anchors_are_told_the_same_as_all_of_them_at_the_edges_and_where_a_map_has_none(pyramid):
    net, images = made(pyramid), torch.rand(2, 3, 80, 100, generator=torch.Generator().manual_seed(3))
    maps = {stride: x.detach().requires_grad_() for stride, x in net.maps(images).items()}
    told = net.propose(maps, (80, 100))
    count = told.logits.shape[1]
    few = torch.randperm(count // 2, generator=torch.Generator().manual_seed(4))[
        :30
    ]  # of the finest map, where several
    for rows in (torch.tensor([0, count - 1, count // 2, 1]), few, few[:0]):
        pictures = torch.arange(len(rows)) % 2
        logits, deltas = net.propose_at(maps, pictures, rows)
        torch.testing.assert_close(logits, told.logits[pictures, rows], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(deltas, told.deltas[pictures, rows], rtol=1e-4, atol=1e-5)
        wanted, found = (
            torch.autograd.grad(loss, [*maps.values(), *net.proposer.parameters()], retain_graph=True)
            for loss in (
                told.logits[pictures, rows].square().sum() + told.deltas[pictures, rows].square().sum(),
                logits.square().sum() + deltas.square().sum(),
            )
        )
        for one, other in zip(wanted, found, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


def test_the_count_of_parameters_is_torchvisions_but_for_backgrounds_box_and_frozen_layers():
    with torch.device("meta"):
        net = networks.create_on("faster_rcnn", networks.create("resnet50"), arguments={"num_classes": 90})
    assert sum(p.numel() for p in net.parameters()) == 41_804_306 == 41_755_286 - 4 * 1025 + 53_120


def test_the_type_of_the_answer_is_the_same_in_training_and_all_parameters_get_a_gradient():
    net = made().train()
    torch.manual_seed(0)
    answer = net(torch.rand(2, 3, 96, 96))
    assert type(answer) is type(net.eval()(torch.rand(2, 3, 96, 96)))
    sum(each.square().sum() for each in (answer.logits, answer.deltas, *answer.proposals[2:4])).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_layers_behind_a_single_map_are_not_trained():
    net = made(pyramid=False)
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {f"trunk.net.stages.3.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")}
    assert net.strides == [16]


def test_pictures_of_a_batch_do_not_see_one_another():
    net = made()
    torch.manual_seed(2)
    images = torch.rand(3, 3, SIDE, SIDE)
    with torch.no_grad():
        together, alone = net(images), net(images[1:2])
    torch.testing.assert_close(together.logits[1:2], alone.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together.regions[1:2], alone.regions, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [(70, 99), (33, 200), (31, 31)])
def test_pictures_of_any_size_are_taken_and_regions_stay_within_them(size):
    with torch.no_grad():
        answer = made()(torch.rand(1, 3, *size))
    assert answer.regions.min() >= 0
    assert (answer.regions[..., 2:] <= torch.tensor([size[1], size[0]])).all()


def test_state_and_copies_come_back_the_same():
    net, images = made(), torch.rand(1, 3, 96, 96)
    other = FasterRCNN(Trunk(Toy()), CLASSES, dims=(16, 32), regions=40, tried=60).eval()
    other.load_state_dict(net.state_dict(), strict=True)
    with torch.no_grad():
        for same in (other, copy.deepcopy(net)):
            assert torch.equal(same(images).logits, net(images).logits)


def test_a_network_by_name_is_made_again_from_what_it_says_of_itself():
    told = {"num_classes": 2, "pyramid": False, "dims": [8, 8], "anchors_px": [[8, 16]], "backbone": "squeezenet1_1"}
    net = networks.create("faster_rcnn", arguments=told)
    again = networks.recreate(**networks.architecture(net))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_anchors_have_the_areas_and_forms_that_are_told_at_every_place():
    found = anchors(torch.zeros(1, 1, 2, 3), 16, [32, 64])
    assert found.shape == (2 * 3 * 6, 4)
    sides = found[:, 2:] - found[:, :2]
    torch.testing.assert_close(sides[:6].prod(1).sqrt(), torch.tensor([32.0, 64.0] * 3), rtol=0.02, atol=0)
    torch.testing.assert_close(sides[:6, 1] / sides[:6, 0], torch.tensor([0.5, 0.5, 1, 1, 2, 2]), rtol=0.05, atol=0)
    centres = (found[:, 2:] + found[:, :2]) / 2
    assert centres[::6].tolist() == [[0, 0], [16, 0], [32, 0], [0, 16], [16, 16], [32, 16]]


def test_a_region_is_pooled_from_the_map_of_the_papers_equation():
    sides = torch.tensor([1.0, 55, 56, 111, 112, 223, 224, 448, 5000])  # 224 px: stride 16
    regions = torch.cat([torch.zeros(9, 2), sides[:, None].expand(-1, 2)], dim=1)
    assert levels(regions, [4, 8, 16, 32]).tolist() == [0, 0, 0, 0, 1, 1, 2, 3, 3]


def test_an_even_map_is_pooled_to_its_value_and_the_way_for_exported_programs_gives_the_same(monkeypatch):
    torch.manual_seed(0)
    maps = {4: torch.full((1, 2, 32, 32), 3.0), 8: torch.full((1, 2, 16, 16), 5.0)}
    regions = torch.tensor([[[4.0, 4, 60, 60], [0, 0, 120, 120], [0, 0, 0, 0]]])
    found = pooled(maps, regions)
    assert found.shape == (1, 3, 2, 7, 7)
    assert (found[0, 0] == 3).all()
    assert (found[0, 1] == 5).all()
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(pooled(maps, regions), found)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"anchors_px": [[8]]}, "Sides in px were expected for each of the strides 4, 8, 16, 32, 64"),
        ({"anchors_px": [[8], [16], [32], [64], [64, 128]]}, "as many for each"),
        ({"anchors_px": [[8], [16], [32], [64], [-1]]}, "anchors_px is"),
        ({"strides": [4, 16]}, "each twice the one before"),
        ({"strides": [4, 8], "pyramid": False}, "without a pyramid"),
        ({"strides": [128]}, "no map of stride 128"),
    ],
)
def test_maps_and_anchors_that_do_not_fit_are_refused(told, message):
    with pytest.raises(LaminaError, match=message):
        made(**told)
