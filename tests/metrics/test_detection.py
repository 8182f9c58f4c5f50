"""Detection metrics of a loop: the same for any batches and any number of processes, with ties too."""

import copy

import numpy as np
import pytest
import torch

from lamina import metrics
from lamina.core.errors import DataError, UnknownNameError
from lamina.metrics import CocoAP, VocAP, coco_scores, voc_scores
from lamina.structures import Annotation, Detections

CLASSES = ("a", "b", "c")


def pictures(count=24, seed=0):
    """Results and annotations, some without anything; nearly all scores are shared."""
    draw = np.random.default_rng(seed)
    results, notes = [], []
    for at in range(count):
        objects = draw.integers(0, 5)
        corner = draw.integers(0, 50, (objects, 2))
        boxes = np.concatenate([corner, corner + draw.integers(5, 60, (objects, 2))], axis=1).astype(np.float32)
        labels = draw.integers(0, 3, objects)
        own = np.repeat(boxes, 2, axis=0) + draw.integers(-3, 4, (2 * objects, 4)).astype(np.float32)
        scores = draw.integers(1, 4, 2 * objects) / 4
        results.append(Detections(CLASSES, own, np.repeat(labels, 2), scores))
        told = {"labels": torch.from_numpy(labels), "boxes_xyxy": torch.from_numpy(boxes)}
        if at % 3 == 0:
            told |= {"crowd": torch.from_numpy(draw.random(objects) < 0.3), "area_px": torch.full((objects,), 900.0)}
        notes.append(Annotation(**told) if objects else Annotation())
    return results, notes


def test_batches_change_nothing_and_a_saved_state_goes_on():
    results, notes = pictures()
    expected = coco_scores(notes, results, classes=CLASSES)
    metric, other = CocoAP(CLASSES), CocoAP(CLASSES)
    for start in range(0, 15, 5):
        metric.update(results[start : start + 5], notes[start : start + 5])
        metric.compute()
    other.load_state_dict(copy.deepcopy(metric.state_dict()))
    other.defer(results[15:], notes[15:])
    other.reduce()
    assert 0 < expected["AP"] < 1
    assert float(other.compute()) == float(other.value(*other.sums)) == expected["AP"]
    assert other.scores().numbers == pytest.approx(expected.numbers, abs=0, nan_ok=True)
    assert other.scores() is other.scores()


def test_voc_is_that_of_all_pictures():
    results, notes = pictures()
    for points in ("all", 11):
        metric = VocAP(CLASSES, points=points, overlap=0.6)
        for result, note in zip(results, notes, strict=True):
            metric.update([result], [note])
        expected = voc_scores(notes, results, points=points, overlap=0.6)
        assert float(metric.compute()) == metric.scores().mean_ap == expected.mean_ap


def test_no_picture_is_no_number_and_reset_forgets():
    for metric in (CocoAP(CLASSES), VocAP(CLASSES)):
        assert np.isnan(float(metric.compute()))
        metric.update(*pictures())
        assert float(metric.compute()) > 0
        metric.reset()
        assert np.isnan(float(metric.compute()))
        metric.update([], [])
        assert np.isnan(float(metric.compute()))


def test_other_numbers_look_at_the_same_boxes():
    metric = CocoAP(CLASSES)
    small, recall = metric.others("AP50", "AR10")
    assert (small.name, recall.name) == ("AP50", "AR10")
    results, notes = pictures()
    for each in (metric, small, recall):
        each.update(results, notes)
        each.reduce()
    expected = coco_scores(notes, results)
    assert (float(small.compute()), float(recall.compute())) == (expected["AP50"], expected["AR10"])
    assert not small.state_dict()["sums"]
    with pytest.raises(UnknownNameError, match="number of COCO's"):
        metric.others("AP51")


def test_a_copy_in_a_table_of_metrics_starts_from_nothing():
    metric = CocoAP(CLASSES, name="box_ap")
    metric.update(*pictures())
    fresh = metrics.get(metric)
    assert (fresh.name, fresh.classes) == ("box_ap", CLASSES)
    assert np.isnan(float(fresh.compute()))


def test_results_for_other_pictures_are_refused():
    results, notes = pictures(4)
    with pytest.raises(DataError, match="3 results came for 4 pictures"):
        CocoAP().update(results[:3], notes)


def test_boxes_that_are_no_numbers_are_refused_with_their_picture():
    results, notes = pictures(6)
    metric = CocoAP(CLASSES)
    metric.update(results[:5], notes[:5])
    wrong = Annotation(labels=torch.zeros(1), boxes_xyxy=torch.full((1, 4), torch.nan))
    wrong.__dict__["scores"] = torch.ones(1)  # what a network gave, unchecked
    metric.update([wrong], notes[5:])
    with pytest.raises(DataError, match="Picture 5 has the detection"):
        metric.compute()


def numbers_together(world, batch):
    results, notes = pictures()
    metric, voc = CocoAP(CLASSES), VocAP(CLASSES)
    for start in range(0, len(results), batch):
        count = len(results[start : start + batch])
        mine = slice(start + world.rank * count // world.size, start + (world.rank + 1) * count // world.size)
        if mine.stop > mine.start:
            metric.update(results[mine], notes[mine])
            voc.update(results[mine], notes[mine])
    metric.reduce()
    voc.reduce()
    return {**metric.scores().numbers, "voc": float(voc.compute())}


@pytest.mark.parametrize("batch", [4, 23])  # of the last batch of the second only one process has a picture
def test_is_exact_over_processes_with_equal_scores(together, batch):
    results, notes = pictures()
    expected = {**coco_scores(notes, results).numbers, "voc": voc_scores(notes, results).mean_ap}
    for told in together(numbers_together, batch):
        assert told == pytest.approx(expected, abs=0, nan_ok=True)
    turned = coco_scores(notes[::-1], results[::-1])
    assert turned["AP"] != expected["AP"]  # the order of the pictures does decide here
