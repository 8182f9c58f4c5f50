"""SSDlite: its boxes on a picture, and the argument for things that are smaller than a fifth of it."""

import pytest
import torch

from lamina import networks
from lamina.core.errors import LaminaError
from lamina.networks.ssdlite import default_boxes
from lamina.structures.boxes import overlap

SHAPES = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def test_boxes_of_the_paper_are_the_usual_ones_and_go_from_a_fifth_to_nearly_the_whole_picture():
    places = default_boxes(SHAPES, torch.zeros(1, 3, 320, 320))
    sides = places[:, 2:] - places[:, :2]
    assert len(places) == 6 * sum(height * width for height, width in SHAPES)
    torch.testing.assert_close(sides[0], torch.tensor([64.0, 64.0]))
    torch.testing.assert_close(sides[-6], torch.tensor([304.0, 304.0]))


def test_things_of_20_px_overlap_a_box_several_times_as_much_with_the_argument_wherever_they_are():
    left = torch.stack(torch.meshgrid(torch.arange(96, 112), torch.arange(96, 112), indexing="ij"), -1).flatten(0, 1)
    things = torch.cat([left, left + 20], dim=1).float()  # at all places beside the middles of cells of 16 px
    usual, small = (
        overlap(default_boxes(SHAPES, torch.zeros(1, 3, 320, 320), smallest=each)[:, None], things).amax(0)
        for each in (0.2, 0.06)
    )
    assert usual.max() < 0.15
    assert small.min() > 0.25
    assert small.mean() > 0.4
    assert small.max() > 0.75


def test_the_argument_is_kept_in_what_a_network_says_of_itself():
    told = {"num_classes": 2, "backbone": "squeezenet1_1", "smallest": 0.1, "width": 0.25}
    net = networks.create("ssdlite", arguments=told)
    again = networks.recreate(**networks.architecture(net))
    assert again.smallest == 0.1
    images = torch.zeros(1, 3, 96, 64)
    with torch.no_grad():
        assert torch.equal(net.eval()(images).places, again.eval()(images).places)


@pytest.mark.parametrize("smallest", [0.0, -0.1, 0.95, 2.0])
def test_a_smallest_box_that_is_no_share_of_the_picture_is_refused(smallest):
    with pytest.raises(LaminaError, match=r"above 0 and below 0\.95"):
        networks.create("ssdlite", arguments={"num_classes": 2, "backbone": "squeezenet1_1", "smallest": smallest})


def test_a_single_picture_can_be_trained_on_where_a_map_has_one_cell():
    net = networks.create("ssdlite", arguments={"num_classes": 2, "backbone": "squeezenet1_1", "width": 0.25})
    said = net.train()(torch.rand(1, 3, 96, 96))
    (said.logits.sum() + said.deltas.sum()).backward()
    assert all(value.grad is not None for value in net.extras.parameters())
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
