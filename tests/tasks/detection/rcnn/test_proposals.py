"""Selective search and its recall: the same boxes each time, within the picture, and counts that can be checked by hand."""

import sys

import numpy as np
import pytest
import torch

from lamina.core.errors import DataError, LaminaError, MissingExtraError, UnknownNameError
from lamina.structures.annotation import Annotation
from lamina.structures.boxes import overlap
from lamina.tasks.detection.rcnn.proposals import SelectiveSearch, recall, truth_rows

pytest.importorskip("cv2")


def squares():
    image = torch.full((3, 120, 160), 40, dtype=torch.uint8)
    image[0, 20:60, 30:70] = 230
    image[1, 70:110, 90:150] = 220
    return image, torch.tensor([[30.0, 20, 70, 60], [90, 70, 150, 110]])


def test_even_squares_are_among_the_proposals_and_all_lie_within_the_picture():
    image, truth = squares()
    found = SelectiveSearch(side_px=160)(image)
    assert (overlap(truth[:, None], found[None]).amax(1) > 0.9).all()
    assert found.min() >= 0
    assert (found[:, 2:] <= torch.tensor([160, 120])).all()
    assert len(found.unique(dim=0)) == len(found)


def test_the_same_proposals_come_in_the_same_order_each_time_also_where_some_are_left_out():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 10, 12), generator=generator, dtype=torch.uint8)
    image = image.repeat_interleave(12, 1).repeat_interleave(12, 2)
    search = SelectiveSearch(most=10, side_px=100)
    found = search(image)
    assert len(found) == 10
    assert torch.equal(found, search(image))
    assert torch.equal(found, SelectiveSearch(side_px=100)(image)[:10])


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (2, 3)])
def test_pictures_of_any_form_are_searched(shape):
    found = SelectiveSearch(smallest_px=1, side_px=100)(torch.zeros(3, *shape, dtype=torch.uint8))
    assert found.tolist() == [[0, 0, shape[1], shape[0]]]


def test_a_grey_picture_is_searched():
    assert len(SelectiveSearch(side_px=160)(squares()[0][:1])) > 0


@pytest.mark.parametrize(
    ("told", "kind", "message"),
    [
        ({"mode": "slow"}, UnknownNameError, "no mode of selective search called 'slow'"),
        ({"most": 0, "side_px": -3}, LaminaError, "side_px=-3, most=0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(told, kind, message):
    with pytest.raises(kind, match=message):
        SelectiveSearch(**told)


def test_without_opencv_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"lamina\[detection\]"):
        SelectiveSearch()(squares()[0])


def test_recall_is_the_share_of_objects_that_some_proposal_overlaps_that_far():
    truth = torch.tensor(
        [[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30], [50, 50, 50, 60]]
    )  # the last is of no size
    crowd = torch.tensor([False, False, True, False])
    proposals = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 6]])  # overlaps of 1 and 0.6
    told = Annotation(labels=torch.zeros(4, dtype=torch.int64), boxes_xyxy=truth, crowd=crowd)
    nothing = Annotation(labels=torch.zeros(0, dtype=torch.int64), boxes_xyxy=torch.zeros(0, 4))
    met = recall([proposals, proposals], [told, nothing])
    assert met.shares == {0.5: 1.0, 0.7: 0.5}
    assert (met.objects, met.proposals) == (2, 2.0)
    assert met.best_overlap == pytest.approx(0.8)
    assert (
        str(met) == "100.0% at an overlap of 0.5, 50.0% at an overlap of 0.7 of 2 objects met by 2 proposals a picture"
    )
    assert recall([proposals[:0]], [told]).shares == {0.5: 0.0, 0.7: 0.0}
    assert np.isnan(recall([proposals], [nothing]).shares[0.5])


def test_proposals_of_other_pictures_are_refused():
    with pytest.raises(DataError, match="Proposals of 1 pictures came for 0 annotations"):
        recall([torch.zeros(0, 4)], [])


def test_a_picture_without_boxes_has_no_rows():
    corners, labels = truth_rows(Annotation())
    assert corners.shape == (0, 4)
    assert labels.shape == (0,)
