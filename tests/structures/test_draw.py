import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError, ShapeError
from lamina.structures import draw

GREY = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)


def decoded(url):
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_pixels_survive_unchanged():
    assert np.array_equal(np.asarray(draw.picture(GREY)), GREY[0])
    assert np.array_equal(np.asarray(draw.picture(torch.from_numpy(GREY))), GREY[0])
    colour = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    assert np.array_equal(np.asarray(draw.picture(colour)), colour.transpose(1, 2, 0))


def test_other_channel_counts_are_averaged_to_grey():
    two = np.stack([np.full((4, 4), 10, np.uint8), np.full((4, 4), 21, np.uint8)])
    assert (np.asarray(draw.picture(two)) == 16).all()


def test_a_file_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.new("RGB", (10, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert draw.picture(tmp_path / "a.jpg").size == (20, 10)


def test_refuses_floats_and_says_how_to_convert():
    with pytest.raises(DataError, match=r"float32 numbers.*uint8.*astype"):
        draw.picture(GREY.astype(np.float32))


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (3,), (1, 0, 4)])
def test_refuses_what_is_not_one_picture(shape):
    with pytest.raises(ShapeError, match=r"shape .*One picture is.*images\[0\]"):
        draw.picture(np.zeros(shape, np.uint8))


def test_small_pictures_travel_exactly_and_large_ones_shrunk():
    assert np.array_equal(np.asarray(decoded(draw.data_url(GREY))), GREY[0])
    large = decoded(draw.data_url(np.zeros((3, 300, 600), np.uint8), side_px=100))
    assert large.size == (100, 50)
    assert large.format == "JPEG"


def test_a_small_picture_is_enlarged_by_a_whole_factor():
    sheet = np.asarray(draw.captioned(np.array([[[0, 255]]], np.uint8), "x", side_px=64))
    row = sheet[20, 12 : 12 + 64, 0]
    assert (row[:32] == 0).all()
    assert (row[32:] == 255).all()


def test_a_long_caption_is_shortened_to_the_sheet():
    short = draw.captioned(GREY, "x" * 3, side_px=128)
    long = draw.captioned(GREY, "x" * 300, detail="99.00 %", side_px=128)
    assert long.size == short.size
    assert (np.asarray(long)[:, -12:] > 200).all()  # the margin stays clean


def test_channels_may_stand_last():
    colour = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(draw.picture(colour)), colour)
    assert np.array_equal(np.asarray(draw.picture(torch.from_numpy(colour))), colour)
    assert np.array_equal(np.asarray(draw.picture(colour[..., :1])), colour[..., 0])
    assert np.array_equal(np.asarray(draw.picture(np.dstack([colour, colour[..., 0]]))), colour)  # alpha is left out
    assert draw.picture(colour.transpose(2, 0, 1)[:, :, :3]).size == (3, 9)  # three colours in front are what they are
