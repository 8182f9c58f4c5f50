"""Several augmentations as one, and the numbers they are given."""

import pytest
import torch

from lamina.core import random
from lamina.core.errors import DataError, ShapeError
from lamina.data.augment import (
    Compose,
    CutMix,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
    augmented,
    composed,
    draw,
)


def noise(batch=6):
    return torch.rand(batch, 2, 9, 12, generator=torch.Generator().manual_seed(0)) * 255


def uniforms(transform, batch=6):
    return torch.rand(batch, transform.draws, generator=torch.Generator().manual_seed(1))


def test_composing_is_one_after_the_other_with_the_numbers_in_order():
    first, second = RandomRotation(20), RandomShift(2)
    both = Compose([first, second])
    numbers = uniforms(both)
    assert both.draws == 3
    assert torch.equal(both(noise(), numbers), second(first(noise(), numbers[:, :1]), numbers[:, 1:]))


def test_a_list_is_a_compose_and_a_single_transform_stays_itself():
    flip = RandomFlip()
    assert composed([flip, RandomCrop(2)]) == Compose((flip, RandomCrop(2)))
    assert composed(flip) is flip
    assert composed(None) is None
    assert composed(Mixup(), 3) == Compose((Mixup(),), 3)
    assert composed(Compose([flip], 5), 3).num_classes == 5
    assert composed(Compose([flip, Compose([Mixup()])]), 4).mixes


def test_mixing_composes_with_the_rest_and_makes_labels_shares():
    parts = [RandomFlip(), Mixup(1.0), CutMix()]
    both = Compose(parts, num_classes=4)
    labels, numbers = torch.tensor([0, 1, 2, 3, 1, 2]), uniforms(both)
    images, targets = both.mix(noise(), labels, numbers)
    wanted, share = parts[1].mix(parts[0](noise(), numbers[:, :1]), torch.eye(4)[labels], numbers[:, 1:3])
    wanted, share = parts[2].mix(wanted, share, numbers[:, 3:])
    assert torch.equal(images, wanted)
    assert torch.equal(targets, share)


def test_mixing_without_targets_or_classes_tells_the_remedy():
    with pytest.raises(DataError, match=r"images alone.*mix\(images, targets"):
        composed(Mixup())(noise(), uniforms(Mixup()))
    with pytest.raises(DataError, match=r"int64 came to be mixed.*num_classes"):
        composed(Mixup()).mix(noise(), torch.arange(6), uniforms(Mixup()))
    with pytest.raises(DataError, match="one input and one target"):
        augmented(composed(Mixup(), 3), (noise(), noise()), torch.arange(6), uniforms(Mixup()))
    with pytest.raises(ShapeError, match="6 images with 1 draws"):
        Compose([RandomFlip()])(noise(), torch.rand(6, 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (RandomFlip, r"the class RandomFlip.*Pass RandomFlip\(\.\.\.\)"),
        (torch.nn.ReLU(), r"holds ReLU\(\).*when they are read"),
    ],
)
def test_what_is_no_augmentation_is_refused(wrong, message):
    with pytest.raises(DataError, match=message):
        composed([wrong])


def test_several_inputs_have_their_first_augmented():
    shift = RandomShift(2)
    inputs, targets = augmented(shift, (noise().byte(), noise()), None, uniforms(shift))
    assert torch.equal(inputs[0], shift(noise().byte().float(), uniforms(shift)))
    assert torch.equal(inputs[1], noise())
    assert targets is None


def test_numbers_belong_to_the_position_in_the_epoch():
    transform = Compose([RandomShift(1), RandomFlip()])
    numbers = draw(transform, torch.arange(10, 16), seed=3, epoch=2, samples=torch.arange(6))
    assert torch.equal(numbers, random.uniforms(random.key(3, 2), torch.arange(10, 16), 3))


def test_an_alternating_flip_shows_each_picture_both_ways_in_two_epochs():
    transform = Compose([RandomShift(0), RandomFlip(alternating=True), RandomShift(1)])
    assert transform.alternates == (2,)
    samples = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(1000)
    seen = []
    for epoch in range(4):
        numbers = draw(transform, positions, seed=3, epoch=epoch, samples=samples)
        usual = draw(transform, positions, seed=3, epoch=epoch)
        assert torch.equal(numbers[:, [0, 1, 3, 4]], usual[:, [0, 1, 3, 4]])
        assert 0 <= numbers.min() <= numbers.max() < 1
        flipped = torch.empty(1000, dtype=torch.bool)
        flipped[samples] = numbers[:, 2] < 0.5
        seen.append(flipped)
        samples = samples[torch.randperm(1000, generator=torch.Generator().manual_seed(epoch))]
    assert seen[0].float().mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(seen[1], ~seen[0])
    assert torch.equal(seen[2], seen[0])
    assert torch.equal(seen[3], ~seen[0])
