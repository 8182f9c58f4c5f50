"""Flips, shifts, turns and zooms by definition: known numbers, known pixels."""

import pytest
import torch

from lamina.data.augment import RandomAffine, RandomFlip, RandomRotation, RandomShift


def noise(batch=6, height=9, width=12):
    return torch.rand(batch, 2, height, width, generator=torch.Generator().manual_seed(0)) * 255


def test_a_flip_mirrors_the_images_whose_number_is_below_the_probability():
    numbers = torch.tensor([[0.0], [0.29], [0.3], [0.9], [0.1], [0.99]])
    mirrored = numbers[:, 0] < 0.3
    across, down = RandomFlip(0.3)(noise(), numbers), RandomFlip(0.3, vertical=True)(noise(), numbers)
    assert torch.equal(across[mirrored], noise().flip(3)[mirrored])
    assert torch.equal(down[mirrored], noise().flip(2)[mirrored])
    assert torch.equal(across[~mirrored], noise()[~mirrored])
    assert torch.equal(RandomFlip(1.0)(noise(), 1 - 2**-24 + numbers * 0), noise().flip(3))


# (across, down): numbers at the ends of [0, 1) are the largest shifts, and positive ones go right and down.
@pytest.mark.parametrize(("across", "down"), [(0.99, 0.5), (0.5, 0.99), (0.0, 0.99)])
def test_a_shift_by_one_pixel_is_slicing(across, down):
    images = noise(batch=1)
    dx, dy = round(2 * across) - 1, round(2 * down) - 1
    wanted = torch.zeros_like(images)
    wanted[:, :, max(dy, 0) : 9 + min(dy, 0), max(dx, 0) : 12 + min(dx, 0)] = images[
        :, :, max(-dy, 0) : 9 + min(-dy, 0), max(-dx, 0) : 12 + min(-dx, 0)
    ]
    assert torch.equal(RandomShift(1)(images, torch.tensor([[across, down]])), wanted)
    ends = torch.tensor([[(dx + 1) / 2, (dy + 1) / 2, 0.5, 0.5]])
    torch.testing.assert_close(RandomAffine(shift_px=1)(images, ends), wanted, atol=0.01, rtol=0)


def test_all_whole_pixel_shifts_are_equally_likely():
    images = torch.zeros(5000, 1, 11, 11)
    images[:, :, 5, 5] = 1.0
    transform = RandomShift(2)
    uniforms = torch.rand(5000, 2, generator=torch.Generator().manual_seed(0))
    counts = transform(images, uniforms).sum(0)[0]
    assert counts.sum() == 5000
    assert (counts[3:8, 3:8] - 200).abs().max() < 60
    assert RandomShift(2)(images[:1], torch.tensor([[1 - 2**-24, 0.0]]))[0, 0, 3, 7] == 1.0


def test_ninety_degrees_is_rot90():
    images = noise(height=10, width=10)
    wanted = torch.rot90(images, 1, dims=(2, 3))
    almost_one = torch.ones(6, 1)
    torch.testing.assert_close(RandomRotation(90)(images, almost_one), wanted, atol=0.01, rtol=0)
    affine = torch.tensor([[0.5, 0.5, 1.0, 0.5]]).expand(6, 4)
    torch.testing.assert_close(RandomAffine(degrees=90)(images, affine), wanted, atol=0.01, rtol=0)


def test_a_half_turn_works_on_pictures_that_are_not_square():
    images = noise()
    turned = RandomRotation(180)(images, torch.ones(6, 1))
    torch.testing.assert_close(turned, images.flip(2, 3), atol=0.01, rtol=0)


def test_turning_moves_things_by_pixels_and_not_by_fractions_of_the_side():
    image = torch.zeros(1, 1, 21, 41)
    image[0, 0, 10, 26] = 1.0  # 6 right of the centre; after a quarter turn counter-clockwise 6 above it
    turned = RandomRotation(90)(image, torch.ones(1, 1))
    assert turned[0, 0, 4, 20] == pytest.approx(1.0, abs=1e-3)


def test_zooming_in_by_half_spreads_the_middle():
    image = torch.zeros(1, 1, 8, 8)
    image[:, :, 2:6, 2:6] = 100.0
    bigger = RandomAffine(scale=0.5)(image, torch.tensor([[0.5, 0.5, 0.5, 1.0]]))
    assert bigger[0, 0, 1, 1] > 50
    assert (bigger > 50).sum() == 36
    smaller = RandomAffine(scale=0.5)(image, torch.tensor([[0.5, 0.5, 0.5, 0.0]]))
    assert (smaller > 50).sum() == 4


def test_what_comes_in_from_outside_is_black():
    white = torch.full((1, 1, 9, 9), 255.0)
    assert RandomShift(3)(white, torch.tensor([[0.99, 0.99]]))[0, 0, :3].max() == 0
    assert RandomAffine(shift_px=3)(white, torch.tensor([[1.0, 1.0, 0.5, 0.5]]))[0, 0, :2].max() == 0
