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
Window = tuple[tuple[int, int], tuple[int, int]]


def resized(
    picture: UInt8[Tensor, "H W C"], size: tuple[int, int], window: Window | None = None, *, interpolation: str
) -> UInt8[Tensor, "h w C"]:
    """The picture scaled to `size` (height, width), or of that picture the `window` ((top, height), (left, width)).

    Little more than what the window shows is computed, and its pixels are those of the whole.
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
    (top, bottom, skip_rows), (left, right, skip_columns) = (
        _cut(length, outer, first, count, reach)
        for length, outer, (first, count) in zip(picture.shape[:2], size, window, strict=True)
    )
    source = picture[top:bottom, left:right].contiguous()
    scaled: Tensor = kernel(
        source.permute(2, 0, 1)[None],
        [skip_rows + height, skip_columns + width],
        False,  # align_corners
        size[0] / picture.shape[0],
        size[1] / picture.shape[1],
    )[0].permute(1, 2, 0)
    return scaled[skip_rows:, skip_columns:]  # not copied: whoever keeps it does that


@functools.lru_cache(maxsize=4096)  # pictures of one camera are of one size
def _cut(length: int, outer: int, first: int, count: int, reach: float) -> tuple[int, int, int]:
    """The part for entries first .. first+count-1 of `length` source pixels scaled to `outer`: its start, its stop, and how
    many entries of the result are left out in front.

    The cut is at an entry that begins exactly at a source pixel, so kernels lie where those of the whole do.
    """
    step = length / outer
    margin = math.ceil(reach * max(1.0, 1 / step)) + 1  # entries whose kernels would reach over the cut
    period = outer // math.gcd(length, outer)
    begin = max(0, first - margin) // period * period
    stop = min(length, math.ceil((first + count) * step + reach * max(1.0, step)) + 1)
    return begin * length // outer, stop, first - begin
