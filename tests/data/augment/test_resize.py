"""Images that grow over the epochs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.data.augment.resize import ProgressiveResize, ResizedBatches
from lamina.data.loader import ArrayBatches

IMAGES = torch.rand(6, 3, 32, 24, generator=torch.Generator().manual_seed(0))


def test_sides_grow_on_a_line_from_start_to_full():
    resize = ProgressiveResize(start=0.5, until=0.5, multiple=2)
    assert [resize.side(progress, 32) for progress in (0, 0.125, 0.25, 0.375, 0.5, 1)] == [16, 20, 24, 28, 32, 32]


def test_sides_are_multiples_except_the_full_one():
    resize = ProgressiveResize(multiple=8)
    sides = {resize.side(epoch / 30, 30) for epoch in range(30)}
    assert sides == {16, 24, 30}


def test_it_is_bilinear_without_aliasing_and_keeps_the_type():
    resize = ProgressiveResize()
    expected = F.interpolate(IMAGES, size=(16, 12), mode="bilinear", antialias=True)
    assert torch.equal(resize(IMAGES, 0.0), expected)
    whole = (IMAGES * 255).to(torch.uint8)
    small = resize(whole, 0.0)
    assert small.dtype == torch.uint8
    assert int((small - resize(whole.float(), 0.0)).abs().max()) <= 1
    assert resize(IMAGES, 0.9) is IMAGES


def test_a_resumed_run_sees_the_same_sizes_and_each_epoch_has_one():
    loader = ArrayBatches(IMAGES, torch.arange(6), batch_size=4, shuffle=True)
    resized = ResizedBatches(loader, ProgressiveResize(), epochs=10, first=3)
    whole = [[batch.inputs for batch in resized.epoch(epoch)] for epoch in range(3, 13)]
    assert [{tuple(x.shape[2:]) for x in epoch} for epoch in whole][::9] == [{(16, 12)}, {(32, 24)}]
    later = list(resized.epoch(5, start=1))
    assert torch.equal(later[0].inputs, whole[2][1])
    assert (len(resized), resized.samples) == (2, 6)


def test_only_the_first_of_several_inputs_is_resized():
    loader = ArrayBatches((IMAGES, torch.rand(6, 2)), batch_size=6)
    (batch,) = ResizedBatches(loader, ProgressiveResize(), epochs=4).epoch(0)
    assert [tuple(value.shape) for value in batch.inputs] == [(6, 3, 16, 12), (6, 2)]


def test_a_network_that_pools_is_fine_and_one_that_flattens_is_refused():
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    ProgressiveResize().check(pooled, IMAGES)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 24, 2))
    with pytest.raises(ValueError, match=r"other sizes.*GlobalAveragePooling2D"):
        ProgressiveResize().check(flat, IMAGES)


def test_a_network_whose_output_grows_with_the_image_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        ProgressiveResize().check(nn.Conv2d(3, 1, 3), IMAGES)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="B C H W"):
        ProgressiveResize()(torch.rand(3, 4), 0.0)


@pytest.mark.parametrize("wrong", [{"start": 0.0}, {"until": 1.5}, {"multiple": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=r"share|at least 1"):
        ProgressiveResize(**wrong)


def test_all_else_is_that_of_the_batches():
    class Read(ArrayBatches):
        waited_s, workers = 1.5, 3

    resized = ResizedBatches(Read(IMAGES, batch_size=2), ProgressiveResize(), epochs=2)
    assert (resized.waited_s, resized.workers, resized.rows(0, 1)) == (1.5, 3, [2, 3])
    assert torch.equal(torch.cat([batch.inputs for batch in copy.copy(resized)]), IMAGES)
    assert not hasattr(ResizedBatches(ArrayBatches(IMAGES), ProgressiveResize(), epochs=2), "waited_s")
