"""Tiles of a picture give what the whole gives, where the network sees enough of it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lamina
from lamina.core.errors import DataError, LaminaError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))
    made = lamina.Segmenter(net, classes=list("abcd"), preprocess=lamina.Preprocess(size=(96, 130), resize="pad"))
    x = torch.randint(0, 256, (2, 3, 96, 130), dtype=torch.uint8)
    made.fit(x, torch.randint(0, 4, (2, 96, 130)), validation_split=0.0, verbose=0)
    return made


@pytest.fixture
def picture():
    draw = np.random.default_rng(0)
    coarse = Image.fromarray(draw.integers(0, 255, (12, 17, 3), dtype=np.uint8))
    return np.array(coarse.resize((130, 96), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("tile", "overlap"), [(48, 16), (33, 8), (200, None), (64, None)])
def test_tiles_give_the_classes_of_the_whole(model, picture, tile, overlap):
    whole, tiled = model.predict(picture), model.predict(picture, tile=tile, overlap=overlap)
    assert tiled.size == whole.size
    assert tiled.confidence is None
    differs = whole.class_map != tiled.class_map
    assert differs.mean() < 0.001  # at an edge of a tile, near a tie
    if tile == 200:
        assert not differs.any()


def test_files_arrays_of_both_orders_and_pillow_pictures_are_the_same(model, picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "big.png")
    expected = model.predict(picture, tile=50, overlap=10).class_map
    for same in (
        tmp_path / "big.png",
        Image.fromarray(picture),
        np.ascontiguousarray(picture.transpose(2, 0, 1)),
        torch.from_numpy(picture.transpose(2, 0, 1).copy()),
    ):
        assert np.array_equal(model.predict(same, tile=50, overlap=10).class_map, expected)
    several = model.predict([tmp_path / "big.png"] * 2, tile=50, overlap=10)
    assert [each.path for each in several] == [str(tmp_path / "big.png")] * 2


def test_a_picture_that_pillow_takes_for_an_attack_is_read_in_tiles(model, tmp_path, monkeypatch):
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_100)
    assert model.predict(tmp_path / "big.png", tile=32, overlap=8).size == (40, 60)
    assert Image.MAX_IMAGE_PIXELS == 1_100


def test_what_makes_no_tiles_is_refused(model, picture):
    with pytest.raises(LaminaError, match="overlap=8 came without tile"):
        model.predict(picture, overlap=8)
    with pytest.raises(LaminaError, match="overlap by 32"):
        model.predict(picture, tile=32, overlap=32)
    with pytest.raises(LaminaError, match="engine='openvino'"):
        model.predict(picture, tile=32, engine="openvino")


def test_an_unreadable_picture_is_left_out_where_that_is_asked_for(model, picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"(?s)1 of 2 pictures cannot be read.*b\.png"):
        (one,) = model.predict(tmp_path, tile=50, on_error="skip")
    assert one.path == str(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"(?s)1 of 2 pictures cannot be read.*b\.png"):
        model.predict(tmp_path, tile=50)
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        model.predict(tmp_path / "b.png", tile=50, on_error="skip")
    with pytest.raises(DataError, match="on_error is 'no'"):
        model.predict(tmp_path, tile=50, on_error="no")
    (tmp_path / "a.png").write_bytes(b"no picture either")
    with pytest.raises(DataError, match=r"(?s)2 of 2 pictures cannot be read.*a\.png.*b\.png"):
        model.predict(tmp_path, tile=50, on_error="skip")


def test_what_tiles_gave_draws_itself(model, picture):
    for one in (picture, picture / 255, torch.from_numpy(picture)):
        assert np.array_equal(np.asarray(model.predict(one, tile=50).overlay(alpha=0)), picture)
