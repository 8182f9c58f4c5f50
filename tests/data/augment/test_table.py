"""Augmentations by name."""

import pytest
import torch

import lamina
from lamina.core.errors import UnknownNameError
from lamina.data.augment import AUGMENTATIONS, CutMix, RandomErasing, RandomFlip, composed, get, mixes
from lamina.data.augment.table import PerSide


def noise(side):
    return torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0)) * 255


def uniforms(transform):
    return torch.rand(8, transform.draws, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_changes_pictures_of_any_size_and_is_told_without_an_address(name):
    (transform,) = get(name)
    for side in (8, 28, 64):
        images = noise(side)
        if mixes(transform):
            changed, shares = transform.mix(images, torch.eye(8), uniforms(transform))
            assert shares.sum(1) == pytest.approx(torch.ones(8), abs=1e-5)
        else:
            changed = transform(images, uniforms(transform))
        assert changed.shape == images.shape
        assert not torch.equal(changed, images)
    assert " at 0x" not in str(transform)


def test_several_names_act_in_their_order_beside_objects():
    assert get("flip, cutmix") == get(["flip", "cutmix"]) == [RandomFlip(), CutMix()]
    assert composed("flip,erase").transforms == (RandomFlip(), RandomErasing())
    assert composed(["crop", RandomErasing(p=1.0)]).transforms == (PerSide("crop"), RandomErasing(p=1.0))


def test_lengths_in_pixels_follow_the_picture():
    assert torch.equal(
        PerSide("crop")(noise(64), uniforms(PerSide("crop"))),
        lamina.data.augment.RandomCrop(padding=8, padding_mode="reflect")(noise(64), uniforms(PerSide("crop"))),
    )


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no augmentation called 'flop'.*'flip'"):
        composed("crop,flop")
