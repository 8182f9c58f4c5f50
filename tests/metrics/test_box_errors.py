"""Each way to err, once, in one picture, by TIDE's definitions; and that what is covered by an error is not missed as well."""

import json

import numpy as np
import pytest

from lamina.core.errors import LaminaError, UnknownNameError
from lamina.metrics import FoundBoxes, TrueBoxes, detection_errors
from lamina.metrics.box_errors import KINDS

CAT, DOG = 0, 1
OBJECTS = [
    (CAT, [0, 0, 10, 10]),  # found, and once more
    (CAT, [100, 0, 110, 10]),  # poorly placed
    (DOG, [200, 0, 210, 10]),  # called a cat
    (DOG, [300, 0, 310, 10]),  # missed: what is near has another class, and is poorly placed
    (DOG, [400, 0, 410, 10]),  # missed
    (CAT, [500, 0, 600, 100]),  # a crowd
    (CAT, [9, 9, 9, 9]),  # covers nothing
]
FOUND = [
    ("right", CAT, [0, 0, 10, 9], 0.9),
    ("duplicate", CAT, [0, 0, 10, 10], 0.8),
    ("poorly placed", CAT, [100, 0, 110, 4], 0.9),  # overlaps by 0.4
    ("wrong class", CAT, [200, 0, 210, 10], 0.9),
    ("wrong class and place", CAT, [300, 0, 310, 4], 0.9),
    ("background", CAT, [400, 0, 410, 0.5], 0.9),  # overlaps a dog by 0.05
    ("background", DOG, [900, 0, 910, 10], 0.9),
    ("left out", CAT, [510, 10, 520, 20], 0.9),
    ("left out", DOG, [400, 0, 410, 10], 0.4),
]


def made(images=0):
    labels, boxes = zip(*OBJECTS, strict=True)
    crowd = np.arange(len(labels)) == 5
    told = TrueBoxes(np.full(len(labels), images), labels, np.array(boxes, float), crowd)
    _, kinds, own, scores = zip(*FOUND, strict=True)
    return told, FoundBoxes(np.full(len(kinds), images), kinds, np.array(own, float), np.array(scores))


def test_each_detection_is_what_tide_calls_it():
    told = detection_errors(*made(), classes=("cat", "dog"))
    assert [KINDS[kind] for kind in told.kinds] == [kind for kind, *_ in FOUND]
    assert told.of("background").tolist() == [5, 6]
    with pytest.raises(UnknownNameError, match="kind of detection called 'bad'"):
        told.of("bad")


def test_what_somebody_meant_is_not_missed():
    told = detection_errors(*made())
    assert told.missed.tolist() == [3, 4]
    assert detection_errors(*made(), score=0.3).missed.tolist() == [3]


def test_counts_of_all_and_of_each_class():
    told = detection_errors(*made(), classes=("cat", "dog"))
    assert (told.counts["right"], told.counts["background"], told.counts["missed"]) == (1, 2, 2)
    assert (told.per_class["dog"]["missed"], told.per_class["cat"]["missed"]) == (2, 0)
    assert told.per_class["cat"]["wrong class"] == 1  # of the class that was named
    lines = str(told).splitlines()
    assert lines[0].split("  ")[-1] == "missed"
    assert lines[1].split() == ["all", "1", "1", "1", "1", "1", "2", "2"]
    assert lines[-1] == "Detections with a score of at least 0.5."
    assert json.loads(json.dumps(told.to_dict()))["classes"]["dog"]["missed"] == 2
    assert "<td>cat</td>" in told._repr_html_() or "cat</td>" in told._repr_html_()
    assert "2 missed" in repr(told)


def test_boxes_of_other_pictures_are_nothing():
    told, _ = made()
    _, have = made(images=1)
    errors = detection_errors(told, have)
    assert errors.counts["background"] == 8  # all of at least 0.5
    assert errors.missed.tolist() == [0, 1, 2, 3, 4]


def test_nothing_found_and_nothing_there():
    told, have = made()
    none = FoundBoxes([], [], np.zeros((0, 4)), np.zeros(0))
    assert detection_errors(told, none).counts == {**dict.fromkeys(KINDS, 0), "missed": 5}
    nobody = TrueBoxes([], [], np.zeros((0, 4)))
    assert detection_errors(nobody, have).counts["background"] == 8
    assert detection_errors(nobody, none).counts["missed"] == 0


def test_limits_the_wrong_way_round_are_refused():
    with pytest.raises(LaminaError, match=r"background is 0.6, overlap 0.5"):
        detection_errors(*made(), background=0.6)
