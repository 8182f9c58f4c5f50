"""The hash of a picture's look, and the search for near hashes."""

import io

import numpy as np
import pytest
from PIL import Image

from lamina.data import archive
from lamina.data.checking import perceptual
from lamina.data.checking.perceptual import hashes, near_pairs
from lamina.data.formats.image_folder import picture_files


def by_hand(hashed, distance):
    """Each pair compared with each."""
    return {
        (one, two)
        for one in range(len(hashed))
        for two in range(one + 1, len(hashed))
        if int(hashed[one] ^ hashed[two]).bit_count() <= distance
    }


def found(hashed, distance):
    pairs = [pair for one, two in near_pairs(hashed, distance) for pair in zip(one.tolist(), two.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs)), "a pair came twice"
    return set(pairs)


def crowded(rng, count, flips):
    """Hashes in bunches: many are a few bits from one another."""
    centres = rng.integers(0, 2**63, 8, dtype=np.uint64)
    made = centres[rng.integers(0, 8, count)]
    for _ in range(flips):
        made = made ^ (np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64))
    return np.unique(made)


@pytest.mark.parametrize("distance", [0, 1, 4, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_what_comparing_all_with_all_finds(distance, seed):
    hashed = crowded(np.random.default_rng(seed), 400, flips=3 + seed)
    expected = by_hand(hashed, distance)
    assert found(hashed, distance) == expected
    assert expected or distance < 4


def test_the_search_is_exact_where_it_goes_in_parts(monkeypatch):
    monkeypatch.setattr(perceptual, "_AT_ONCE", 50)
    hashed = crowded(np.random.default_rng(9), 300, flips=3)
    assert found(hashed, 4) == by_hand(hashed, 4)


def test_nothing_is_near_nothing():
    assert found(np.zeros(0, np.uint64), 4) == set()
    assert found(np.array([7], np.uint64), 4) == set()


def grey(image):
    return np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX))


def test_a_picture_without_contrast_has_no_hash_that_says_something():
    rng = np.random.default_rng(0)
    _, flat = hashes(np.stack([np.full((32, 32), 90, np.uint8), rng.integers(0, 256, (32, 32), dtype=np.uint8)]))
    assert flat.tolist() == [True, False]


def test_copies_of_photos_are_near_and_different_photos_are_not(real_data):
    """Recall at distance 4 on 80 photos, which the module's table has of 460."""
    files = picture_files(real_data / "hymenoptera/hymenoptera.zip")[::5]
    photos = [Image.open(io.BytesIO(archive.read_bytes(file))).convert("RGB") for file in files]
    originals, _ = hashes(np.stack([grey(photo) for photo in photos]))

    def saved(photo):
        stream = io.BytesIO()
        photo.save(stream, "JPEG", quality=50)
        return Image.open(stream)

    changes = {
        "saved again": saved,
        "half the size": lambda photo: photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS),
        "lighter": lambda photo: photo.point(lambda value: value * 1.05),
        "darker": lambda photo: photo.point(lambda value: value * 0.95),
    }
    for name, change in changes.items():
        copies, _ = hashes(np.stack([grey(change(photo)) for photo in photos]))
        assert (np.bitwise_count(originals ^ copies) <= 4).mean() >= 0.98, name
    assert found(originals, 4) == set()
