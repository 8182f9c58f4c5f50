"""Scaling with antialiasing, and of a window only."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.data.resize import INTERPOLATION, resized

NOISE = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", INTERPOLATION)
@pytest.mark.parametrize("size", [(31, 40), (97, 50), (200, 131), (300, 301)])
def test_the_whole_is_pillow_s_to_two_levels(interpolation, size):
    theirs = np.asarray(Image.fromarray(NOISE).resize(size[::-1], INTERPOLATION[interpolation]))
    ours = resized(torch.from_numpy(NOISE), size, interpolation=interpolation).numpy()
    assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("interpolation", INTERPOLATION)
@pytest.mark.parametrize("size", [(31, 40), (60, 81), (97, 50), (200, 260)])
def test_a_window_is_that_part_of_the_whole(interpolation, size):
    for first, count in ((0, 10), (7, 20), (min(size) - 15, 12)):
        window = ((first, count), (first + 3, count))
        whole = resized(torch.from_numpy(NOISE), size, interpolation=interpolation)
        part = resized(torch.from_numpy(NOISE), size, window, interpolation=interpolation)
        wanted = whole[first : first + count, first + 3 : first + 3 + count]
        assert part.shape == wanted.shape
        assert torch.equal(part, wanted)


def test_grey_pictures_keep_their_axis():
    for interpolation in INTERPOLATION:
        assert resized(torch.zeros(9, 9, 1, dtype=torch.uint8), (4, 5), interpolation=interpolation).shape == (4, 5, 1)
