"""Mixed samples: which, how much, and targets in the same proportion."""

import math

import pytest
import torch

from lamina.core.errors import DataError, ShapeError
from lamina.data.augment import CutMix, Mixup
from lamina.data.augment.mix import beta_quantiles, shares

LABELS = torch.tensor([2, 0, 3, 3])


def images():
    return torch.rand(4, 2, 8, 10, generator=torch.Generator().manual_seed(0)) * 255


def uniforms(batch, draws):
    return torch.rand(batch, draws, generator=torch.Generator().manual_seed(1))


def test_labels_become_the_share_of_each_class():
    assert torch.equal(shares(LABELS, 4), torch.eye(4)[LABELS])
    assert shares(torch.tensor([1, 255]), 2).tolist() == [[0, 1], [0, 0]]


def test_mixup_blends_each_image_with_the_one_before_it():
    numbers = torch.tensor([[0.3, 0.0], [0.9, 0.0], [0.5, 0.0], [0.1, 0.6]])
    mixed, targets = Mixup(1.0, p=0.5).mix(images(), shares(LABELS, 4), numbers)
    own = torch.tensor([0.3, 0.9, 0.5, 1.0])  # Beta(1, 1) is uniform; the last is not mixed
    part = own[:, None, None, None]
    torch.testing.assert_close(mixed, images() * part + images().roll(1, 0) * (1 - part))
    wanted = [[0, 0, 0.3, 0.7], [0.9, 0, 0.1, 0], [0.5, 0, 0, 0.5], [0, 0, 0, 1]]
    torch.testing.assert_close(targets, torch.tensor(wanted))


def test_cutmix_puts_a_block_of_the_one_before_into_each():
    # A share of 1/4 is cut out of 8 x 10 pixels: 4 x 5, centred on row 4 and column 5, then beyond the upper left corner.
    numbers = torch.tensor([[0.75, 0.5, 0.5, 0.0], [0.75, 0.0, 0.0, 0.0], [0.75, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.0]])
    mixed, targets = CutMix(1.0, p=0.5).mix(images(), shares(LABELS, 4), numbers)
    wanted = images()
    wanted[0, :, 2:6, 3:8] = images()[3, :, 2:6, 3:8]
    wanted[1, :, 0:2, 0:3] = images()[0, :, 0:2, 0:3]
    wanted[3] = images()[2]
    assert torch.equal(mixed, wanted)
    rest = [[0, 0, 0.75, 0.25], [1 - 6 / 80, 0, 6 / 80, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    torch.testing.assert_close(targets, torch.tensor(rest))


@pytest.mark.parametrize("transform", [Mixup(0.2), Mixup(1.0, p=0.5), CutMix(), CutMix(0.3)])
def test_shares_sum_to_one_and_hold_at_most_two_classes(transform):
    batch = torch.rand(300, 1, 8, 8)
    labels = torch.arange(300) % 10
    _, targets = transform.mix(batch, shares(labels, 10), uniforms(300, transform.draws))
    torch.testing.assert_close(targets.sum(1), torch.ones(300))
    assert targets.min() >= 0
    assert (targets > 0).sum(1).max() == 2


@pytest.mark.parametrize("transform", [Mixup(0.4), CutMix()])
def test_targets_follow_the_pixels(transform):
    labels = torch.arange(200) % 10
    flat = labels.float()[:, None, None, None].expand(200, 1, 16, 16)
    mixed, targets = transform.mix(flat, shares(labels, 10), uniforms(200, transform.draws))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ torch.arange(10.0), atol=1e-3, rtol=0)


def test_cutmix_keeps_the_share_that_was_drawn_where_the_block_lies_inside():
    numbers = uniforms(500, 4)
    numbers[:, 1:3] = 0.5
    _, targets = CutMix().mix(torch.rand(500, 1, 100, 100), shares(torch.arange(500) % 10, 10), numbers)
    torch.testing.assert_close(targets.max(1).values, numbers[:, 0].maximum(1 - numbers[:, 0]), atol=0.02, rtol=0)


def distribution(x, alpha):
    """The distribution function of Beta(alpha, alpha) by Simpson's rule over angles, x = sin(t)^2."""
    if x > 0.5:
        return 1 - distribution(1 - x, alpha)
    steps = torch.linspace(0, 1, 200001, dtype=torch.float64) ** (1 / min(alpha, 1.0)) * math.asin(math.sqrt(x))
    middle = (steps[1:] + steps[:-1]) / 2
    density = 2 * middle.sin() ** (2 * alpha - 1) * middle.cos() ** (2 * alpha - 1)
    norm = 2 * math.lgamma(alpha) - math.lgamma(2 * alpha)
    return float((density * steps.diff()).sum() / math.exp(norm))


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 2.0, 8.0])
def test_quantiles_are_those_of_the_beta_distribution(alpha):
    for share in (0.01, 0.1, 0.3, 0.5, 0.62, 0.9, 0.99):
        x = float(beta_quantiles(torch.tensor([share]), alpha))
        if 1e-9 < x < 1 - 1e-6:
            assert distribution(x, alpha) == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 2.0])
def test_draws_have_the_mean_variance_and_symmetry_of_beta(alpha):
    even = (torch.arange(100000) + 0.5) / 100000
    draws = beta_quantiles(even, alpha).double()
    assert draws.mean() == pytest.approx(0.5, abs=1e-4)
    assert draws.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=1e-3)
    torch.testing.assert_close(draws, 1 - draws.flip(0), atol=1e-4, rtol=0)
    assert (draws.diff() >= 0).all()
    assert beta_quantiles(torch.tensor([0.0, 1 - 2**-24]), alpha).tolist() == pytest.approx([0, 1], abs=1e-3)


def test_a_uniform_beta_is_the_number_itself():
    numbers = uniforms(1000, 1)[:, 0]
    torch.testing.assert_close(beta_quantiles(numbers, 1.0), numbers)


def test_a_number_for_each_image_is_blended_too():
    _, targets = Mixup(1.0).mix(images(), torch.tensor([0.0, 10, 20, 30]), torch.tensor([[0.25, 0.0]]).expand(4, 2))
    assert targets.tolist() == pytest.approx([22.5, 2.5, 12.5, 22.5])


def test_labels_and_maps_cannot_be_mixed():
    with pytest.raises(DataError, match="num_classes"):
        Mixup().mix(images(), LABELS, uniforms(4, 2))
    with pytest.raises(ShapeError, match="one target for each image"):
        CutMix().mix(images(), torch.rand(4, 3, 8, 10), uniforms(4, 4))


@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_the_table_of_shares_is_finite_up_to_the_largest_alpha(kind):
    assert beta_quantiles(torch.linspace(0, 0.999, 100), kind(32.0).alpha).isfinite().all()
    for alpha in (0.0, 33.0, math.nan):
        with pytest.raises(DataError, match="at most 32"):
            kind(alpha)
