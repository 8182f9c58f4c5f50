"""Boxes as they are given with pictures: what is understood, and how what is not is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lamina.core.errors import DataError, LaminaError, ShapeError
from lamina.structures.annotation import Annotation
from lamina.tasks.detection.boxed import as_data

BOX = [[10.0, 10, 40, 40]]
GOOD: dict[str, Any] = {"boxes": BOX, "labels": [0]}


def given(*y: Any) -> Any:
    return as_data(torch.zeros(len(y), 3, 64, 64, dtype=torch.uint8), list(y), None)


def test_a_picture_without_objects_may_come_with_empty_lists() -> None:
    data = given({"boxes": [], "labels": []}, GOOD)
    known = data.annotation(0)
    assert (len(known), tuple(known.boxes_xyxy.shape), known.labels.dtype) == (0, (0, 4), torch.int64)
    assert data.annotation(1).boxes_xyxy.tolist() == BOX


def test_what_else_a_dict_holds_does_no_harm() -> None:
    data = given({**GOOD, "file_name": "a.jpg", "image_id": 3, "weather": "dry", "class_names": ["a"], "masks": None})
    assert data.annotation(0).labels.tolist() == [0]
    assert data.annotation(0).extras["weather"] == "dry"


def test_labels_below_zero_are_refused() -> None:
    with pytest.raises(DataError, match=r"y holds the label -1\. Labels are numbers of classes, from 0 on"):
        given({"boxes": BOX, "labels": [-1]})


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"boxes": BOX, "label": [0]}, DataError, "has boxes, no labels, and beside it label"),
        (
            {"boxes": BOX, "category_ids": [2]},
            DataError,
            "A dict of y has boxes, no labels, and beside it category_ids",
        ),
        ({"boxes": BOX, "weather": "dry", "classes": [2]}, DataError, "no labels, and beside it weather, classes"),
        ({"bbox": BOX, "labels": [0]}, DataError, "has labels, no boxes, and beside it bbox"),
        ({"boxes": BOX, "labels": ["cat"]}, DataError, "labels of an annotation came as list, which is no array"),
        ({"boxes": BOX, "labels": [0, 1]}, ShapeError, "2 labels, 1 boxes_xyxy"),
    ],
)
def test_what_is_wrong_with_a_dict_is_told_with_the_picture(wrong: Any, kind: type[LaminaError], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        given(GOOD, wrong)
    assert raised.value.__notes__ == ["It is of picture 1."]


def test_boxes_in_no_rows_are_named_with_their_picture() -> None:
    with pytest.raises(DataError, match=r"The boxes of picture 1 have shape \(0,\)"):
        given(GOOD, Annotation(boxes_xyxy=torch.zeros(0), labels=torch.zeros(0, dtype=torch.int64)))
