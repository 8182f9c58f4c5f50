"""Pictures larger than memory: the network sees overlapping tiles in the picture's own pixels, and one map comes of their answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError, LaminaError
from lamina.data.pictures import read, shown
from lamina.data.preprocess import pixels
from lamina.models.pictures import OnError, check_on_error, tell_left_out, unreadable
from lamina.structures.segmentation import SegmentationMap
from lamina.structures.tiles import TiledMap, Window

_TOGETHER = 4  # tiles that are answered at once


def each_tiled(
    pictures: Sequence[Any],
    answer: Callable[[Tensor], np.ndarray[Any, Any]],
    classes: Sequence[str],
    *,
    channels: int,
    tile: int,
    overlap: int | None,
    on_error: OnError,
) -> list[SegmentationMap]:
    """As `tiled`, of each picture; with on_error="skip" unreadable ones among several are left out, and named in a warning."""
    check_on_error(on_error)
    maps: list[SegmentationMap] = []
    faults: list[str] = []
    for picture in pictures:
        try:
            maps.append(tiled(picture, answer, classes, channels=channels, tile=tile, overlap=overlap))
        except DataError as error:
            if len(pictures) == 1:
                raise
            faults.append(error.came)
    if faults and (on_error == "raise" or not maps):
        raise unreadable(faults, len(pictures))
    if faults:
        tell_left_out(faults, len(pictures))
    return maps


def tiled(
    picture: Any,
    answer: Callable[[Tensor], np.ndarray[Any, Any]],
    classes: Sequence[str],
    *,
    channels: int,
    tile: int,
    overlap: int | None,
) -> SegmentationMap:
    """The classes of a picture's pixels, from probabilities (B K H W) that `answer` gives for tiles (uint8 B C H W) of side `tile`.

    Tiles are weighed less near their edges, where the network sees half of what is around; see TiledMap. The map keeps no
    confidences. Raises LaminaError for an overlap that leaves no way forward.
    """
    (height, width), cut = _cutter(picture, channels)
    blend = TiledMap((height, width), len(classes), tile_px=tile, overlap_px=overlap)
    for start in range(0, len(blend.windows), _TOGETHER):
        some = blend.windows[start : start + _TOGETHER]
        for window, probs in zip(some, answer(torch.stack([cut(window) for window in some])), strict=True):
            blend.add(window, probs)
    return SegmentationMap(blend.class_map(), tuple(classes), None, **shown(picture))


def check(tile: int | None, overlap: int | None, *, engine: str, precision: str) -> None:
    """Raises LaminaError for an overlap without tiles, and for tiles beside another engine than torch."""
    if tile is None and overlap is not None:
        raise LaminaError(f"overlap={overlap} came without tile.", "Tiles overlap.", "Pass tile=512 as well.")
    if tile is not None and (engine not in ("auto", "torch") or precision != "float32"):
        raise LaminaError(
            f"tile={tile} came with engine={engine!r} and precision={precision!r}.",
            "Tiles are answered by torch in float32: engines are built for pictures of one size.",
            "Leave engine and precision out.",
        )


def _cutter(picture: Any, channels: int) -> tuple[tuple[int, int], Callable[[Window], Tensor]]:
    """(height, width) of a picture, and what gives a window of it (uint8 C H W). An array is never copied as a whole."""
    mode = "L" if channels == 1 else "RGB"
    if isinstance(picture, np.ndarray | Tensor) and picture.ndim in (2, 3):
        last = picture.ndim == 3 and picture.shape[-1] in (1, 3, 4)
        first = picture.ndim == 3 and picture.shape[0] in (1, 3, 4)
        rows_first = first and (isinstance(picture, Tensor) or not last)
        size = tuple(picture.shape[1:] if rows_first else picture.shape[:2])

        def from_array(window: Window) -> Tensor:
            rows, columns = window.slices
            part = picture[:, rows, columns] if rows_first else picture[rows, columns]
            return pixels(read(part).convert(mode))

        return (size[0], size[1]), from_array
    with _any_size():
        whole = read(picture)

    def from_picture(window: Window) -> Tensor:
        box = (window.left, window.top, window.left + window.width, window.top + window.height)
        return pixels(whole.crop(box).convert(mode))

    return (whole.height, whole.width), from_picture


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Pillow takes large pictures for attacks; who asks for tiles has one."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
