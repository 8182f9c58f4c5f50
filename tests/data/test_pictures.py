"""Any picture becomes upright 8-bit grey or RGB, as a person expects to see it."""

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError
from lamina.data.pictures import read
from lamina.data.preprocess import Preprocess

RAMP = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)


def saved(tmp_path, image, name="picture.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_grey_and_colour_pictures_come_as_they_are(tmp_path):
    colour = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)
    assert np.array_equal(np.asarray(read(saved(tmp_path, Image.fromarray(RAMP)))), RAMP)
    assert np.array_equal(np.asarray(read(str(saved(tmp_path, Image.fromarray(colour))))), colour)


def test_a_picture_is_turned_as_its_exif_tag_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise by 90 degrees to see it
    path = saved(tmp_path, Image.fromarray(RAMP), exif=exif)
    assert np.array_equal(np.asarray(read(path)), np.rot90(RAMP, -1))


def test_sixteen_bits_keep_their_brightness(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257))
    with Image.open(path) as stored:
        assert stored.mode.startswith("I")
    assert np.array_equal(np.asarray(read(path)), RAMP)


def test_transparent_pixels_are_white_whatever_colour_they_hide(tmp_path):
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0] = (200, 100, 50, 255)
    got = np.asarray(read(saved(tmp_path, Image.fromarray(pixels, "RGBA"))))
    assert got[0, 0].tolist() == [200, 100, 50]
    assert got[1, 1].tolist() == [255, 255, 255]


def test_grey_with_alpha_stays_grey(tmp_path):
    picture = Image.merge("LA", (Image.fromarray(RAMP), Image.new("L", (8, 6), 255)))
    read_back = read(saved(tmp_path, picture))
    assert read_back.mode == "L"
    assert np.array_equal(np.asarray(read_back), RAMP)


def test_a_palette_gives_colours_and_its_transparent_entry_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    assert np.asarray(read(saved(tmp_path, picture))).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    path = saved(tmp_path, picture, "clear.png", transparency=bytes([255, 0]))
    assert np.asarray(read(path)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "red.jpg", quality=100)
    red, green, blue = np.asarray(read(path))[8, 8].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_black_and_white_is_0_and_255(tmp_path):
    assert np.asarray(read(saved(tmp_path, Image.fromarray(RAMP > 100)))).max() == 255


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read(path))[0, 0].tolist() == [255, 0, 0]


def test_arrays_and_tensors_give_the_same_picture_as_the_file():
    colour = np.stack([RAMP, RAMP // 2, RAMP // 3], axis=2)
    as_tensor = torch.from_numpy(colour.transpose(2, 0, 1).copy())
    for image in (colour, as_tensor, as_tensor.numpy(), as_tensor / 255, colour / 255, colour.astype(np.int64)):
        assert np.array_equal(np.asarray(read(image)), colour)
    assert np.array_equal(np.asarray(read(torch.from_numpy(RAMP[None]))), RAMP)


def test_where_both_ends_could_be_channels_arrays_have_them_last_and_tensors_first():
    array = np.zeros((3, 8, 3), dtype=np.uint8)
    assert read(array).size == (8, 3)
    assert read(torch.from_numpy(array)).size == (3, 8)


@pytest.mark.parametrize(
    "array", [np.full((4, 4), 300), np.full((4, 4), -1), np.full((4, 4), 1.5), np.full((4, 4), np.nan)]
)
def test_values_that_mean_nothing_are_refused(array):
    with pytest.raises(DataError, match=r"0\.\.255 or floats in 0\.\.1"):
        read(array)


@pytest.mark.parametrize("shape", [(0, 4), (2, 3, 4, 5), (5, 6, 7), (4,)])
def test_shapes_that_are_no_picture_are_refused(shape):
    with pytest.raises(DataError, match="H W, H W C or C H W"):
        read(np.zeros(shape, dtype=np.uint8))


def test_a_missing_a_foreign_and_a_truncated_file_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png is not a file"):
        read(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png cannot be read"):
        read(tmp_path / "text.png")
    whole = saved(tmp_path, Image.effect_noise((64, 64), 50), "cut.jpg")
    whole.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(DataError, match=r"cut\.jpg cannot be read \(.*truncated"):
        read(whole)
    with pytest.raises(DataError, match="came as int"):
        read(3)


def test_colour_becomes_grey_and_grey_becomes_colour_as_the_network_asks():
    red = Image.new("RGB", (4, 4), "red")
    assert Preprocess(channels=1, size=(4, 4)).host(red).unique().tolist() == [76]  # ITU-R 601: 0.299 x 255
    assert Preprocess(channels=3, size=(6, 8)).host(RAMP)[2].tolist() == RAMP.tolist()
