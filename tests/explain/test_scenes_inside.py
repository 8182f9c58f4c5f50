"""Looking into detectors, segmenters and models of several labels: where an error comes from, and pictures as points."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina import Preprocess, explain
from lamina.core.errors import LaminaError
from lamina.data import ImageDataset
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.geometry import Window
from lamina.explain import inside, located
from lamina.explain.lens import Lens
from lamina.explain.scenes_inside import _seen_map
from lamina.networks.predictions import Predictions
from lamina.structures.annotation import Annotation
from lamina.tasks.detection import Suppression

CLASSES = ("bright", "<dark>")
PLAIN = Preprocess(size=(64, 64), resize="pad", mean=(0.0,), std=(1.0,))


class Trunk(nn.Module):
    """Maps of a stride of 8 and of 16: red, and blue."""

    def forward(self, images):
        both = images[:, [0, 2]]
        return {stride: nn.functional.avg_pool2d(both, stride) for stride in (8, 16)}


class Looking(nn.Module):
    """A detector whose every place of 8 px, or with `maps` a segmenter whose every pixel, is of class 0 by its red, of 1 by its blue."""

    def __init__(self, *, maps=False):
        super().__init__()
        self.trunk, self.maps, self.bias = Trunk(), maps, nn.Parameter(torch.zeros(2), requires_grad=False)

    def forward(self, images):
        fine = self.trunk(images)[8] + self.bias[:, None, None]
        if self.maps:
            return nn.functional.interpolate(fine, scale_factor=8)
        rows, columns = torch.meshgrid(torch.arange(8.0) * 8, torch.arange(8.0) * 8, indexing="ij")
        places = torch.stack([columns, rows, columns + 8, rows + 8], dim=-1).flatten(0, 1)
        logits = fine.flatten(2).transpose(1, 2)
        return Predictions(logits, torch.zeros(len(images), 64, 4), None, places)


def looking(**more):
    return Lens(Looking(**more).eval(), PLAIN.normalize(), nn.Identity(), PLAIN, CLASSES, is_classes=True)


def spots():
    """A red spot at the top left, a red and a blue one at the bottom right."""
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    image[0, 0, 8:16, 8:16] = 200
    image[0, 0, 48:56, 40:48] = 255
    image[0, 2, 48:56, 48:56] = 250
    return image


@pytest.mark.parametrize(("label", "box", "spot"), [(0, [6, 6, 18, 18], (1, 1)), (1, [40, 44, 60, 60], (6, 6))])
def test_a_box_is_explained_by_what_is_in_it_and_not_by_its_like_elsewhere(label, box, spot):
    cam = located.box_cam(looking(), spots(), torch.tensor(box), label)
    assert cam.shape == (8, 8)
    assert np.argwhere(cam > 0).tolist() == [list(spot)]


def test_a_box_where_no_place_is_has_no_map():
    assert located.box_cam(looking(), spots(), torch.tensor([200, 200, 210, 210]), 0) is None
    assert located.box_cam(looking(maps=True), spots(), torch.tensor([6, 6, 18, 18]), 0) is None


def test_pixels_are_explained_by_what_adds_to_the_sum_of_their_scores():
    where = torch.zeros(64, 64, dtype=torch.bool)
    where[:20] = True
    seen = []
    labels, cams = located.pixels_cams(looking(maps=True), spots(), lambda found: seen.append(found) or ([0, 1], where))
    assert labels == [0, 1]
    assert np.argwhere(cams[0] > 0).tolist() == [[1, 1]], "the red spot among these pixels"
    assert not cams[1].any(), "the blue spot is not among them"
    assert seen[0][52, 52] == 1
    assert seen[0][52, 44] == 0
    assert located.pixels_cams(looking(maps=True), spots(), lambda found: None) == ([], [])


def test_the_truth_is_seen_as_the_network_sees_the_picture():
    truth = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert _seen_map(truth, Window(0.0, 0.0, 4.0, 4.0), (2, 2)).tolist() == [[5, 7], [13, 15]]
    padded = _seen_map(truth, Window(-4.0, 0.0, 8.0, 4.0), (3, 1))
    assert padded.ravel().tolist() == [255, 10, 255]


# The report --------------------------------------------------------------------------------------------------------


def scene(count=8):
    """Pictures with a bright square, for a detector and for a segmenter."""
    images = torch.randint(0, 60, (count, 3, 64, 64), dtype=torch.uint8, generator=torch.manual_seed(0))
    boxes, maps = [], []
    for row, image in enumerate(images):
        left = 4 * row % 32
        image[:, 16:40, left : left + 24] = 220
        box = torch.tensor([[left, 16.0, left + 24, 40.0]])[: min(row, 1)]  # in the first there is nothing
        boxes.append(Annotation(boxes_xyxy=box, labels=torch.full((len(box),), row % 2)))
        maps.append(Annotation(class_map=(image[0] > 200).to(torch.uint8)))
    return images, boxes, maps


ARGUMENTS = {
    "unet": {"width": 4},
    "retinanet": {"channels": 16, "convs": 1, "levels": 3},
    "faster_rcnn": {"dims": (16, 32), "strides": [4], "anchors_px": [[24.0]], "pyramid": False, "regions": 20},
}


def small(network):
    torch.manual_seed(0)
    images, boxes, maps = scene()
    arguments = {"backbone": "cifar_resnet20", **ARGUMENTS[network]}
    net = lamina.networks.create(network, num_classes=2, arguments=arguments).eval()
    kind, known = (lamina.Segmenter, maps) if network == "unet" else (lamina.Detector, boxes)
    model = kind(net, classes=CLASSES, preprocess=PLAIN)
    return model, AnnotatedArrays(images, known, CLASSES, task=model.task)


@pytest.mark.parametrize("kind", ["retinanet", "faster_rcnn", "unet"])
def test_the_report_shows_where_errors_come_from_and_the_pictures_as_points(kind, tmp_path):
    model, data = small(kind)
    path = explain.report(model, data, path=tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    for heading in ("Where errors come from", "Pictures as points"):
        assert f"<h2>{heading}</h2>" in page
    assert "Not drawn" not in page
    assert "<dark>" not in page
    came = page.split("<h2>Where errors come from</h2>")[1].split("<h2>")[0]
    assert came.count("<figure>") >= (1 if kind == "unet" else 5)
    points = page.split("<h2>Pictures as points</h2>")[1].split("<h2>")[0]
    assert points.count("<figure>") == 8
    assert ("nothing" in points) == (kind != "unet")  # the first picture is of no class
    assert path.stat().st_size < 10e6
    assert not any(module._forward_hooks for module in model.net.modules())


def test_seconds_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(inside, "SECONDS", -1.0)
    page = explain.report(*small("retinanet"), path=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Where errors come from" not in page
    assert "Pictures as points" in page  # of the first batch


def several():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    model = lamina.Classifier(net, classes=CLASSES, preprocess=Preprocess(size=(64, 64)), multi_label=True)
    labels = torch.tensor([[1, 1], [0, 1], [1, 0], [0, 0]] * 2)
    return model, ImageDataset(scene()[0], labels, CLASSES)


def test_of_several_labels_the_surest_wrong_ones_are_explained_and_pictures_stand_by_their_first(tmp_path):
    page = explain.report(*several(), path=tmp_path / "report.html").read_text(encoding="utf-8")
    came = page.split("<h2>Where wrong labels come from</h2>")[1].split("<h2>")[0]
    rows = re.findall(r"<span>#(\d+)</span>", came)
    assert 5 <= len(rows) <= 12
    assert max(map(rows.count, rows)) <= 2
    told = re.findall(r"(missed|not there), given ([\d.]+).%", came)
    assert len(told) == len(rows)
    wrong = [float(share) if what == "not there" else 100 - float(share) for what, share in told]
    assert wrong == sorted(wrong, reverse=True)
    points = page.split("<h2>Pictures as points</h2>")[1].split("<h2>")[0]
    assert "the first of its labels" in points
    assert "no label" in points
    assert "<dark>" not in page


def test_a_detector_is_explained_by_its_surest_box_or_by_that_of_a_class():
    model, _ = small("retinanet")
    picture = scene()[0][1]
    heat = explain.grad_cam(model, picture)
    surest = max(model.predict([picture], threshold=0.0)[0], key=lambda box: box.score)
    assert (heat.label, heat.answer) == (surest.label, pytest.approx(surest.score, abs=1e-5))
    assert explain.grad_cam(model, picture, label="<dark>").label == "<dark>"
    model.suppression = Suppression(least_score=0.9999)
    with pytest.raises(LaminaError, match=r"finds no bright.*another class"):
        explain.grad_cam(model, picture, label="bright")
    with pytest.raises(LaminaError, match="Leave the layer out"):
        explain.grad_cam(model, picture, layer="net.trunk")
    with pytest.raises(LaminaError, match="Take Grad-CAM"):
        explain.occlusion(model, picture)


@pytest.mark.parametrize("network", ["retinanet", "unet"])
def test_annotated_pictures_are_points_by_the_map_that_the_head_stands_on(network):
    model, data = small(network)
    found = explain.embeddings(model, data)
    assert (len(found.points), found.features.shape[1], found.layer) == (8, 64, "the head")


def test_of_several_labels_the_first_is_the_class_of_a_point():
    found = explain.embeddings(*several())
    assert found.classes == (*CLASSES, "no label")
    assert found.labels.tolist() == [0, 1, 0, 2] * 2
