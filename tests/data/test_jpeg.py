"""The quick way for plain JPEGs: the same pixels, or none."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.data import Preprocess, jpeg
from lamina.data.pictures import read


@pytest.fixture
def photo(tmp_path):
    waves = np.sin(np.indices((61, 83)).sum(0) / 5)[:, :, None] * np.array([100, 60, 20]) + 128
    path = tmp_path / "photo.jpg"
    Image.fromarray(waves.astype(np.uint8)).save(path, quality=85)
    return path


def save(photo, **settings):
    with Image.open(photo) as opened:
        opened.convert(settings.pop("mode", "RGB")).save(photo, **settings)
    return photo


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0}, {"mode": "L"}, {"quality": 5}])
def test_the_pixels_are_those_of_pillow(photo, settings):
    save(photo, **settings)
    decoded = jpeg.decode(photo, 3)
    assert decoded is not None
    assert torch.equal(decoded, torch.from_numpy(np.array(read(photo).convert("RGB"))))


def test_real_pictures_too(real_data):
    paths = sorted((real_data / "photos").glob("*.jpg"))
    decoded = {path: pixels for path in paths if (pixels := jpeg.decode(path, 3)) is not None}
    assert decoded
    for path, pixels in decoded.items():
        assert torch.equal(pixels, torch.from_numpy(np.array(read(path).convert("RGB"))))


def test_what_is_turned_coloured_grey_or_no_jpeg_is_left_to_pillow(photo, tmp_path):
    assert jpeg.decode(photo, 1) is None
    exif = Image.Exif()
    exif[0x0112] = 6
    assert jpeg.decode(save(photo, exif=exif), 3) is None
    assert Preprocess(size=(8, 8)).host(photo).equal(Preprocess(size=(8, 8)).host(Image.open(photo)))
    assert jpeg.decode(save(photo, icc_profile=b"some profile"), 3) is None
    assert jpeg.decode(save(photo, mode="CMYK"), 3) is None
    Image.new("RGB", (4, 4)).save(tmp_path / "png.jpg", format="png")
    assert jpeg.decode(tmp_path / "png.jpg", 3) is None
    assert jpeg.decode(tmp_path / "nowhere.jpg", 3) is None


def test_a_cut_file_is_left_to_pillow_which_says_what_is_wrong(photo):
    whole = photo.read_bytes()
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 2):
        photo.write_bytes(whole[:length])
        assert jpeg.decode(photo, 3) is None


def test_without_torchvision_s_decoder_pillow_gives_the_same(photo, monkeypatch):
    with_it = Preprocess(size=(20, 20)).host(photo)
    monkeypatch.setattr(jpeg, "_decoder", lambda: None)
    assert torch.equal(Preprocess(size=(20, 20)).host(photo), with_it)


def test_components_are_read_off_the_header():
    for mode, count in (("RGB", 3), ("L", 1), ("CMYK", 0)):
        stream = io.BytesIO()
        Image.new(mode, (9, 9)).save(stream, "jpeg")
        assert jpeg.components(stream.getvalue()) == count
    assert jpeg.components(b"GIF89a") == 0
