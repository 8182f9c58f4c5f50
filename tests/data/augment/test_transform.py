"""Augmentation is a pure function of the images and of each image's own random numbers: what holds for every transform."""

import pytest
import torch

from lamina.core import random
from lamina.core.errors import DataError, ShapeError
from lamina.data.augment import (
    ColorJitter,
    Compose,
    CutMix,
    Cutout,
    Mixup,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
)

ALL = [
    RandomShift(2),
    RandomRotation(15),
    RandomAffine(shift_px=2.5, degrees=15, scale=0.1),
    RandomFlip(),
    RandomFlip(vertical=True),
    RandomCrop(2),
    RandomCrop(3, padding_mode="reflect"),
    RandomCrop(2, padding_mode="edge"),
    RandomResizedCrop((9, 12)),
    ColorJitter(0.4, 0.4, 0.4, 0.1),
    RandomGrayscale(0.5),
    RandomErasing(),
    Cutout(4),
    Compose([RandomRotation(10), RandomFlip(), RandomShift(1)]),
]
MIXING = [Mixup(0.4), CutMix()]


def noise(dtype=torch.float32):
    images = torch.rand(6, 3, 9, 12, generator=torch.Generator().manual_seed(0)) * 255
    return images.to(dtype)


def draws(transform, batch=6):
    return torch.rand(batch, transform.draws, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "transform",
    [
        RandomShift(0),
        RandomRotation(0),
        RandomAffine(),
        RandomFlip(0),
        RandomCrop(),
        RandomResizedCrop((9, 12), scale=(1, 1), ratio=(12 / 9, 12 / 9)),
        ColorJitter(),
        ColorJitter((1, 1), (1, 1), (1, 1), (0, 0)),
        RandomGrayscale(0),
        RandomErasing(0),
        Cutout(0),
        Compose([]),
    ],
)
def test_no_range_is_no_change(transform):
    torch.testing.assert_close(transform(noise(), draws(transform)), noise(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("transform", [RandomShift(2), RandomRotation(9), RandomAffine(2, 9, 0.1), RandomCrop(2)])
def test_the_middle_of_every_range_is_no_change(transform):
    middle = torch.full((6, transform.draws), 0.5)
    torch.testing.assert_close(transform(noise(), middle), noise(), atol=0.01, rtol=0)


@pytest.mark.parametrize("transform", ALL)
def test_other_numbers_do_change_the_images(transform):
    assert not torch.allclose(transform(noise(), draws(transform)), noise(), atol=1.0)


@pytest.mark.parametrize("transform", ALL)
def test_each_image_depends_on_itself_and_its_own_numbers_only(transform):
    whole = transform(noise(), draws(transform))
    for index in range(6):
        alone = transform(noise()[index : index + 1], draws(transform)[index : index + 1])
        torch.testing.assert_close(alone[0], whole[index], atol=1e-3, rtol=0)


@pytest.mark.parametrize("transform", ALL)
def test_a_batch_cut_in_two_gives_the_same_images(transform):
    def numbers(first, last):
        return random.uniforms(7, torch.arange(first, last), transform.draws)

    whole = transform(noise(), numbers(40, 46))
    parts = [transform(noise()[:2], numbers(40, 42)), transform(noise()[2:], numbers(42, 46))]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_keeps_shape_and_type_and_leaves_its_input_alone(transform, dtype):
    images = noise(dtype)
    before = images.clone()
    changed = transform(images, draws(transform))
    assert changed.shape == images.shape
    assert changed.dtype == dtype
    assert torch.equal(images, before)
    exact = transform(noise(dtype).float(), draws(transform))
    error = (changed.float() - exact).abs().mean()
    assert error < {torch.float16: 0.2, torch.bfloat16: 2.0}.get(dtype, 0.001)  # of 255


@pytest.mark.parametrize("transform", ALL)
def test_stays_within_0_to_255(transform):
    extremes = (noise() > 127).float() * 255
    changed = transform(extremes, draws(transform))
    assert changed.min() >= -1e-3
    assert changed.max() <= 255 + 1e-3


@pytest.mark.parametrize("transform", [*ALL, *MIXING])
def test_no_host_has_to_know_a_value(transform):
    images, numbers = torch.zeros(6, 3, 9, 12, device="meta"), torch.zeros(6, transform.draws, device="meta")
    if transform in MIXING:
        images, targets = transform.mix(images, torch.zeros(6, 4, device="meta"), numbers)
        assert targets.shape == (6, 4)
    else:
        images = transform(images, numbers)
    assert images.shape == (6, 3, 9, 12)


@pytest.mark.parametrize("transform", ALL)
def test_memory_of_another_layout_gives_the_same(transform):
    images = noise()
    layouts = [images.contiguous(memory_format=torch.channels_last), images.repeat(2, 1, 1, 1)[::2]]
    layouts[1] = torch.stack((images, images), 1)[:, 1]
    for other in layouts:
        torch.testing.assert_close(
            transform(other, draws(transform)), transform(images, draws(transform)), atol=1e-3, rtol=0
        )


@pytest.mark.parametrize("transform", ALL)
def test_integer_images_and_a_wrong_count_of_numbers_are_refused(transform):
    with pytest.raises(ShapeError, match="float batch B C H W"):
        transform(noise().to(torch.uint8), draws(transform))
    with pytest.raises(ShapeError, match="6 images with"):
        transform(noise(), draws(transform)[:, 1:])


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomShift(-1),
        lambda: RandomShift(1.5),
        lambda: RandomRotation(-1),
        lambda: RandomAffine(scale=1.0),
        lambda: RandomAffine(shift_px=-1),
        lambda: RandomFlip(1.5),
        lambda: RandomFlip(0.3, alternating=True),
        lambda: RandomCrop(-1),
        lambda: RandomCrop(4, padding_mode="mirror"),
        lambda: RandomCrop(size=0),
        lambda: RandomResizedCrop(0),
        lambda: RandomResizedCrop(8, scale=(0.5, 2)),
        lambda: RandomResizedCrop(8, ratio=(2, 1)),
        lambda: ColorJitter(brightness=-1),
        lambda: ColorJitter(contrast=(1, 0.5)),
        lambda: ColorJitter(hue=0.6),
        lambda: RandomGrayscale(-0.1),
        lambda: RandomErasing(2),
        lambda: RandomErasing(scale=(0, 0.3)),
        lambda: Cutout(-2),
        lambda: Mixup(0),
        lambda: Mixup(1, p=2),
        lambda: CutMix(-1),
    ],
)
def test_ranges_that_mean_nothing_are_refused(make):
    with pytest.raises(DataError, match="Pass another"):
        make()
