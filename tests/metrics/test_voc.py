"""VOC's average precision: worked out by hand, and by the devkit's rule written as loops on made-up cases."""

import json

import numpy as np
import pytest

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.metrics import FoundBoxes, TrueBoxes, coco_scores, voc_scores
from lamina.structures.boxes import convert, overlap

BOX, OTHER, FAR = [0, 0, 10, 10], [50, 50, 60, 60], [200, 200, 210, 210]


def truth(*boxes, crowd=None, labels=None):
    count = len(boxes)
    labels = np.zeros(count) if labels is None else labels
    return TrueBoxes(np.zeros(count), labels, np.reshape(np.array(boxes, float), (-1, 4)), crowd)


def found(*boxes, scores, labels=None):
    count = len(boxes)
    labels = np.zeros(count) if labels is None else labels
    return FoundBoxes(np.zeros(count), labels, np.reshape(np.array(boxes, float), (-1, 4)), np.array(scores, float))


def test_area_and_eleven_points_by_hand():
    # right, wrong, right: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    told, have = truth(BOX, OTHER), found(BOX, FAR, OTHER, scores=[0.9, 0.8, 0.7])
    assert voc_scores(told, have).mean_ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert voc_scores(told, have, points=11).mean_ap == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)  # 0 to 0.5, 0.6 to 1
    curve = voc_scores(told, have).curves[0]
    assert curve.recall.tolist() == [0.5, 0.5, 1]
    assert curve.precision == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.scores.tolist() == [0.9, 0.8, 0.7]


def test_a_recall_of_three_tenths_is_one_of_the_eleven():
    boxes = [[20 * at, 0, 20 * at + 10, 10] for at in range(10)]
    told = voc_scores(truth(*boxes), found(*boxes[:3], scores=[0.9, 0.8, 0.7]), points=11)
    assert told.mean_ap == pytest.approx(4 / 11)  # 0, 0.1, 0.2 and 0.3, which 3 * 0.1 is more than


def test_only_the_object_that_is_overlapped_most_counts():
    near = [0, 0, 10, 9]  # overlaps BOX by 0.9, the other by 8/9, which is free
    told, have = truth(BOX, [0, 0, 10, 8]), found(BOX, near, scores=[0.9, 0.8])
    assert voc_scores(told, have).mean_ap == pytest.approx(0.5)
    assert coco_scores(told, have)["AP50"] == pytest.approx(1)  # COCO gives it the second best


def test_of_two_objects_that_are_overlapped_alike_the_first_counts():
    one, other = [0, 0, 10, 10], [4, 0, 14, 10]
    have = found([2, 0, 12, 10], one, scores=[0.9, 0.8])  # overlaps both by 2/3; the second box is `one`
    assert voc_scores(truth(one, other), have).mean_ap == pytest.approx(0.5)
    assert voc_scores(truth(other, one), have).mean_ap == pytest.approx(1)


def test_half_an_overlap_is_enough_and_of_two_claims_the_higher_score_is_right():
    told = voc_scores(truth(BOX), found([0, 0, 10, 5], BOX, scores=[0.9, 0.8]))
    assert told.mean_ap == pytest.approx(1)
    assert told.curves[0].precision.tolist() == [1, 0.5]
    assert voc_scores(truth(BOX), found([0, 0, 10, 5], scores=[0.9]), overlap=0.51).mean_ap == 0


def test_difficult_objects_are_neither_right_nor_wrong_and_none_to_find():
    told = truth(BOX, OTHER, crowd=[True, False])
    scores = voc_scores(told, found(BOX, BOX, OTHER, scores=[0.9, 0.8, 0.7]))
    assert (scores.mean_ap, scores.truths.tolist(), scores.curves[0].recall.tolist()) == (1, [1], [1])
    # an overlap with a difficult one is that of any two boxes: a small part of it does not lie "within"
    assert voc_scores(told, found([0, 0, 4, 4], OTHER, scores=[0.9, 0.7])).mean_ap == pytest.approx(0.5)


