"""Arithmetic of boxes: formats there and back, what lies in the picture, overlaps worked out by hand and by torchvision."""

import numpy as np
import pytest
import torch
from torchvision import ops

from lamina.core.errors import LaminaError, ShapeError, UnknownNameError
from lamina.structures import boxes
from lamina.structures.boxes import FORMATS, area_px, clip, convert, is_degenerate, overlap

# of a picture of 40 x 80 (H W): from (10, 20) to (30, 24)
KNOWN = {
    "xyxy": [10, 20, 30, 24],
    "xywh": [10, 20, 20, 4],
    "cxcywh": [20, 22, 20, 4],
    "yolo": [20 / 80, 22 / 40, 20 / 80, 4 / 40],
}


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_every_format_becomes_every_other(source, target, kind):
    made = convert(kind([KNOWN[source]]), source, target, size=(40, 80))
    assert isinstance(made, np.ndarray if kind is np.array else torch.Tensor)
    assert np.asarray(made).tolist() == [pytest.approx(KNOWN[target])]


def test_agrees_with_torchvision_and_takes_none_and_many_axes():
    made = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    told = convert(made, "cxcywh", "xyxy")
    assert torch.equal(told.reshape(-1, 4), ops.box_convert(made.reshape(-1, 4), "cxcywh", "xyxy"))
    assert convert(np.zeros((0, 4)), "xywh", "cxcywh").shape == (0, 4)


def test_what_cannot_be_converted_is_refused():
    with pytest.raises(UnknownNameError, match="format of boxes called 'xyhw'"):
        convert(np.zeros((1, 4)), "xyhw", "xyxy")
    with pytest.raises(ShapeError, match=r"\(3, 5\).*\(N, 4\)"):
        convert(np.zeros((3, 5)), "xywh", "xyxy")
    with pytest.raises(LaminaError, match=r"size of the picture is None.*size=\(height, width\)"):
        convert(np.zeros((1, 4)), "yolo", "xyxy")
    with pytest.raises(LaminaError, match="above 0"):
        convert(np.zeros((1, 4)), "xyxy", "yolo", size=(0, 5))


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_clipping_leaves_what_lies_in_the_picture(kind):
    came = kind([[-5.0, 2, 8, 60], [90, 1, 99, 5], [1, 2, 3, 4]])
    assert clip(came, (40, 80)).tolist() == [[0, 2, 8, 40], [80, 1, 80, 5], [1, 2, 3, 4]]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_boxes_that_cover_nothing_are_degenerate(kind):
    inf, nan = float("inf"), float("nan")
    came = kind([[0.0, 0, 1, 1], [0, 0, 0, 1], [0, 5, 1, 4], [nan, 0, 1, 1], [0, 0, inf, 1], [-inf, 0, -inf, 1]])
    assert is_degenerate(came).tolist() == [False, True, True, True, True, True]
    assert area_px(came[:3]).tolist() == [1, 0, 0]


def test_overlap_is_torchvisions_iou():
    draw = torch.Generator().manual_seed(1)
    one, other = (torch.rand(n, 2, generator=draw).repeat(1, 2) for n in (5, 7))
    one[:, 2:] += torch.rand(5, 2, generator=draw)
    other[:, 2:] += torch.rand(7, 2, generator=draw)
    assert torch.allclose(overlap(one[:, None], other[None]), ops.box_iou(one, other))
    assert np.allclose(overlap(one.numpy()[:, None], other.numpy()[None]), ops.box_iou(one, other))


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_with_a_crowd_it_is_the_share_of_the_box_that_lies_within(kind):
    own, regions = kind([[0.0, 0, 10, 10]]), kind([[0.0, 5, 100, 100], [0, 5, 100, 100]])
    # 50 of the box's 100 lie within; of the union it is 50 / (100 + 9500 - 50)
    assert overlap(own, regions, kind([True, False])).tolist() == pytest.approx([0.5, 50 / 9550])


def test_boxes_of_no_size_overlap_nothing_and_give_no_nan():
    none = np.zeros((1, 4))
    assert overlap(none, none).tolist() == [0]
    assert overlap(none, np.array([[0.0, 0, 5, 5]]), np.array([True])).tolist() == [0]
    assert boxes.overlap(np.array([[5.0, 5, 1, 1]]), np.array([[0.0, 0, 9, 9]])).tolist() == [0]
