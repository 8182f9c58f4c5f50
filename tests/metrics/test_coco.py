"""COCO's numbers: worked out by hand, the official ones of a real evaluation, and pycocotools' on made-up cases of every kind."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch

from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.metrics import FoundBoxes, TrueBoxes, coco_scores
from lamina.metrics import box_rows as rows_file
from lamina.metrics.coco import NUMBERS
from lamina.structures import Annotation, Detections
from lamina.structures.boxes import convert

BOX, OTHER, FAR = [0, 0, 10, 10], [50, 50, 60, 60], [200, 200, 210, 210]


def truth(*boxes, images=None, labels=None, crowd=None, area=None):
    count = len(boxes)
    images, labels = np.zeros(count) if images is None else images, np.zeros(count) if labels is None else labels
    return TrueBoxes(images, labels, np.reshape(np.array(boxes, float), (-1, 4)), crowd, area)


def found(*boxes, scores, images=None, labels=None):
    count = len(boxes)
    images, labels = np.zeros(count) if images is None else images, np.zeros(count) if labels is None else labels
    return FoundBoxes(images, labels, np.reshape(np.array(boxes, float), (-1, 4)), np.array(scores, float))


def test_all_found_is_one_and_sizes_that_are_not_there_are_no_number():
    scores = coco_scores(truth(BOX), found(BOX, scores=[0.9]))
    ones = {name for name, value in scores.numbers.items() if value == pytest.approx(1)}
    assert ones == {"AP", "AP50", "AP75", "APsmall", "AR1", "AR10", "AR100", "ARsmall"}  # 100 square pixels are small
    assert all(np.isnan(value) for name, value in scores.numbers.items() if name not in ones)


def test_an_overlap_of_exactly_one_half_counts_at_one_threshold_of_ten():
    scores = coco_scores(truth(BOX), found([0, 0, 10, 5], scores=[0.9]))
    assert [scores[name] for name in ("AP", "AP50", "AP75", "AR100")] == pytest.approx([0.1, 1, 0, 0.1])


def test_precision_is_the_best_at_a_recall_or_a_higher_one():
    # right, wrong, right: precision 1 up to a recall of 0.5 (51 levels), then 2 of 3 (50 levels)
    scores = coco_scores(truth(BOX, OTHER), found(BOX, FAR, OTHER, scores=[0.9, 0.8, 0.7]))
    assert scores["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    curve = scores.curve(0)
    assert curve.precision[[0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert curve.scores[[0, 50, 51, 100]].tolist() == [0.9, 0.9, 0.7, 0.7]
    # wrong, right, right: 1 of 2 at a recall of 0.5 is bettered by 2 of 3 at 1
    assert coco_scores(truth(BOX, OTHER), found(FAR, BOX, OTHER, scores=[0.9, 0.8, 0.7]))["AP"] == pytest.approx(2 / 3)
    # wrong, right: 1 of 2 up to 0.5, never more
    curve = coco_scores(truth(BOX, OTHER), found(FAR, BOX, scores=[0.9, 0.8])).curve(0)
    assert curve.precision[[0, 50, 51]] == pytest.approx([0.5, 0.5, 0])
    assert np.isnan(curve.scores[51])


def test_each_object_is_found_once_and_a_second_best_may_be_taken():
    near = [0, 0, 10, 9]  # overlaps BOX by 0.9, and [0, 0, 10, 8] by 8/9
    scores = coco_scores(truth(BOX, [0, 0, 10, 8]), found(BOX, near, near, scores=[0.9, 0.8, 0.7]))
    # BOX takes the first, near the second, the third has nothing: at 0.5 both are found before anything is wrong
    assert scores["AP50"] == pytest.approx(1)
    assert scores["AR100"] == pytest.approx((8 * 1 + 2 * 0.5) / 10)  # 8/9 is enough up to 0.85


def test_of_two_objects_that_are_overlapped_alike_the_last_is_taken():
    one, other = [0, 0, 10, 10], [4, 0, 14, 10]
    told = found([2, 0, 12, 10], other, scores=[0.9, 0.8])  # overlaps both by 2/3; the second box fits `other` alone
    assert coco_scores(truth(one, other), told)["AP50"] == pytest.approx(51 / 101)  # which the first has taken
    assert coco_scores(truth(other, one), told)["AP50"] == pytest.approx(1)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    crowd = [100, 100, 300, 300]
    inside = ([110, 110, 130, 130], [150, 150, 170, 170])
    told = truth(BOX, crowd, crowd=[False, True])
    assert coco_scores(told, found(*inside, BOX, scores=[0.9, 0.8, 0.7]))["AP"] == pytest.approx(1)
    assert coco_scores(truth(BOX), found(*inside, BOX, scores=[0.9, 0.8, 0.7]))["AP"] == pytest.approx(1 / 3)


def test_an_object_that_counts_goes_before_a_crowd_that_is_overlapped_more():
    told = truth([0, 0, 100, 100], BOX, crowd=[True, False])  # all of the detection lies in the crowd, 0.9 in BOX
    assert coco_scores(told, found([0, 0, 10, 9], scores=[0.9]))["AP50"] == pytest.approx(1)


def test_sizes_go_by_the_annotated_area_and_leave_out_others():
    large, small = [0, 0, 100, 100], [200, 200, 210, 210]
    told = found(large, small, FAR, [400, 400, 500, 500], scores=[0.5, 0.9, 0.8, 0.7])
    scores = coco_scores(truth(large, small), told)
    assert scores["APlarge"] == pytest.approx(0.5)  # one wrong one of that size stands before it
    assert scores["APsmall"] == pytest.approx(1)  # FAR is `small` a second time, after it
    scores = coco_scores(truth(large, small, area=[50, 50]), told)
    assert np.isnan(scores["APlarge"])
    # the levels to 0.50 have precision 1; the large one is the third of those that count: its own box decides nothing
    assert scores["APsmall"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert (
        coco_scores(truth(large, area=[32**2]), told)["ARsmall"]
        == coco_scores(truth(large, area=[32**2]), told)["ARmedium"]
    )


def test_recall_of_one_ten_and_a_hundred_detections_of_a_class_in_a_picture():
    far = [[20 * at, 400, 20 * at + 10, 410] for at in range(100)]
    scores = coco_scores(truth(BOX, OTHER), found(BOX, *far[:8], OTHER, scores=np.linspace(1, 0.1, 10)))
    assert [scores[name] for name in ("AR1", "AR10", "AR100")] == pytest.approx([0.5, 1, 1])
    scores = coco_scores(truth(BOX), found(*far, BOX, scores=np.linspace(1, 0.1, 101)))
    assert scores["AR100"] == 0
    other = found(*far, BOX, scores=np.linspace(1, 0.1, 101), labels=[1] * 100 + [0])
    assert coco_scores(truth(BOX), other)["AR100"] == pytest.approx(1)  # the limit is of each class


def test_equal_scores_come_in_the_order_of_the_pictures_whatever_the_order_of_the_rows():
    wrong_first = found(BOX, FAR, scores=[0.5, 0.5], images=[1, 0])
    right_first = found(BOX, FAR, scores=[0.5, 0.5], images=[1, 2])
    told = truth(BOX, images=[1])
    assert (coco_scores(told, wrong_first)["AP"], coco_scores(told, right_first)["AP"]) == pytest.approx((0.5, 1))


def test_classes_have_their_own_numbers_and_those_without_truth_do_not_count():
    told = truth(BOX, OTHER, labels=[0, 2])
    scores = coco_scores(told, found(BOX, FAR, FAR, scores=[0.9, 0.8, 0.7], labels=[0, 1, 2]), classes=("a", "b", "c"))
    assert {name: each["AP"] for name, each in scores.per_class.items()} == pytest.approx(
        {"a": 1, "b": np.nan, "c": 0}, nan_ok=True
    )
    assert scores["AP"] == pytest.approx(0.5)
    assert scores.curve("a").precision.tolist() == pytest.approx([1] * 101)
    lines = str(scores).splitlines()
    assert [line.split()[0] for line in lines] == [
        "AP",
        "all",
        "c",
        "a",
        "b",
    ]  # the worst first, what is no number last
    told = json.loads(json.dumps(scores.to_dict()))
    assert told["AP"] == pytest.approx(0.5)
    assert (told["classes"]["b"]["AP"], told["classes"]["b"]["detections"]) == (None, 1)
    assert "<td>0.500</td>" in scores._repr_html_()
    assert "AP=0.5000" in repr(scores)


def test_a_class_that_validation_alone_has_is_never_found_and_counts():
    scores = coco_scores(truth(BOX, OTHER, labels=[0, 2]), found(BOX, scores=[0.9]), classes=("a",))
    assert scores.classes == ("a", "class 1", "class 2")
    assert scores["AP"] == pytest.approx(0.5)


def test_degenerate_boxes_are_left_out_and_counted():
    told = truth(BOX, [5, 5, 5, 9], [9, 9, 4, 4], [0, 0, np.inf, 5], [np.nan] * 4)
    scores = coco_scores(told, found(BOX, scores=[0.9]))
    assert (scores["AP"], scores.degenerate) == (pytest.approx(1), 4)
    assert str(scores).endswith("4 annotated boxes cover nothing and were left out.")


def test_nothing_at_all_gives_no_number_and_no_error():
    for told, have in ((truth(), found(scores=[])), (truth(), found(BOX, scores=[0.5]))):
        scores = coco_scores(told, have, classes=("a",))
        assert all(np.isnan(value) for value in scores.numbers.values())
        assert "all" in str(scores)
    scores = coco_scores(truth(BOX), found(scores=[]))
    assert (scores["AP"], scores["AR100"]) == (0, 0)


def test_takes_annotations_and_results_of_pictures_with_and_without_boxes():
    notes = [
        Annotation(boxes_xyxy=torch.tensor([BOX, OTHER]).float(), labels=torch.tensor([0, 1])),
        Annotation(),
        Annotation(boxes_xyxy=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64)),
        Annotation(boxes_xyxy=torch.tensor([FAR]).float(), crowd=torch.tensor([True]), area_px=torch.tensor([7.0])),
    ]
    none = Detections(("a", "b"), [], [], [])
    results = [
        Detections(("a", "b"), [BOX, OTHER], [0, 1], [0.5, 0.6]),
        none,
        none,
        Detections(("a", "b"), [FAR], [0], [0.9]),
    ]
    assert coco_scores(notes, results)["AP"] == pytest.approx(1)
    with pytest.raises(DataError, match="annotations of 4 pictures and detections in 3"):
        coco_scores(notes, results[:3])


def test_detections_that_are_no_numbers_are_refused_with_their_picture():
    with pytest.raises(DataError, match=r"Picture 7 has the detection .* with score nan; 1 detections"):
        found(BOX, BOX, scores=[0.5, np.nan], images=[3, 7])
    with pytest.raises(DataError, match="Picture 3 has the detection"):
        found([0, 0, np.inf, 1], scores=[0.5], images=[3])


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="Columns of 2, 1, 1, 1"):
        FoundBoxes([0, 0], [0], np.zeros((1, 4)), [0.5])
    with pytest.raises(ShapeError, match=r"boxes \(N, 4\)"):
        TrueBoxes([0], [0], np.zeros((1, 5)))
    for wrong in (-1, 0.5, 1 << 16):
        with pytest.raises(DataError, match=f"labels hold {wrong}"):
            truth(BOX, labels=[wrong])
    with pytest.raises(DataError, match="images hold 1152921504606846976"):  # would overflow beside a class
        truth(BOX, images=[1 << 60])
    scores = coco_scores(truth(BOX), found(BOX, scores=[0.5]))
    with pytest.raises(UnknownNameError, match="number of COCO's called 'AP60'"):
        scores["AP60"]
    with pytest.raises(UnknownNameError, match="class called 'dog'"):
        scores.curve("dog")
    with pytest.raises(UnknownNameError, match="size called 'tiny'"):
        scores.curve(0, area="tiny")
    with pytest.raises(LaminaError, match=r"overlap of 0.52.*0.55"):
        scores.curve(0, overlap=0.52)


def test_many_pairs_are_compared_piece_by_piece(monkeypatch):
    told, have, _ = made(3)
    whole = coco_scores(told, have)
    monkeypatch.setattr(rows_file, "_PAIRS", 3)
    assert np.array_equal(whole.precision, coco_scores(told, have).precision, equal_nan=True)


def made(seed):
    """Objects and detections: crowds, ties of scores and of overlaps, pictures with nothing, classes without truth."""
    draw = np.random.default_rng(seed)
    pictures, classes = draw.integers(1, 12), draw.integers(1, 5)
    count, many = draw.integers(0, 60), draw.integers(0, 400)
    step = draw.choice([1, 4, 16])  # the coarser, the more overlaps are equal, or equal to a threshold
    images, labels = draw.integers(0, pictures, count), draw.integers(0, classes, count)
    place = draw.integers(0, 200 // step, (count, 2)) * step
    boxes = np.concatenate([place, draw.integers(1, 160 // step + 1, (count, 2)) * step], axis=1).astype(float)
    where, kinds = draw.integers(0, pictures, many), draw.integers(0, classes, many)
    place = draw.integers(0, 200 // step, (many, 2)) * step
    own = np.concatenate([place, draw.integers(1, 160 // step + 1, (many, 2)) * step], axis=1).astype(float)
    if count:
        near, chosen = draw.random(many) < 0.7, draw.integers(0, count, many)
        moved = boxes[chosen] + draw.integers(-2, 3, (many, 4)) * step * draw.integers(0, 2, (many, 1))
        own[near], where[near] = moved[near], images[chosen][near]
        same = near & (draw.random(many) < 0.8)
        kinds[same] = labels[chosen][same]
    own[:, 2:] = np.maximum(own[:, 2:], 1)
    scores = draw.integers(0, draw.choice([3, 20, 100_000]), many) / 100_000
    crowd = draw.random(count) < draw.choice([0, 0.2])
    area = boxes[:, 2] * boxes[:, 3] * draw.choice([1, 0.5])
    told = TrueBoxes(images, labels, convert(boxes, "xywh", "xyxy"), crowd, area)
    return told, FoundBoxes(where, kinds, convert(own, "xywh", "xyxy"), scores), (pictures, classes)


def by_pycocotools(told, have, pictures, classes):
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    sets = {
        "info": {},
        "images": [{"id": at} for at in range(pictures)],
        "categories": [{"id": at} for at in range(classes)],
    }
    boxes, own = convert(told.boxes_xyxy, "xyxy", "xywh").tolist(), convert(have.boxes_xyxy, "xyxy", "xywh").tolist()
    notes = [
        {
            "id": at + 1,
            "image_id": int(image),
            "category_id": int(label),
            "bbox": box,
            "iscrowd": int(crowd),
            "area": area,
        }
        for at, (image, label, box, crowd, area) in enumerate(
            zip(told.images, told.labels, boxes, told.crowd, told.area_px, strict=True)
        )
    ]
    results = [
        {"image_id": int(image), "category_id": int(label), "bbox": box, "score": score}
        for image, label, box, score in zip(have.images, have.labels, own, have.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        true = coco.COCO()
        true.dataset = {**sets, "annotations": notes}
        true.createIndex()
        answers = coco.COCO()
        answers.dataset = {**sets, "annotations": []}
        answers.createIndex()
        evaluator = cocoeval.COCOeval(true, true.loadRes(results) if results else answers, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@pytest.mark.parametrize("seed", range(12))
def test_is_pycocotools_on_made_up_cases(seed):
    told, have, sizes = made(seed)
    evaluator = by_pycocotools(told, have, *sizes)
    scores = coco_scores(told, have, classes=[str(at) for at in range(sizes[1])])
    ours = np.nan_to_num([scores[name] for name in NUMBERS], nan=-1)
    assert ours == pytest.approx(evaluator.stats, abs=1e-9)
    assert np.nan_to_num(scores.precision, nan=-1) == pytest.approx(evaluator.eval["precision"][..., -1], abs=1e-9)
    assert np.nan_to_num(scores.recall, nan=-1) == pytest.approx(evaluator.eval["recall"][..., -1], abs=1e-9)
    few = evaluator.eval["recall"][:, :, 0, :2].transpose(2, 0, 1)
    assert np.nan_to_num(scores.few_recall, nan=-1) == pytest.approx(few, abs=1e-9)
    theirs = evaluator.eval["scores"][..., -1]  # of a recall of 0 it is the first detection's, right or wrong
    reached = scores.precision[:, 1:] > 0
    assert np.array_equal(scores.scores[:, 1:][reached], theirs[:, 1:][reached])


def test_are_the_official_numbers_of_a_real_evaluation(real_data):
    folder = real_data / "coco_eval"
    sets, results, expected = (
        json.loads((folder / name).read_text())
        for name in ("gt_instances.json", "detections.json", "expected_bbox.json")
    )
    notes = sets["annotations"]
    place = {each["id"]: at for at, each in enumerate(sets["categories"])}
    columns = [
        (
            np.array([each["image_id"] for each in rows]),
            np.array([place[each["category_id"]] for each in rows]),
            convert(np.array([each["bbox"] for each in rows], float), "xywh", "xyxy"),
        )
        for rows in (notes, results)
    ]
    told = TrueBoxes(
        *columns[0], np.array([each["iscrowd"] for each in notes]), np.array([each["area"] for each in notes])
    )
    have = FoundBoxes(*columns[1], np.array([each["score"] for each in results]))
    scores = coco_scores(told, have, classes=[each["name"] for each in sets["categories"]])
    assert scores.numbers == pytest.approx(expected, abs=1e-6)
