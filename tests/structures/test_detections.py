"""What a detector says of a picture: sorted, filtered, drawn, written in three forms, and refused where it makes no sense."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError, LaminaError, ShapeError, UnknownNameError
from lamina.structures import Detection, Detections
from lamina.structures.detections import NOTHING, brief_score
from lamina.structures.drawing import colour

CLASSES = ("RBC", "<b>WBC</b>")
IMAGE = np.full((3, 40, 80), 200, np.uint8)
BOXES = [[0, 0, 20, 10], [40, 10, 60, 30], [10, 20, 30, 36]]


def found(**more):
    return Detections(CLASSES, BOXES, [0, 1, 0], [0.25, 0.9, 0.5], **more)


def nothing(**more):
    return Detections(CLASSES, [], np.zeros(0, np.int64), [], **more)


def test_the_most_certain_comes_first():
    assert [each.score for each in found()] == [0.9, 0.5, 0.25]
    assert found()[0] == Detection("<b>WBC</b>", 1, 0.9, (40, 10, 60, 30))
    assert len(found()) == 3
    assert (found().boxes_xyxy.dtype, found().labels.dtype) == (np.float32, np.int64)


def test_equal_scores_keep_their_order():
    told = Detections(CLASSES, BOXES, [0, 1, 0], [0.5, 0.9, 0.5])
    assert [each.box_xyxy[0] for each in told] == [40, 0, 10]


def test_takes_tensors_and_nothing():
    told = Detections(CLASSES, torch.tensor(BOXES), torch.tensor([0, 1, 0]), torch.tensor([0.25, 0.9, 0.5]))
    assert list(told) == list(found())
    assert (len(nothing()), str(nothing()), nothing().counts) == (0, NOTHING, {})


def test_filters_by_score_and_by_name():
    assert [each.score for each in found().filtered(score=0.5)] == [0.9, 0.5]
    assert [each.score for each in found().filtered(score=0.9)] == [0.9]  # 0.9 in float32 is less than 0.9
    assert [each.score for each in found().filtered(labels="RBC", score=0.3)] == [0.5]
    assert len(found().filtered(labels=CLASSES)) == 3
    assert found(path="a.jpg").filtered(score=2).path == "a.jpg"
    with pytest.raises(UnknownNameError, match="class called 'RBCs'"):
        found().filtered(labels=["RBCs"])


def test_says_how_many_of_what():
    assert str(found(path="a.jpg")) == "a.jpg: 2 RBC, 1 <b>WBC</b>"
    assert repr(found()) == "Detections(2 RBC, 1 <b>WBC</b>)"


def test_becomes_json():
    told = json.loads(json.dumps(found(path="a.jpg").to_dict()))
    assert told["path"] == "a.jpg"
    assert told["detections"][0] == {"label": "<b>WBC</b>", "index": 1, "score": 0.9, "box_xyxy": [40, 10, 60, 30]}
    assert json.loads(json.dumps(nothing().to_dict())) == {"detections": []}


def test_becomes_entries_of_cocos_results():
    told = json.loads(json.dumps(found().to_coco(139, category_ids=[1, 90])))
    assert told[0] == {"image_id": 139, "category_id": 90, "bbox": [40, 10, 20, 20], "score": 0.9}
    assert told == found().to_coco(139, category_ids={"<b>WBC</b>": 90, "RBC": 1, "dog": 18})
    for wrong in ([1], [1, 2, 3], {"RBC": 1}):
        with pytest.raises(LaminaError, match="One number for each class"):
            found().to_coco(1, category_ids=wrong)


def test_becomes_a_yolo_file():
    first, *others = found(image=IMAGE).to_yolo().splitlines()
    assert first == "1 0.625000 0.500000 0.250000 0.500000 0.900000"  # (40, 10, 60, 30) in 80 x 40
    assert len(others) == 2
    assert found().to_yolo(size=(40, 80)) == found(image=IMAGE).to_yolo()
    assert nothing().to_yolo() == ""
    with pytest.raises(ShapeError, match="no picture"):
        found().to_yolo()


def test_draws_a_frame_in_the_colour_of_its_class_where_it_stands():
    drawn = np.asarray(found(image=IMAGE).filtered(labels="<b>WBC</b>").draw(side_px=80))
    frame = (drawn == colour(1)).all(axis=2)
    rows, columns = np.flatnonzero(frame[:, 10 + 41 : 10 + 59].all(axis=1)), np.flatnonzero(frame.any(axis=0))
    assert abs(rows[-1] - (10 + 29)) <= 1  # its lower edge, in the sheet's margin of 10
    assert columns[-1] >= 10 + 58


def test_names_stand_with_their_score_at_the_boxes(monkeypatch):
    from lamina.structures import drawing

    written = []
    monkeypatch.setattr(drawing, "shortened", lambda text, *_: written.append(text) or text)
    found(image=IMAGE).draw(side_px=400)
    assert {"RBC 0.50", "RBC 0.25", "<b>WBC</b> 0.90", "2 RBC, 1 <b>WBC</b>"} <= set(written)


def test_a_picture_is_drawn_as_it_is_seen(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (80, 40), (9, 9, 9)).save(tmp_path / "a.jpg", exif=turned)
    told = Detections(CLASSES, [[0, 60, 40, 80]], [0], [0.9], path=str(tmp_path / "a.jpg"))
    assert told.to_yolo().startswith("0 0.500000 0.875000 1.000000 0.250000")  # of 40 x 80
    assert told.draw(side_px=80).height > 80


def test_shows_itself_in_a_notebook():
    for told in (found(image=IMAGE), found(), nothing(image=IMAGE), nothing()):
        page = told._repr_html_()
        HTMLParser().feed(page)
        assert ("<img" in page) == (told.image is not None)
        assert "<b>WBC" not in page
    assert "&lt;b&gt;WBC&lt;/b&gt;</td><td>1</td><td>0.90" in found()._repr_html_()


def test_a_score_is_never_rounded_up_to_certainty():
    assert [brief_score(score) for score in (0.997, 1.0, 0.984, 0.0, -1.25)] == [
        "0.99",
        "1.00",
        "0.98",
        "0.00",
        "-1.25",
    ]


@pytest.mark.parametrize(
    ("boxes", "labels", "scores"),
    [(BOXES, [0, 1], [0.1, 0.2, 0.3]), (BOXES, [0, 1, 0], [0.5]), ([[1, 2, 3]], [0], [0.5]), (BOXES[0], [0], [0.5])],
)
def test_refuses_what_differs_in_number(boxes, labels, scores):
    with pytest.raises(ShapeError, match=r"boxes_xyxy has shape .*Boxes \(N, 4\)"):
        Detections(CLASSES, boxes, labels, scores)


@pytest.mark.parametrize(("box", "score"), [([0, 0, np.nan, 1], 0.5), ([0, 0, 1, 1], np.inf)])
def test_refuses_what_is_no_number(box, score):
    with pytest.raises(DataError, match="Of 2 detections 1 have a box or score that is no finite number"):
        Detections(CLASSES, [[0, 0, 1, 1], box], [0, 0], [0.5, score])


@pytest.mark.parametrize("labels", [[0, 2], [-1, 0], [0.0, 1.0]])
def test_refuses_labels_beyond_the_classes(labels):
    with pytest.raises(DataError, match=r"beside 2 classes.*from 0 to 1"):
        Detections(CLASSES, BOXES[:2], labels, [0.5, 0.4])


def test_a_slice_positions_and_a_mask_give_detections():
    told = found(path="a.jpg")
    assert isinstance(told[:2], Detections)
    assert list(told[:2]) == [told[0], told[1]]
    assert told[:2].path == "a.jpg"
    for rows in ([0, 2], np.array([2, 0]), torch.tensor([0, 2]), told.scores != 0.5):
        assert list(told[rows]) == [told[0], told[2]]
    assert len(told[[]]) == 0
    assert told[-1] == told[np.int64(2)] == told[torch.tensor(2)] == list(told)[2]
    with pytest.raises(IndexError, match="out of bounds"):
        told[3]
    assert len(nothing()[:2]) == 0
