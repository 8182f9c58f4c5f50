"""Pictures made smaller or larger, with antialiasing: one backend for every picture, whoever asks.

torch resizes uint8 as Pillow does, to a level or two of 255, in about a third of the time. "nearest" and "lanczos", which it
does not know with antialiasing, are Pillow's own.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_KERNELS = {
    "bilinear": (
        torch.ops.aten._upsample_bilinear2d_aa,
        1.0,
    ),  # and how far it reaches, in pixels of the smaller picture
    "bicubic": (torch.ops.aten._upsample_bicubic2d_aa, 2.0),
}
_SEARCH = 16  # columns or rows that are computed too many, at most, so that the cut falls between pixels
Window = tuple[tuple[int, int], tuple[int, int]]


def resized(
    picture: UInt8[Tensor, "H W C"], size: tuple[int, int], window: Window | None = None, *, interpolation: str
) -> UInt8[Tensor, "h w C"]:
    """The picture scaled to `size` (height, width), or of that picture the `window` ((top, height), (left, width)).

    Only what the window shows is computed. Its grid then lies up to 1/30 of a source pixel beside that of the whole.
    """
    window = ((0, size[0]), (0, size[1])) if window is None else window
    (top, height), (left, width) = window
    if tuple(picture.shape[:2]) == size:
        return picture[top : top + height, left : left + width].contiguous()
    if interpolation not in _KERNELS:
        whole = Image.fromarray(picture.squeeze(2).numpy()).resize(size[::-1], INTERPOLATION[interpolation])
        by_pillow = torch.from_numpy(np.array(whole)).view(*size, -1)
        return by_pillow[top : top + height, left : left + width].contiguous()
    kernel, reach = _KERNELS[interpolation]
    rows, columns = (
        _cut(length, outer, first, count, reach)
        for length, outer, (first, count) in zip(picture.shape[:2], size, window, strict=True)
    )
    source = picture[rows.start : rows.stop, columns.start : columns.stop].contiguous()
    scaled: Tensor = kernel(
        source.permute(2, 0, 1)[None],
        [rows.skip + height, columns.skip + width],
        False,  # align_corners
        size[0] / picture.shape[0],
        size[1] / picture.shape[1],
    )[0].permute(1, 2, 0)
    return scaled[rows.skip :, columns.skip :]  # not copied: whoever keeps it does that


class _Cut:
    """Which part of the source, along one axis, is scaled: `start` to `stop`; the first `skip` of the result are left out."""

    __slots__ = ("skip", "start", "stop")

    def __init__(self, start: int, stop: int, skip: int) -> None:
        self.start, self.stop, self.skip = start, stop, skip


@functools.lru_cache(maxsize=4096)  # pictures of one camera are of one size
def _cut(length: int, outer: int, first: int, count: int, reach: float) -> _Cut:
    """The part for entries first .. first+count-1 of `length` source pixels scaled to `outer`.

    A kernel starts at a source pixel, so the cut is where one of the entries before `first` begins nearest to one.
    """
    step = length / outer
    margin = math.ceil(reach * max(1.0, 1 / step)) + 1  # entries whose kernels would reach over the cut
    latest = max(0, first - margin)
    if step <= 1.0:
        latest = 0  # enlarging is cheap, and the same share of a source pixel is then more of the result
    begin = min(range(latest, max(0, latest - _SEARCH) - 1, -1), key=lambda at: abs(at * step - round(at * step)))
    stop = min(length, math.ceil((first + count) * step + reach * max(1.0, step)) + 1)
    return _Cut(round(begin * step), stop, first - begin)
