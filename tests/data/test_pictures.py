"""Any picture becomes upright 8-bit grey or RGB, as a person expects to see it."""

import struct
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from lamina.core.errors import DataError
from lamina.data import pictures
from lamina.data.pictures import read
from lamina.data.preprocess import Preprocess
from lamina.structures import draw

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


def adobe_rgb():
    """The ICC profile of Adobe RGB (1998): its primaries as seen under D50, and a gamma of 563 / 256."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    for name, colour in zip("rgb", ADOBE_D50, strict=True):
        numbers = (round(65536 * value) for value in colour)
        tags[f"{name}XYZ".encode()] = b"XYZ \0\0\0\0" + struct.pack(">3i", *numbers)
        tags[f"{name}TRC".encode()] = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 563)
    text = b"Adobe RGB (1998)\0"
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(79)
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = struct.pack(">I", start + len(body))
    head = size + b"none\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + body


ADOBE_D50 = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
XYZ_TO_ADOBE = (
    (2.0413690, -0.5649464, -0.3446944),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0134474, -0.1183897, 1.0154096),
)


def as_adobe(colours):
    """sRGB colours in the numbers of Adobe RGB, by the published matrices (IEC 61966-2-1; Adobe RGB (1998), section 4.3)."""
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    adobe = linear @ np.asarray(SRGB_TO_XYZ).T @ np.asarray(XYZ_TO_ADOBE).T
    return np.rint(255 * np.clip(adobe, 0, 1) ** (256 / 563)).astype(np.uint8)


COLOURS = np.array([[[200, 100, 50], [40, 160, 90], [128, 128, 128], [255, 255, 255], [90, 60, 180]]], dtype=np.uint8)


@pytest.mark.parametrize("name", ["picture.png", "picture.tiff"])
def test_colours_of_another_profile_are_seen_as_they_were_meant(tmp_path, name):
    stored = as_adobe(COLOURS)
    assert np.abs(stored.astype(int) - COLOURS).max() > 15  # the picture would look pale
    path = saved(tmp_path, Image.fromarray(stored), name, icc_profile=adobe_rgb())
    assert np.abs(np.asarray(read(path)).astype(int) - COLOURS).max() <= 4
    with Image.open(path) as opened:
        again = read(read(opened))  # what was brought to sRGB is not brought there again
    assert np.abs(np.asarray(again).astype(int) - COLOURS).max() <= 4


def test_a_picture_with_another_profile_is_still_turned_and_laid_over_white(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read(saved(tmp_path, Image.fromarray(as_adobe(COLOURS)), exif=exif, icc_profile=adobe_rgb()))
    assert turned.size == (1, 5)
    seen = np.dstack([as_adobe(COLOURS), np.full((1, 5), 255, np.uint8)])
    seen[0, 0] = (9, 9, 9, 0)
    over = np.asarray(read(saved(tmp_path, Image.fromarray(seen, "RGBA"), icc_profile=adobe_rgb())))
    assert over[0, 0].tolist() == [255, 255, 255]
    assert np.abs(over[0, 1].astype(int) - COLOURS[0, 1]).max() <= 4


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_srgb_damaged_and_unfitting_profiles_change_nothing(tmp_path, mode):
    picture = Image.fromarray(COLOURS).convert(mode)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile", adobe_rgb()[:200]):
        assert np.array_equal(np.asarray(read(saved(tmp_path, picture, icc_profile=profile))), np.asarray(picture))


def test_heic_is_read_where_pillow_heif_is_installed(monkeypatch):
    registered = []
    plugin = types.SimpleNamespace(register_heif_opener=lambda: registered.append(True))
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    assert pictures._learn_heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert not pictures._learn_heic()
    assert registered == [True]


def drawn(source):
    """What a result that was told of a picture draws."""
    told = pictures.shown(source)
    return np.asarray(draw.picture(told.get("image", told.get("path"))).convert("RGB"))


def test_a_result_draws_what_was_read_in_whatever_form_it_came(tmp_path):
    noise = np.random.default_rng(0)
    colour = noise.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    alpha = np.dstack([colour, np.full((6, 8), 128, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(saved(tmp_path, Image.fromarray(colour), exif=exif))
    narrow = noise.integers(0, 256, (3, 5, 3), dtype=np.uint8)  # whose sides could be channels
    arrays = [colour, colour.transpose(2, 0, 1), colour / 255, colour.astype(np.uint16) * 257, colour[..., 0], alpha]
    arrays += [colour > 99, colour[..., :1], narrow, narrow.transpose(2, 0, 1), colour[:1], colour[:, :1], colour[:4]]
    tensors = [torch.from_numpy(array.copy()) for array in arrays if array.dtype != np.uint16]
    for source in [
        *arrays,
        *tensors,
        turned,
        Image.fromarray(alpha),
        Image.fromarray(colour),
        tmp_path / "picture.png",
    ]:
        assert np.array_equal(drawn(source), np.asarray(read(source).convert("RGB"))), source
    assert pictures.shown(colour)["image"] is colour
    assert pictures.shown(None) == {"image": None}


def test_a_picture_in_an_archive_is_drawn_from_there_when_it_is_asked_for(tmp_path):
    saved(tmp_path, Image.fromarray(RAMP))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "picture.png", "deep/picture.png")
    path = tmp_path / "all.zip" / "deep" / "picture.png"
    assert pictures.shown(path)["path"] == str(path)
    assert np.array_equal(drawn(path)[..., 0], RAMP)
    assert np.asarray(pictures.shown(path)["image"], dtype=np.float32).dtype == np.float32
    assert pictures.shown(tmp_path / "picture.png") == {"path": str(tmp_path / "picture.png")}
