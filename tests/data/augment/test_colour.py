"""Colours beside torchvision's functions, factor for factor."""

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from lamina.core.errors import ShapeError
from lamina.data.augment import ColorJitter, RandomGrayscale
from lamina.data.augment import colour as ours

FACTORS = torch.tensor([0.0, 0.4, 1.0, 1.3, 2.5])


def noise(channels=3):
    images = torch.rand(5, channels, 7, 8, generator=torch.Generator().manual_seed(0)) * 255
    images[:, :, 0] = 128.0  # grey, where a hue is undefined
    return images


def torchvisions(function, factors):
    return torch.stack([function(image / 255, factor) * 255 for image, factor in zip(noise(), factors, strict=True)])


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_saturation"])
def test_factors_mean_what_they_mean_in_torchvision(name):
    wanted = torchvisions(getattr(tv, name), FACTORS.tolist())
    torch.testing.assert_close(getattr(ours, name)(noise(), FACTORS), wanted, atol=0.01, rtol=0)


def test_hue_turns_as_in_torchvision():
    turns = torch.tensor([-0.5, -0.2, 0.0, 0.1, 0.5])
    wanted = torchvisions(tv.adjust_hue, turns.tolist())
    torch.testing.assert_close(ours.adjust_hue(noise(), turns), wanted, atol=0.01, rtol=0)


def test_a_third_of_a_turn_makes_red_green_green_blue_and_blue_red():
    turned = ours.adjust_hue(noise(), torch.full((5,), 1 / 3))
    torch.testing.assert_close(turned, noise().roll(1, 1), atol=0.01, rtol=0)


def test_grey_is_torchvisions():
    wanted = tv.rgb_to_grayscale(noise(), num_output_channels=3)
    torch.testing.assert_close(RandomGrayscale(1.0)(noise(), torch.zeros(5, 1)), wanted, atol=0.01, rtol=0)
    some = RandomGrayscale(0.2)(noise(), FACTORS[:, None] / 3)  # 0, 0.13, 0.33, ...
    torch.testing.assert_close(some[:2], wanted[:2], atol=0.01, rtol=0)
    assert torch.equal(some[2:], noise()[2:])


def test_jitter_is_brightness_then_contrast_then_saturation_then_hue():
    numbers = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    changed = ColorJitter(0.4, (0.5, 2.0), 2.0, 0.1)(noise(), numbers)
    wanted = ours.adjust_brightness(noise(), 0.6 + 0.8 * numbers[:, 0])
    wanted = ours.adjust_contrast(wanted, 0.5 + 1.5 * numbers[:, 1])
    wanted = ours.adjust_saturation(wanted, 3.0 * numbers[:, 2])  # 1 - 2 is not below 0
    wanted = ours.adjust_hue(wanted, -0.1 + 0.2 * numbers[:, 3])
    torch.testing.assert_close(changed, wanted, atol=0.01, rtol=0)


def test_grey_images_have_brightness_and_contrast_only():
    grey = noise(1)
    jitter = ColorJitter(saturation=0.5, hue=0.2)
    assert torch.equal(jitter(grey, torch.rand(5, 4)), grey)
    assert torch.equal(RandomGrayscale(1.0)(grey, torch.zeros(5, 1)), grey)
    wanted = torch.stack([tv.adjust_contrast(image / 255, 0.5) * 255 for image in grey])
    torch.testing.assert_close(ours.adjust_contrast(grey, torch.full((5,), 0.5)), wanted, atol=0.01, rtol=0)


@pytest.mark.parametrize("jitter", [ColorJitter(contrast=0.5), ColorJitter(saturation=0.5), ColorJitter(hue=0.1)])
def test_colours_of_two_channels_are_refused(jitter):
    with pytest.raises(ShapeError, match="2 channels"):
        jitter(noise(2), torch.rand(5, 4))
    assert ColorJitter(brightness=0.5)(noise(2), torch.rand(5, 4)).shape == (5, 2, 7, 8)
