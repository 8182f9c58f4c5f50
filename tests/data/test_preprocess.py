"""One geometry, one normalisation, and a description of both that survives JSON."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError
from lamina.data import Normalize, Preprocess


def test_a_picture_of_the_right_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    for resize in ("crop", "pad", "stretch"):
        image = Preprocess(channels=1, size=(28, 28), resize=resize).host(pixels)
        assert image.dtype == torch.uint8
        assert np.array_equal(image[0].numpy(), pixels)


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(10, 300), (300, 10), (1, 1), (97, 131)])
def test_every_picture_gets_the_size(resize, shape):
    image = Preprocess(size=(32, 48), resize=resize, crop=0.875).host(np.zeros((*shape, 3), dtype=np.uint8))
    assert image.shape == (3, 32, 48)


@pytest.mark.parametrize("shape", [(301, 403), (500, 375), (276, 276), (257, 900), (100, 130)])
def test_crop_is_what_torchvision_does_with_resize_256_and_centre_crop_224(shape):
    transforms = pytest.importorskip("torchvision.transforms")
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    theirs = transforms.CenterCrop(224)(transforms.Resize(256)(picture))
    ours = Preprocess(crop=0.875).host(picture).numpy().transpose(1, 2, 0)
    off = np.abs(ours.astype(int) - np.asarray(theirs))
    assert off.max() <= 1  # torch rounds a pixel in 200 the other way than Pillow
    assert off.mean() < 0.01


def test_crop_keeps_the_middle_and_pad_keeps_everything():
    wide = np.zeros((10, 30), dtype=np.uint8)
    wide[:, 10:20] = 100
    wide[:, :10] = 200
    assert Preprocess(channels=1, size=(10, 10)).host(wide).unique().tolist() == [100]
    padded = Preprocess(channels=1, size=(30, 30), resize="pad").host(wide)[0]
    assert padded[10:20].numpy().tolist() == wide.tolist()
    assert padded[:10].max() == padded[20:].max() == 0


def test_shrinking_averages_instead_of_picking_pixels():
    checkers = np.indices((64, 64)).sum(0) % 2 * 255
    shrunk = Preprocess(channels=1, size=(8, 8)).host(checkers.astype(np.uint8)).float()
    assert (shrunk - 127.5).abs().max() < 3


def test_a_list_of_unequal_pictures_becomes_one_batch():
    batch = Preprocess(size=(9, 9)).stack([np.zeros((4, 5), dtype=np.uint8), Image.new("RGB", (20, 30), "white")])
    assert batch.shape == (2, 3, 9, 9)
    assert batch.flatten(1).float().mean(1).tolist() == [0, 255]
    with pytest.raises(DataError, match="empty"):
        Preprocess().stack([])


def test_normalising_is_minus_mean_over_std():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocess = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    wanted = (images / 255 - mean) / std
    for kind in (images, images.float(), images.double()):
        got = preprocess.normalize()(kind)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, atol=2e-6, rtol=1e-6)


def test_without_mean_and_std_normalising_is_exactly_x_over_255():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(Preprocess(channels=1).normalize()(images), images.float() / 255)


def test_normalising_adds_no_key_to_a_state_dict():
    assert Normalize((0.5,), (0.25,)).state_dict() == {}
    assert repr(Normalize((0.5,), (0.25,))) == "Normalize(mean=[0.5], std=[0.25])"


def test_channels_last_memory_stays_channels_last():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert Preprocess().normalize()(images).is_contiguous(memory_format=torch.channels_last)


def test_survives_json():
    preprocess = Preprocess(1, (20, 30), "pad", 0.9, interpolation="bicubic", mean=(0.13,), std=(0.31,))
    again = Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict())))
    assert again == preprocess
    assert hash(again) == hash(preprocess)


def test_an_entry_of_a_later_version_is_refused():
    with pytest.raises(DataError, match=r"'gamma'.*upgrade"):
        Preprocess.from_dict({"gamma": 2.2})


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 2},
        {"size": (0, 5)},
        {"size": (5,)},
        {"resize": "squeeze"},
        {"crop": 0.0},
        {"crop": 1.5},
        {"interpolation": "cubic"},
        {"mean": (0.1, 0.2)},
        {"std": (0.0,)},
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(wrong):
    with pytest.raises(DataError, match=f"Preprocess has {next(iter(wrong))}="):
        Preprocess(**wrong)


def test_a_number_alone_is_the_side_of_a_square_or_one_for_all_channels():
    assert Preprocess(size=64, mean=0.5, std=1) == Preprocess(size=(64, 64), mean=(0.5,), std=(1,))


@pytest.mark.parametrize("size", ["64", 6.5, (64, "64"), None, ()])
def test_a_size_that_is_no_whole_number_is_named(size):
    with pytest.raises(DataError, match="Preprocess has size="):
        Preprocess(size=size)