def test_prints_names_and_classes_without_truth_do_not_count():
    scores = voc_scores(
        truth(BOX, labels=[1]), found(BOX, FAR, scores=[0.9, 0.8], labels=[1, 0]), classes=("a", "b", "c")
    )
    assert (scores["b"], scores.mean_ap) == (1, 1)
    assert np.isnan(scores["a"])
    assert str(scores).splitlines()[1:] == [
        "all  1.000       1      2",
        "a        -       0      1",
        "b    1.000       1      1",
    ]
    told = json.loads(json.dumps(scores.to_dict()))
    assert (told["mean_ap"], told["classes"]["a"]["AP"]) == (1, None)
    assert "<td>1.000</td>" in scores._repr_html_()
    with pytest.raises(UnknownNameError, match="class called 'd'"):
        scores["d"]


def test_nothing_gives_no_number_and_degenerate_truth_is_left_out():
    assert np.isnan(voc_scores(truth(), found(scores=[])).mean_ap)
    assert np.isnan(voc_scores(truth(), found(BOX, scores=[0.5]), classes=("a",)).mean_ap)
    assert voc_scores(truth(BOX), found(scores=[])).mean_ap == 0
    scores = voc_scores(truth(BOX, [3, 3, 3, 9]), found(BOX, scores=[0.5]))
    assert (scores.mean_ap, scores.degenerate) == (1, 1)


def test_other_points_and_overlaps_are_refused():
    with pytest.raises(LaminaError, match="points is 12"):
        voc_scores(truth(BOX), found(BOX, scores=[1]), points=12)
    with pytest.raises(LaminaError, match="overlap is 0"):
        voc_scores(truth(BOX), found(BOX, scores=[1]), overlap=0)


def by_the_devkit(told, have, label, total):
    """VOCevaldet: right (1), wrong (0) or passed over (None) of each detection, the highest score first; and the two averages."""
    rows = [row for row in np.argsort(-have.scores, kind="stable") if have.labels[row] == label]
    claimed, marks = set(), []
    for row in rows:
        best, which = -np.inf, None
        for at in np.flatnonzero((told.images == have.images[row]) & (told.labels == label)):
            shared = overlap(have.boxes_xyxy[row], told.boxes_xyxy[at])
            if shared > best:
                best, which = shared, at
        if best >= 0.5:
            marks.append(None if told.crowd[which] else int(which not in claimed))
            claimed.add(which)
        else:
            marks.append(0)
    marks = [mark for mark in marks if mark is not None]
    recall, precision = np.cumsum(marks) / total, np.cumsum(marks) / np.arange(1, len(marks) + 1)
    eleven = np.mean([max(precision[recall >= level / 10 - 1e-12], default=0) for level in range(11)])
    edges, heights = np.r_[0, recall, 1], np.r_[0, precision, 0]
    for at in range(len(heights) - 2, -1, -1):
        heights[at] = max(heights[at], heights[at + 1])
    steps = np.flatnonzero(edges[1:] != edges[:-1]) + 1
    return eleven, np.sum((edges[steps] - edges[steps - 1]) * heights[steps])


@pytest.mark.parametrize("seed", range(6))
def test_is_the_devkits_rule_on_made_up_cases(seed):
    draw = np.random.default_rng(seed)
    boxes = draw.integers(0, 8, (40, 4)) * 10 + [0, 0, 10, 10]
    boxes[:, 2:] = boxes[:, :2] + draw.integers(1, 6, (40, 2)) * 10
    told = TrueBoxes(draw.integers(0, 5, 40), draw.integers(0, 2, 40), boxes, draw.random(40) < 0.2)
    chosen = draw.integers(0, 40, 150)
    own = convert(boxes[chosen].astype(float), "xyxy", "xywh") + draw.integers(0, 2, (150, 4)) * 10
    images = np.where(draw.random(150) < 0.9, told.images[chosen], draw.integers(0, 5, 150))
    order = np.argsort(
        images, kind="stable"
    )  # the devkit has no rule for equal scores; ours is the order of the pictures
    have = FoundBoxes(
        images[order], told.labels[chosen][order], convert(own, "xywh", "xyxy")[order], draw.integers(0, 30, 150) / 30
    )
    area, eleven = voc_scores(told, have), voc_scores(told, have, points=11)
    for label in range(2):
        total = int(((told.labels == label) & ~told.crowd).sum())
        assert (eleven.ap[label], area.ap[label]) == pytest.approx(by_the_devkit(told, have, label, total), abs=1e-12)
