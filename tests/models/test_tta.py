"""Test-time augmentation: which pixels each view shows, and how answers are averaged."""

import numpy as np
import pytest
import torch

from lamina.core.errors import DataError, ShapeError, UnknownNameError
from lamina.data.augment import Mixup, RandomAffine, RandomCrop, RandomShift
from lamina.data.preprocess import Preprocess
from lamina.models import tta

ALEXNET = Preprocess(size=(224, 224), crop=0.875)
SMALL = Preprocess(channels=1, size=(6, 6), crop=0.75)  # of 8 x 8


def numbered(side=8, count=1):
    """Pictures in which every pixel has another value."""
    return torch.arange(count * side * side, dtype=torch.uint8).reshape(count, 1, side, side)


def looks(views, images, size=(6, 6), first=0):
    return list(views(images, size, first))


def test_ten_crops_are_the_papers_224_of_256_pixels():
    read = tta.TenCrop().reads(ALEXNET)
    assert (read.size, read.crop, read.mean) == ((256, 256), 1.0, ALEXNET.mean)
    assert len(looks(tta.TenCrop(), torch.zeros(2, 3, 256, 256, dtype=torch.uint8), (224, 224))) == 10


def test_ten_crops_are_centre_corners_and_their_mirror_images():
    (picture,) = numbered()
    made = [view[0] for view in looks(tta.TenCrop(), picture[None])]
    windows = [picture[:, top : top + 6, left : left + 6] for top, left in ((1, 1), (0, 0), (0, 2), (2, 0), (2, 2))]
    wanted = [view for window in windows for view in (window, window.flip(2))]
    assert all(torch.equal(came, window) for came, window in zip(made, wanted, strict=True))
    assert len(looks(tta.TenCrop(mirror=False), picture[None])) == 5


def test_the_first_of_ten_crops_is_what_the_network_sees_without_them():
    noise = np.random.default_rng(0).integers(0, 255, (300, 411, 3)).astype(np.uint8)
    before = tta.TenCrop().reads(ALEXNET).host(noise)[None]
    assert torch.equal(looks(tta.TenCrop(), before, (224, 224))[0][0], ALEXNET.host(noise))


def test_where_the_preprocessing_crops_nothing_the_papers_share_is_taken():
    assert tta.TenCrop().reads(Preprocess(size=(28, 28))).size == (32, 32)
    assert tta.TenCrop(crop=0.5).reads(Preprocess(size=(28, 14))).size == (56, 28)


def test_flips_are_two_views():
    images = numbered(6)
    came, mirrored = looks(tta.Flip(), images)
    assert torch.equal(came, images)
    assert torch.equal(mirrored, images.flip(3))
    assert tta.Flip().reads(SMALL) == SMALL


def test_shifts_move_along_both_diagonals_by_whole_pixels():
    images = numbered(6)
    made = looks(tta.Shift(1), images)
    assert len(made) == 5
    assert torch.equal(made[0], images.float())
    assert torch.equal(made[1][:, :, 1:, 1:], images[:, :, :-1, :-1].float())  # down and right
    assert torch.equal(made[4][:, :, :-1, :-1], images[:, :, 1:, 1:].float())
    assert len(looks(tta.Shift(1, mirror=True), images)) == 10


def test_scales_show_shares_of_the_picture():
    views = tta.MultiScale((1.0, 0.5), mirror=False)
    assert views.reads(Preprocess(size=(6, 6))).size == (12, 12)
    images = torch.zeros(1, 1, 12, 12, dtype=torch.uint8)
    images[:, :, 3:9, 3:9] = 200  # the middle half
    whole, half = looks(views, images)
    assert torch.equal(half, images[:, :, 3:9, 3:9])
    assert whole.shape == (1, 1, 6, 6)
    assert whole.float().mean() == pytest.approx(50, abs=2)


def test_random_views_are_functions_of_seed_view_and_place():
    views = tta.Augmented(RandomShift(2), times=3, seed=1)
    images = numbered(6, count=4)
    together = looks(views, images)
    apart = [torch.cat(pair) for pair in zip(looks(views, images[:3]), looks(views, images[3:], first=3), strict=True)]
    assert all(torch.equal(one, other) for one, other in zip(together, apart, strict=True))
    assert not torch.equal(together[0], together[1])
    other_seed = looks(tta.Augmented(RandomShift(2), times=3, seed=2), images)
    assert not all(torch.equal(one, other) for one, other in zip(together, other_seed, strict=True))


def test_an_augmentation_may_cut_the_picture_before_its_crop():
    views = tta.Augmented(RandomCrop(size=6), times=2, before_crop=True)
    assert views.reads(SMALL).size == (8, 8)
    assert all(view.shape == (1, 1, 6, 6) for view in looks(views, numbered(8)))
    with pytest.raises(ShapeError, match=r"views of 8 x 8 px.*6 x 6.*RandomCrop\(size=\(6, 6\)\)"):
        looks(tta.Augmented(RandomShift(1), before_crop=True), numbered(8))


def test_answers_are_averaged():
    def answer(batch):
        return batch.float().mean(dim=(1, 2, 3))[:, None].numpy()

    got = tta.averaged(tta.TenCrop(), numbered(), size=(6, 6), answer=answer)
    assert got.dtype == np.float32
    assert got == pytest.approx(np.mean([view.float().mean() for view in looks(tta.TenCrop(), numbered())]))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("ten-crop", tta.TenCrop),
        ("flip", tta.Flip),
        (tta.Shift(2), tta.Shift),
        (RandomAffine(degrees=5), tta.Augmented),
        ([RandomAffine(degrees=5), RandomShift(1)], tta.Augmented),
    ],
)
def test_views_are_named_given_or_made_of_augmentations(spec, kind):
    assert isinstance(tta.get(spec), kind)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: tta.get("ten_crops"), UnknownNameError, "'ten-crop'"),
        (lambda: tta.get(3), DataError, "tta is 3"),
        (lambda: tta.get(RandomShift), DataError, "Pass RandomShift"),
        (lambda: tta.get(Mixup(0.2)), DataError, "Leave Mixup and CutMix out"),
        (lambda: tta.Augmented(RandomShift(1), times=0), DataError, "times is 0"),
        (lambda: tta.TenCrop(crop=1.0), DataError, "crop is 1.0"),
        (lambda: tta.MultiScale(()), DataError, "shares is"),
        (lambda: tta.Shift(0), DataError, "px is 0"),
        (lambda: tta.Shift(6).reads(SMALL), ShapeError, "smaller than the picture"),
    ],
)
def test_bad_input_is_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize("shape", [(5, 1, 6, 6), (5, 6, 6), (6, 6), (6, 6, 3), (5, 6, 6, 1)])
def test_arrays_of_the_networks_own_size_have_nothing_to_be_cut_from(shape):
    images = np.zeros(shape, np.uint8)
    with pytest.raises(DataError, match='tta="flip"'):
        tta.refuse_cropped(tta.TenCrop(), images, SMALL)
    tta.refuse_cropped(tta.Flip(), images, SMALL)
    tta.refuse_cropped(tta.TenCrop(), np.zeros((5, 1, 9, 9), np.uint8), SMALL)
    tta.refuse_cropped(tta.TenCrop(), "cat.jpg", SMALL)


def test_what_says_no_views_is_named():
    with pytest.raises(DataError, match=r"tta is 5\. A name \('flip'"):
        tta.get(5)
