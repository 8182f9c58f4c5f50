"""Blocks that are painted over: where, how large, how often."""

import pytest
import torch

from lamina.core.errors import ShapeError
from lamina.data.augment import Cutout, RandomErasing


def uniforms(batch, draws):
    return torch.rand(batch, draws, generator=torch.Generator().manual_seed(1))


def test_known_numbers_erase_a_known_block():
    images = torch.full((2, 3, 20, 10), 9.0)
    # A fifth of 200 pixels with height / width 1.6: 8 x 5. The places left for its corner: 13 down, 6 across.
    numbers = torch.tensor([[0.49, 0.0, 0.0, 0.99, 0.5], [0.5, 0.0, 0.0, 0.99, 0.5]])
    erased = RandomErasing(0.5, scale=(0.2, 0.2), ratio=(1.6, 1.6), value=(1.0, 2.0, 3.0))(images, numbers)
    wanted = images[0].clone()
    wanted[:, 6:14, 5:10] = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    assert torch.equal(erased[0], wanted)
    assert torch.equal(erased[1], images[1])


def test_probabilities_areas_and_shapes_are_those_asked_for():
    images = torch.ones(4000, 1, 60, 60)
    erased = RandomErasing(0.25, scale=(0.1, 0.3), ratio=(0.5, 2.0))(images, uniforms(4000, 5))[:, 0] == 0
    hit = erased.flatten(1).any(1)
    assert hit.float().mean() == pytest.approx(0.25, abs=0.03)
    height, width = erased[hit].any(2).sum(1), erased[hit].any(1).sum(1)
    share = erased[hit].float().mean((1, 2))
    torch.testing.assert_close(share, height * width / 3600.0)  # one full block
    assert 0.095 < share.min() < share.max() < 0.31
    assert share.mean() == pytest.approx(0.2, abs=0.01)
    shape = height / width
    assert 0.45 < shape.min() < shape.max() < 2.2
    assert shape.log().mean() == pytest.approx(0, abs=0.06)
    cover = erased[hit].float().mean(0)
    assert cover[25:35, 25:35].mean() > 2 * cover[:3, :3].mean() > 0


def test_a_block_that_is_too_long_is_cut_to_the_side():
    images = torch.ones(1, 1, 10, 10)
    numbers = torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.5]])
    erased = RandomErasing(1.0, scale=(0.5, 0.5), ratio=(9.0, 9.0))(images, numbers)[0, 0] == 0
    assert (erased.any(1).sum().item(), erased.any(0).sum().item()) == (10, 2)


def test_cutout_is_a_square_whose_centre_is_anywhere():
    images = torch.ones(2, 2, 8, 8)
    numbers = torch.tensor([[0.5, 0.5], [0.0, 0.99]])
    cut = Cutout(4, value=7.0)(images, numbers)
    wanted = torch.ones(2, 2, 8, 8)
    wanted[0, :, 2:6, 2:6] = 7.0
    wanted[1, :, 5:8, 0:2] = 7.0  # the rest of it lies outside
    assert torch.equal(cut, wanted)
    assert (Cutout(3)(images, numbers)[0, 0] == 0).sum() == 9
    centres = Cutout(1)(torch.ones(6400, 1, 8, 8), uniforms(6400, 2))[:, 0] == 0
    assert (centres.sum(0) - 100).abs().max() < 45


def test_a_value_for_another_number_of_channels_is_refused():
    with pytest.raises(ShapeError, match="2 channels"):
        Cutout(2, value=(1.0, 2.0, 3.0))(torch.ones(2, 2, 8, 8), torch.rand(2, 2))
