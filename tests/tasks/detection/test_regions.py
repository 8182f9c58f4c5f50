"""The losses of two-stage detectors: what is drawn, what is compared, torchvision's numbers, and pictures without objects."""

import copy
import math

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN as TheirFasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

import lamina
from lamina.networks.faster_rcnn import FasterRCNN
from lamina.networks.regions import RATIOS
from lamina.networks.trunk import Trunk
from lamina.tasks.detection import regions, targets
from lamina.tasks.detection.decode import Detecting, Suppression
from lamina.tasks.detection.targets import IGNORED, NOTHING, Truths, matched

SIDE, CLASSES = 64, 2


class Toy(nn.Module):
    """Maps of the strides 4 and 8."""

    def __init__(self):
        super().__init__()
        self.feature_dims = {4: 8, 8: 16}
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.deep = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())

    def features(self, images):
        x = self.stem(images)
        return {4: x, 8: self.deep(x)}


def made(**told):
    torch.manual_seed(0)
    return FasterRCNN(Trunk(Toy()), CLASSES, **{"dims": (16, 32), "regions": 50, "tried": 100, **told})


def target(*rows, most=4):
    made = torch.zeros(1 + most, 6)
    made[:, 4] = NOTHING
    made[0, 2:4] = SIDE
    for number, row in enumerate(rows):
        made[1 + number, : len(row)] = torch.tensor([float(each) for each in row])
    return made


TWO = target((4, 4, 24, 24, 0), (30, 20, 60, 50, 1))


