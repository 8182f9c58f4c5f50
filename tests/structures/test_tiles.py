"""Tiles cover a picture, their scores blend into the map of the whole, and only a band of rows is in memory."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
import torch

from lamina.core.errors import LaminaError, ShapeError
from lamina.structures.tiles import TiledMap, Window, blend_weights, tile_windows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(1, 1), (7, 50), (32, 32), (33, 64), (100, 61)])
@pytest.mark.parametrize(("tile", "overlap"), [(32, 8), (32, 0), (32, 31), (9, 4), (1, 0)])
def test_tiles_cover_every_pixel_and_lie_inside(size: tuple[int, int], tile: int, overlap: int) -> None:
    covered = np.zeros(size, int)
    windows = tile_windows(size, tile, overlap_px=overlap)
    assert len(set(windows)) == len(windows)
    for window in windows:
        assert window.height == min(tile, size[0])
        assert window.width == min(tile, size[1])
        assert covered[window.slices].shape == window[2:]  # nothing of it lies outside
        covered[window.slices] += 1
    assert covered.min() >= 1


def test_neighbours_share_at_least_the_overlap_and_no_tile_is_spare() -> None:
    lefts = sorted({window.left for window in tile_windows((32, 100), 32, overlap_px=8)})
    assert lefts == [0, 24, 48, 68]
    assert len(tile_windows((80, 80), 32, overlap_px=8)) == 9  # 32 + 24 + 24 is just 80


def test_weights_of_two_tiles_add_up_to_one_and_none_is_zero() -> None:
    weights = blend_weights((16, 20), 6)
    assert weights.shape == (16, 20)
    assert weights.min() > 0
    assert weights.max() == 1
    middle = weights[8]
    np.testing.assert_allclose(middle[-6:] + middle[:6], 1, atol=1e-6)
    np.testing.assert_allclose(weights, weights[::-1, ::-1])
    assert (np.diff(middle[:7]) > 0).all()
    assert (blend_weights((4, 4), 0) == 1).all()


@pytest.mark.parametrize(("tile", "overlap"), [(32, 8), (32, 31), (20, 0), (200, 50), (1, 0)])
def test_where_all_tiles_agree_it_is_the_map_of_the_whole(tile: int, overlap: int) -> None:
    scores = RNG.random((5, 45, 70)).astype(np.float32)
    blend = TiledMap((45, 70), 5, tile_px=tile, overlap_px=overlap, confidence=True)
    for window in blend.windows:
        blend.add(window, torch.from_numpy(scores[:, *window.slices]))
    assert (blend.class_map() == scores.argmax(0)).all()
    assert blend.class_map().dtype == np.uint8
    np.testing.assert_allclose(blend.confidence_map(), scores.max(0), rtol=1e-5)


def test_where_tiles_differ_it_is_their_weighted_mean() -> None:
    blend = TiledMap((30, 52), 3, tile_px=20, overlap_px=7, confidence=True)
    total, whole = np.zeros((3, 30, 52)), np.zeros((30, 52))
    for window in blend.windows:
        scores = RNG.random((3, 20, 20)).astype(np.float32)
        total[:, *window.slices] += scores * blend_weights((20, 20), 7)
        whole[window.slices] += blend_weights((20, 20), 7)
        blend.add(window, scores)
    assert (blend.class_map() == total.argmax(0)).all()
    np.testing.assert_allclose(blend.confidence_map(), (total / whole).max(0), rtol=1e-5)


def test_the_order_of_the_tiles_does_not_matter() -> None:
    maps = []
    answers: dict[Window, np.ndarray] = {}
    for seed in range(3):
        blend = TiledMap((64, 50), 4, tile_px=24, overlap_px=10)
        windows = list(blend.windows)
        if seed:
            random.Random(seed).shuffle(windows)
        for window in windows:
            answers.setdefault(window, RNG.random((4, 24, 24)).astype(np.float32))
            blend.add(window, answers[window])
        maps.append(blend.class_map())
    assert (maps[0] == maps[1]).all()
    assert (maps[0] == maps[2]).all()


def test_only_a_band_of_rows_is_in_memory() -> None:
    """Of 12 classes and 2000 x 2000 pixels all sums would take 192 MB."""
    size, tile, classes = (2000, 2000), 128, 12
    scores = RNG.random((classes, tile, tile)).astype(np.float32)
    tracemalloc.start()
    blend = TiledMap(size, classes, tile_px=tile, overlap_px=32)
    for window in blend.windows:
        blend.add(window, scores)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    bands = classes * tile * size[1] * 4
    assert blend.class_map().nbytes == 4_000_000
    assert peak < bands + 4_000_000 + 3e6  # 19 MB: the map, the sums of one row of tiles, and one tile's products


def test_a_tile_comes_once_and_none_is_forgotten() -> None:
    blend = TiledMap((30, 30), 2, tile_px=20, overlap_px=4)
    first = blend.windows[0]
    blend.add(first, np.zeros((2, 20, 20), np.float32))
    with pytest.raises(LaminaError, match=r"One of the 3 tiles that are missing"):
        blend.add(first, np.zeros((2, 20, 20), np.float32))
    with pytest.raises(LaminaError, match="missing was expected"):
        blend.add(Window(1, 0, 20, 20), np.zeros((2, 20, 20), np.float32))
    with pytest.raises(LaminaError, match=r"3 of 4 tiles are missing"):
        blend.class_map()


def test_bad_input_is_refused() -> None:
    for tile, overlap in ((8, 8), (8, -1), (0, 0)):
        with pytest.raises(LaminaError, match=f"Tiles of {tile} pixels overlap by {overlap}"):
            tile_windows((10, 10), tile, overlap_px=overlap)
    with pytest.raises(LaminaError, match="0 x 5 pixels"):
        tile_windows((0, 5), 4, overlap_px=1)
    with pytest.raises(LaminaError, match="256 classes"):
        TiledMap((4, 4), 256)
    blend = TiledMap((10, 10), 2, tile_px=20, overlap_px=4)
    with pytest.raises(ShapeError, match=r"\(2, 5, 5\).*\(2, 10, 10\).*Resize"):
        blend.add(blend.windows[0], np.zeros((2, 5, 5)))
    blend.add(blend.windows[0], np.zeros((2, 10, 10)))
    with pytest.raises(LaminaError, match="confidence=True"):
        blend.confidence_map()
