"""Warped regions: the paper's context, the mean beyond the edge, and Pillow's numbers."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import LaminaError, ShapeError
from lamina.tasks.detection.rcnn.warping import surroundings, warped


def test_the_box_fills_the_middle_and_the_context_is_of_the_warped_size():
    picture = torch.zeros(1, 100, 100)
    picture[:, 30:60, 20:80] = 1.0
    (seen,) = warped(picture, torch.tensor([[20.0, 30, 80, 60]]), side_px=60, context_px=10)
    assert (seen[0, 11:49, 11:49] == 1).all()
    assert seen[0, :9].max() == seen[0, -9:].max() == seen[0, :, :9].max() == seen[0, :, -9:].max() == 0


def test_the_papers_16_of_227_px_show_as_much_around():
    (around,) = surroundings(torch.tensor([[0.0, 0, 195, 390]]), 16 / (227 - 32))
    torch.testing.assert_close(around, torch.tensor([-16.0, -32, 211, 422]))


def test_beyond_the_edge_there_is_the_mean_colour():
    (seen,) = warped(torch.ones(3, 40, 40), torch.tensor([[0.0, 0, 40, 40]]), side_px=48, context_px=4)
    assert (seen[:, 5:-5, 5:-5] == 1).all()
    assert seen[:, :3].abs().max() == seen[:, :, -3:].abs().max() == 0


def test_pixels_are_about_those_of_pillow():
    generator = np.random.default_rng(0)
    pixels = np.asarray(
        Image.fromarray(generator.integers(0, 256, (12, 12), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    )
    box = (10, 20, 70, 80)
    (seen,) = warped(
        torch.from_numpy(pixels.copy()).float()[None], torch.tensor([box]).float(), side_px=30, context_px=0
    )
    expected = np.asarray(Image.fromarray(pixels).resize((30, 30), Image.Resampling.BOX, box=box), dtype=np.float32)
    assert np.abs(seen[0].numpy() - expected).mean() < 3


def test_no_boxes_give_no_regions():
    assert warped(torch.zeros(3, 9, 9), torch.zeros(0, 4), side_px=32, context_px=2).shape == (0, 3, 32, 32)


def test_what_is_no_normalised_picture_or_leaves_no_room_is_refused():
    with pytest.raises(ShapeError, match="The picture is uint8"):
        warped(torch.zeros(3, 9, 9, dtype=torch.uint8), torch.zeros(1, 4))
    with pytest.raises(LaminaError, match="context_px is 16 for regions of 32 px"):
        warped(torch.zeros(3, 9, 9), torch.zeros(1, 4), side_px=32)