def test_losses_are_finite_and_boxes_cost_nothing_where_a_picture_has_no_object():
    net = made().train()
    images = torch.rand(2, 3, SIDE, SIDE)
    losses = regions.measured(net, images, torch.stack([target(), target()])).losses
    assert set(losses) == {"objectness", "proposal", "class", "box"}
    assert losses["box"] == losses["proposal"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    mixed = regions.measured(net, images, torch.stack([target(), TWO])).losses
    assert all(each.isfinite() for each in mixed.values())
    assert mixed["box"] > 0
    assert mixed["proposal"] > 0


def test_a_crowd_is_neither_found_nor_background():
    crowd = Truths.of(target((0, 0, 40, 40, 0, 1))[None])
    given = torch.tensor([[[5.0, 5, 20, 20], [0, 0, 40, 40], [45, 45, 60, 60]]])
    assert matched(given, crowd, near=0.5, far=0.5, best="").tolist() == [[IGNORED, IGNORED, NOTHING]]


@pytest.mark.parametrize("at_once", [8, 1 << 22])
def test_regions_show_the_object_that_they_overlap_by_half_or_more(monkeypatch, at_once):
    monkeypatch.setattr(targets, "_PAIRS", at_once)  # thousands of boxes are compared some at a time
    truths = Truths.of(TWO[None])
    given = torch.tensor([[[4.0, 4, 24, 24], [4, 4, 24, 14], [4, 4, 24, 13], [30, 20, 60, 49], [0, 0, 0, 0]]])
    assert matched(given, truths, near=0.5, far=0.5, best="").tolist() == [[1, 1, NOTHING, 2, NOTHING]]


def test_as_many_are_drawn_as_are_told_and_at_most_a_share_shows_objects():
    match = torch.tensor([[0] * 50 + [NOTHING] * 100 + [IGNORED] * 50, [3] * 2 + [NOTHING] * 5 + [IGNORED] * 193])
    torch.manual_seed(0)
    taken = regions.drawn(match, count=40, share=0.25, training=True)
    assert [((match >= 0) & taken).sum(1).tolist(), taken.sum(1).tolist()] == [[10, 2], [40, 7]]
    assert not (taken & (match == IGNORED)).any()
    again = regions.drawn(match, count=40, share=0.25, training=True)
    assert not torch.equal(taken, again)
    for training in (False, False):
        fixed = regions.drawn(match, count=40, share=0.25, training=training)
        torch.manual_seed(7)
        assert torch.equal(fixed, regions.drawn(match, count=40, share=0.25, training=False))


def test_evaluation_gives_the_same_losses_each_time_and_what_the_network_says():
    net = made().eval()
    images, goals = torch.rand(1, 3, SIDE, SIDE), TWO[None]
    with torch.no_grad():
        one, other = regions.measured(net, images, goals), regions.measured(net, images, goals)
        assert one.losses == other.losses
        assert torch.equal(one.predictions.logits, net(images).logits)


def torchvisions(net):
    """torchvision's detector with our weights, which draws everything, so that its losses can be compared."""
    judge, proposer = net.judger, net.proposer

    class Maps(nn.Module):
        out_channels = proposer.conv.in_channels

        def forward(self, images):
            maps = net.maps(images)
            more = {} if net.pyramid is None else {16: torch.nn.functional.max_pool2d(maps[8], 1, 2)}
            return {str(stride): x for stride, x in {**maps, **more}.items()}

    theirs = TheirFasterRCNN(
        Maps(),
        min_size=SIDE,
        max_size=SIDE,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(tuple(proposer.anchors_px.values()), (RATIOS,) * len(proposer.anchors_px)),
        box_roi_pool=MultiScaleRoIAlign([str(stride) for stride in net.strides], 7, 2),
        box_head=nn.Sequential(nn.Flatten(), copy.deepcopy(judge.fc6), nn.ReLU(), copy.deepcopy(judge.fc7), nn.ReLU()),
        box_predictor=FastRCNNPredictor(judge.fc7.out_features, CLASSES + 1),
        rpn_batch_size_per_image=100_000,
        rpn_positive_fraction=1.0,
        rpn_pre_nms_top_n_train=100,
        rpn_post_nms_top_n_train=50,
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=50,
        box_batch_size_per_image=100_000,
        box_positive_fraction=1.0,
        box_score_thresh=0.05,
    )
    with torch.no_grad():
        head, predictor = theirs.rpn.head, theirs.roi_heads.box_predictor
        head.conv[0][0].load_state_dict(proposer.conv.state_dict())
        head.cls_logits.load_state_dict(proposer.objectness.state_dict())
        head.bbox_pred.load_state_dict(proposer.boxes.state_dict())
        for one, ours, width in ((predictor.cls_score, judge.classes, 1), (predictor.bbox_pred, judge.boxes, 4)):
            one.weight[width:] = ours.weight[: CLASSES * width]
            one.bias[width:] = ours.bias[: CLASSES * width]
        predictor.cls_score.weight[0], predictor.cls_score.bias[0] = judge.classes.weight[-1], judge.classes.bias[-1]
    return theirs


def lively(pyramid=True):
    net = made(pyramid=pyramid, **({} if pyramid else {"strides": [8]}))
    with torch.no_grad():
        for layer in (
            net.proposer.conv,
            net.proposer.objectness,
            net.proposer.boxes,
            net.judger.classes,
            net.judger.boxes,
        ):
            layer.weight.normal_(std=0.1)
            layer.bias.normal_(std=0.2)
    return net


def test_losses_are_torchvisions_where_everything_is_drawn(monkeypatch):
    net = lively().eval()
    for name in ("ANCHORS", "REGIONS"):
        monkeypatch.setattr(regions, name, 100_000)
    for name in ("_ANCHORS_SHOW", "_REGIONS_SHOW"):
        monkeypatch.setattr(regions, name, 1.0)
    monkeypatch.setattr(regions, "_WIDE", 1 / 9)  # torchvision's, where Fast R-CNN's paper has 1
    torch.manual_seed(3)
    images = torch.rand(1, 3, SIDE, SIDE)
    ours = regions.measured(net, images, TWO[None]).losses
    told = [{"boxes": TWO[1:3, :4], "labels": TWO[1:3, 4].long() + 1}]
    theirs = torchvisions(net)
    for module in (theirs, theirs.rpn, theirs.roi_heads):
        module.training = True
    expected = theirs(list(images), told)
    names = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
    for name, their_name in zip(("objectness", "proposal", "class", "box"), names, strict=True):
        assert ours[name].item() == pytest.approx(expected[their_name].item(), rel=1e-4), name


@pytest.mark.parametrize("pyramid", [True, False])
def test_final_detections_are_torchvisions(pyramid):
    net = lively(pyramid).eval()
    torch.manual_seed(3)
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        ours = Detecting(net, Suppression(overlap=0.5, least_score=0.05), CLASSES)(images)
        expected = torchvisions(net).eval()(list(images))
    for rows, told in zip(ours, expected, strict=True):
        rows = rows[rows[:, 5] >= 0]
        assert len(rows) == len(told["scores"]) > 5
        torch.testing.assert_close(rows[:, 4], told["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rows[:, :4], told["boxes"], rtol=1e-4, atol=1e-3)
        assert (rows[:, 5] + 1).tolist() == told["labels"].tolist()


def picture(seed):
    """Grey noise with a bright and a dark square, and what stands in it."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(100, 140, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    x, y = (torch.randint(0, 24, (2,), generator=generator)).tolist()
    image[:, y : y + 24, x : x + 24] = 250
    image[:, 40:60, 38:60] = 5
    return image, {"boxes": torch.tensor([[x, y, x + 24, y + 24], [38.0, 40, 60, 60]]), "labels": torch.tensor([0, 1])}


def test_a_detector_learns_a_batch_by_heart_and_comes_back_from_its_file(tmp_path):
    pairs = [picture(seed) for seed in range(4)]
    images, known = torch.stack([image for image, _ in pairs]), [told for _, told in pairs]
    detector = lamina.Detector(
        "faster_rcnn",
        backbone="cifar_resnet20",
        preprocess=lamina.Preprocess(size=(SIDE, SIDE), resize="pad"),
        arguments={"dims": [32, 64], "anchors_px": [[24], [48]], "regions": 30, "tried": 100},
    )
    detector.compile(lamina.optimizers.Adam(lr=3e-3))
    history = detector.fit(images, known, epochs=40, batch_size=4, validation_split=0.0, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 4
    scores = detector.evaluate(images, known)
    assert scores["AP50"] > 0.9
    assert math.isfinite(scores["loss"])
    path = tmp_path / "squares.safetensors"
    detector.save(path)
    same = lamina.load(path).predict(images[0])
    assert str(same) == str(detector.predict(images[0]))


@pytest.mark.slow
def test_onnx_answers_box_by_box_as_torch_does(tmp_path):
    session = pytest.importorskip("onnxruntime")
    detector = lamina.Detector(
        lively().eval(), classes=["a", "b"], preprocess=lamina.Preprocess(size=(SIDE, SIDE), resize="pad")
    )
    detector.export(tmp_path / "net.onnx")
    images = torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = session.InferenceSession(tmp_path / "net.onnx")
    (answers,) = found.run(None, {found.get_inputs()[0].name: images.numpy()})
    expected = detector.answer(images, engine="torch")
    assert (expected[..., 5] >= 0).sum() > 10
    torch.testing.assert_close(torch.from_numpy(answers), torch.from_numpy(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("network", "capability", "channels_last"),
    [("faster_rcnn", "AVX2", False), ("faster_rcnn", "AVX512", True), ("ssdlite", "AVX2", True)],
)
def test_faster_rcnn_stays_contiguous_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, network: str, capability: str, channels_last: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    detector = lamina.Detector(network)
    detector.compile(device="cpu", precision="float32")
    assert detector.runtime.channels_last == channels_last
    detector.compile(runtime=lamina.training.Runtime("cpu", channels_last=True))
    assert detector.runtime.channels_last
