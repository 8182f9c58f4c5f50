"""How far detections lie apart, in whatever order they come."""

from __future__ import annotations

import math

import numpy as np

from lamina.export.boxes_apart import apart

ROWS = np.array(
    [[[10, 10, 50, 60, 0.9, 1], [20, 30, 90, 100, 0.6, 0], [5, 5, 9, 9, 0.3, 1], [0, 0, 0, 0, 0, -1]]], np.float32
)


def test_the_same_are_not_apart() -> None:
    assert apart(ROWS, ROWS) == (0.0, 1.0)


def test_where_nothing_was_found_nothing_is_shared() -> None:
    difference, both = apart(ROWS[:, 3:], ROWS[:, 3:])
    assert difference == 0
    assert math.isnan(both)
    assert apart(ROWS, np.tile(ROWS[:, 3:], (1, 4, 1))) == (0.0, 0.0)


def test_the_order_does_not_matter() -> None:
    assert apart(ROWS, ROWS[:, [1, 0, 2, 3]]) == (0.0, 1.0)


def test_differences_are_those_of_scores_and_of_sides_as_shares() -> None:
    other = ROWS.copy()
    other[0, 0, 4] -= 0.02
    other[0, 1, 2] += 5
    difference, both = apart(ROWS, other)
    assert math.isclose(difference, 0.05, rel_tol=1e-5)
    assert both == 1.0


def test_what_one_alone_found_lowers_the_share() -> None:
    missing = ROWS.copy()
    missing[0, 1] = [0, 0, 0, 0, 0, -1]
    renamed = ROWS.copy()
    renamed[0, 1, 5] = 1
    assert apart(ROWS, missing) == (0.0, 4 / 5)
    assert apart(ROWS, renamed) == (0.0, 4 / 6)


def test_what_is_hardly_certain_enough_may_be_left_out() -> None:
    missing = ROWS.copy()
    missing[0, 2] = [0, 0, 0, 0, 0, -1]
    assert apart(ROWS, missing, least_score=0.2999) == (0.0, 1.0)
    assert apart(ROWS, missing, least_score=0.2)[1] < 1
    full, other = ROWS[:, :3], ROWS[:, :3].copy()
    other[0, 2] = [40, 40, 60, 60, 0.3, 0]  # another of those that are as certain is the last one
    assert apart(full, other) == (0.0, 1.0)


def test_numbers_that_are_none_are_infinitely_apart() -> None:
    assert apart(ROWS, np.where(ROWS == 0.9, np.nan, ROWS))[0] == math.inf
    assert apart(ROWS, ROWS[:, :2])[0] == math.inf
