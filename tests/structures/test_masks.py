"""Masks: outlines and runs, as COCO's own tools draw them."""

import numpy as np
import pytest

from lamina.core.errors import DataError
from lamina.structures.masks import decode_runs, draw_polygons, draw_shape, encode_runs, mask_area_px, mask_box_xyxy

# what pycocotools 2.0.11 makes of these: frPyObjects, merge, encode
TRIANGLE = ([[1.5, 0.7, 8.2, 3.3, 2.9, 7.6]], (9, 10), "c0461NO101N1O`0")


def rows(mask):
    return ["".join(".#"[pixel] for pixel in row) for row in mask.astype(int)]


def test_a_square_covers_its_pixels():
    assert rows(draw_polygons([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 5))) == [".....", ".###.", ".###.", "....."]


def test_a_slanted_outline_is_drawn_as_pycocotools_draws_it():
    polygons, size, expected = TRIANGLE
    assert encode_runs(draw_polygons(polygons, size)) == {"size": [9, 10], "counts": expected}


def test_several_outlines_are_one_mask_and_what_leaves_the_picture_is_cut():
    mask = draw_polygons([[-5, -5, 2, -5, 2, 2, -5, 2], [1, 1, 99, 1, 99, 99, 1, 99]], (3, 4))
    assert rows(mask) == ["##..", "####", ".###"]


def test_outlines_without_area_hold_nothing():
    assert not draw_polygons([[1, 1], [1, 1, 3, 3], [], [2, 2, 2, 2, 2, 2]], (5, 5)).any()
    assert not draw_shape([], (2, 3)).any()
    assert draw_shape(None, (2, 3)).shape == (2, 3)


def test_runs_go_down_the_columns():
    assert rows(decode_runs({"size": [2, 3], "counts": [1, 3, 2]})) == [".#.", "##."]


def test_runs_come_back_as_they_were():
    random = np.random.default_rng(0)
    for _ in range(200):
        mask = np.repeat(random.random(random.integers(1, 40, 2)) < random.random(), random.integers(1, 60), 0)
        for compressed in (True, False):
            assert (decode_runs(encode_runs(mask, compressed=compressed)) == mask).all()


def test_long_runs_take_several_digits():
    mask = np.zeros((400, 500), dtype=bool)
    mask[7:300, 400:] = True
    runs = encode_runs(mask)
    assert (decode_runs(runs) == mask).all()
    assert runs["counts"].startswith("WXl4")  # 160,007 = 7 + 8 * 32 + 28 * 32 ** 2 + 4 * 32 ** 3


def test_a_mask_that_begins_inside_has_an_empty_first_run():
    assert encode_runs(np.ones((2, 2), dtype=bool), compressed=False)["counts"] == [0, 4]
    assert encode_runs(np.zeros((2, 2), dtype=bool), compressed=False)["counts"] == [4]


def test_area_and_box_of_a_mask():
    mask = draw_polygons([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 5))
    assert mask_area_px(mask) == 6
    assert mask_box_xyxy(mask) == (1, 1, 4, 3)
    assert mask_box_xyxy(np.zeros((3, 3), dtype=bool)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "counts",
    [
        [1, 99],
        [1, 4],
        [-1, 7],
        [1.5, 4.5],
        ["1", "5"],
        [1 << 70],
        [float("nan")],
        [[1], [5]],
        [],
        None,
        7,
        "",
        "é",
        "~~",
        "oooooooooooooo1",
        "P",
        "1e4",
        [3, 1 << 62, 1 << 62, 1 << 62, 1 << 62, 3],
    ],
)
def test_hostile_runs_are_an_error(counts):
    with pytest.raises(DataError, match=r"Runs|runs"):
        decode_runs({"size": [2, 3], "counts": counts})


@pytest.mark.parametrize("size", [None, [2], [1 << 40, 1 << 40], [-1, -6], ["a", 2], [2.0, float("inf")]])
def test_a_hostile_size_is_an_error(size):
    with pytest.raises(DataError, match=r"Runs"):
        decode_runs({"size": size, "counts": [6]})


def test_runs_of_another_size_than_the_picture_name_both():
    with pytest.raises(DataError, match=r"mask of 2 x 3 pixels .* picture of 3 x 2"):
        draw_shape({"size": [2, 3], "counts": [6]}, (3, 2))


@pytest.mark.parametrize(
    "polygon",
    [[1, 2, 3], [0, 0, float("nan"), 1, 2, 2], ["a", 1, 2, 3, 4, 5], [[1, 2], [3, 4]], [None] * 6, "abcdef", 5],
)
def test_an_outline_that_is_no_pairs_of_numbers_is_an_error(polygon):
    with pytest.raises(DataError, match="Pairs of numbers"):
        draw_shape([polygon], (5, 5))


def test_an_endless_outline_is_an_error():
    with pytest.raises(DataError, match="pixels long"):
        draw_polygons([[0, 0, 1e12, 0, 1e12, 1e12]], (5, 5))


def test_a_shape_that_is_neither_is_an_error():
    with pytest.raises(DataError, match="outline of an object is 'abc'"):
        draw_shape("abc", (5, 5))
