"""Augmentations that choose by chance, and what they choose from."""

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from lamina.core.errors import DataError
from lamina.data.augment import AugMix, RandAugment, TrivialAugment, get
from lamina.data.augment.operations import (
    GEOMETRIC,
    OPERATIONS,
    PHOTOMETRIC,
    USUAL,
    WIDE,
    applied,
    autocontrast,
    equalize,
    posterize,
    sharpen,
    solarize,
)

AUTO = [TrivialAugment(), TrivialAugment(wide=False), RandAugment(), AugMix(), AugMix(geometric=False)]


def photos(batch=4, height=24, width=32):
    numbers = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 4, 4, generator=numbers) * 200
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + torch.rand(batch, 3, height, width, generator=numbers) * 30).round()


def numbers(transform, batch=4, seed=1):
    return torch.rand(batch, transform.draws, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (autocontrast, F.autocontrast),
        (equalize, F.equalize),
        (lambda x: posterize(x, torch.full((len(x),), 3.0)), lambda x: F.posterize(x, 3)),
        (lambda x: solarize(x, torch.full((len(x),), 1 - 99.5 / 255)), lambda x: F.solarize(x, 99.5)),
        (lambda x: sharpen(x, torch.full((len(x),), 1.7)), lambda x: F.adjust_sharpness(x, 1.7)),
        (lambda x: sharpen(x, torch.full((len(x),), 0.2)), lambda x: F.adjust_sharpness(x, 0.2)),
    ],
    ids=["autocontrast", "equalize", "posterize", "solarize", "sharpen", "blur"],
)
def test_operations_are_those_of_an_independent_implementation(ours, theirs):
    images = photos()
    assert (ours(images) - theirs(images.to(torch.uint8)).float()).abs().max() < 1.5
    flat = torch.full((1, 3, 8, 8), 77.0)
    assert torch.equal(autocontrast(flat), flat)
    assert torch.equal(equalize(flat), flat)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_places_move_as_in_an_independent_implementation(name):
    images, strength = photos(2, 33, 41), 0.4
    chosen = torch.full((2,), OPERATIONS.index(name))
    moved = applied(images, chosen, torch.full((2,), strength), USUAL)
    slope = torch.rad2deg(torch.atan(torch.tensor(0.3 * strength))).item()
    # torchvision turns and shears what is seen, ours the places from where it comes: the other way round
    arguments = {
        "angle": -30 * strength * (name == "rotate"),
        "translate": [-0.45 * strength * 41 * (name == "shift_x"), -0.45 * strength * 33 * (name == "shift_y")],
        "scale": 1.0,
        "shear": [slope * (name == "shear_x"), slope * (name == "shear_y")],
    }
    signs = [{**arguments}, {**arguments, "angle": -arguments["angle"], "shear": [-s for s in arguments["shear"]]}]
    errors = []
    for each in signs:
        if "shift" in name:  # whole pixels only, there
            each["translate"] = [round(t) for t in each["translate"]]
        theirs = F.affine(images, **each, interpolation=F.InterpolationMode.BILINEAR, fill=[0.0])
        errors.append((moved - theirs)[..., 6:-6, 6:-6].abs().mean().item())
    assert min(errors) < (8 if "shift" in name else 0.5)
    assert (moved - images).abs().mean() > 5


def test_strength_0_changes_nothing_but_what_has_none():
    images = photos()
    for number, name in enumerate(OPERATIONS):
        changed = applied(images, torch.full((4,), number), torch.zeros(4), WIDE)
        if name in ("autocontrast", "equalize"):
            assert not torch.equal(changed, images)
        else:
            assert torch.allclose(changed, images, atol=0.01), name


def test_each_image_gets_its_own_and_rows_do_not_see_each_other():
    images = photos(len(OPERATIONS))
    chosen, strengths = torch.arange(len(OPERATIONS)), torch.linspace(-1, 1, len(OPERATIONS))
    together = applied(images, chosen, strengths, USUAL)
    for row in range(len(OPERATIONS)):
        alone = applied(images[row : row + 1], chosen[row : row + 1], strengths[row : row + 1], USUAL)
        assert torch.allclose(alone[0], together[row], atol=1e-2)
    assert torch.equal(together[0], images[0])
    assert PHOTOMETRIC[0] == "identity"


@pytest.mark.parametrize("transform", AUTO, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_numbers_give_the_same_and_values_stay_in_range(transform, channels):
    images = photos(8)[:, :channels]
    given = images.clone()
    first, again = (transform(images, numbers(transform, 8)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(images, given)
    assert first.shape == images.shape
    assert first.isfinite().all()
    assert first.min() >= 0
    assert first.max() <= 255.01
    assert not torch.equal(first, transform(images, numbers(transform, 8, seed=2)))


def test_all_operations_are_equally_likely():
    from lamina.data.augment.auto import which

    counts = torch.bincount(which(torch.arange(1400) / 1400), minlength=14)
    assert counts.tolist() == [100] * 14


def test_augmix_is_a_blend_of_the_image_and_of_changed_ones():
    images, augmix = photos(), AugMix()
    given = numbers(augmix)
    given[:, 0] = 0
    assert torch.equal(augmix(images, given), images)
    given[:, 0] = 1
    flat = torch.full_like(images, 50.0)
    still = AugMix(geometric=False)(flat, given)
    assert not torch.allclose(augmix(images, given), images, atol=5)
    assert still.std(dim=(2, 3)).max() < 1  # shares sum to one, so what has no structure gets none


def test_they_have_names():
    assert get("trivial,rand,augmix") == [TrivialAugment(), RandAugment(), AugMix()]


@pytest.mark.parametrize(
    "wrong", [lambda: RandAugment(operations=0), lambda: RandAugment(magnitude=-1), lambda: AugMix(11)]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(DataError, match=r"is (0|-1|11)\."):
        wrong()
