"""Four pictures as one, with all that is in them (Bochkovskiy 2020, arXiv:2004.10934, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from lamina.core.errors import DataError
from lamina.data.annotated import AnnotatedDataset
from lamina.data.annotated_arrays import AnnotatedArrays
from lamina.data.augment.crop import pair
from lamina.data.augment.sample.geometry import often, require_size, scaled, size_of
from lamina.data.augment.sample.moving import Picture, moved
from lamina.data.augment.transform import require_share
from lamina.structures.annotation import IGNORED, Annotation

_SHARE = (0.3, 0.7)  # of the sides, where the four meet


class Mosaic:
    """With probability `p` the picture and three others of the data set, drawn by chance, around a point near the middle.

    The result has `size` (height, width); each picture is scaled to cover its corner, and cut. Captions and extras belong to none of
    the four alone, so they are left out. Raises DataError where one of the others cannot be read.
    """

    def __init__(
        self, dataset: AnnotatedDataset | AnnotatedArrays, size: int | tuple[int, int], *, p: float = 1.0
    ) -> None:
        require_size(size)
        require_share("p", p)
        if min(pair(size)) < 4:
            raise DataError(f"size is {size}.", "Four pictures need 4 px or more.", "Pass a larger size.")
        unchanged = dataset.changed(None) if isinstance(dataset, AnnotatedDataset) else dataset
        self.dataset, self.size, self.p = unchanged, pair(size), p

    def __call__(self, picture: Picture, annotation: Annotation) -> tuple[Picture, Annotation]:
        """The sample, or the mosaic that begins with it."""
        if torch.rand(()) >= self.p:
            return picture, annotation
        others = torch.randint(len(self.dataset), (3,)).tolist()
        pieces = [(picture, annotation), *(self.dataset[index] for index in others)]
        height, width = self.size
        low, high = _SHARE
        down, across = (low + torch.rand(2) * (high - low)).tolist()
        y, x = round(height * down), round(width * across)
        corners = [(0, 0, y, x), (0, x, y, width - x), (y, 0, height - y, x), (y, x, height - y, width - x)]
        placed = [
            moved(_Cover((tall, wide)), *piece) for piece, (_, _, tall, wide) in zip(pieces, corners, strict=True)
        ]
        places = [(top, left) for top, left, _, _ in corners]
        return _joined([each for each, _ in placed], places, self.size, 0), _annotations(
            [each for _, each in placed], places, self.size
        )

    def __str__(self) -> str:
        return f"a mosaic of four pictures of {self.dataset.name}, {self.size[0]} x {self.size[1]} px, {often(self.p)}"


class _Cover(v2.Transform):  # type: ignore[misc]
    """Scaled as a whole until it covers a size, then a window of it."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = size_of(flat_inputs)
        scale = max(self.size[0] / height, self.size[1] / width)
        inner = max(self.size[0], round(height * scale)), max(self.size[1], round(width * scale))
        down, across = torch.rand(2).tolist()
        top, left = int(down * (inner[0] - self.size[0] + 1)), int(across * (inner[1] - self.size[1] + 1))
        return {"inner": inner, "top": top, "left": left}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.crop(scaled(inpt, params["inner"]), params["top"], params["left"], *self.size)


def _joined(parts: Sequence[Tensor], places: Sequence[tuple[int, int]], size: tuple[int, int], fill: int) -> Tensor:
    """Pictures or maps (... h w) at their places (top, left) in one of `size`; grey ones beside coloured ones become three channels."""
    leading = max((part.shape[:-2] for part in parts), key=tuple)
    whole = parts[0].new_full((*leading, *size), fill)
    for part, (top, left) in zip(parts, places, strict=True):
        whole[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
    return whole


def _annotations(parts: Sequence[Annotation], places: Sequence[tuple[int, int]], size: tuple[int, int]) -> Annotation:
    def every(name: str, change: Callable[[Tensor, tuple[int, int]], Tensor]) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        if any(value is None for value in values):
            return None
        return torch.cat([change(value, place) for value, place in zip(values, places, strict=True)])

    def as_it_is(values: Tensor, place: tuple[int, int]) -> Tensor:
        del place
        return values

    def mask(values: Tensor, place: tuple[int, int]) -> Tensor:
        return _joined([values], [place], size, 0)

    def boxes(values: Tensor, place: tuple[int, int]) -> Tensor:
        return values + torch.tensor([place[1], place[0], place[1], place[0]], dtype=values.dtype)

    def points(values: Tensor, place: tuple[int, int]) -> Tensor:
        known = (values[..., 2:] > 0).to(values.dtype)
        return values + known * torch.tensor([place[1], place[0], 0], dtype=values.dtype)

    maps = [part.class_map for part in parts]
    pictures = [part.other for part in parts]
    known = [(part, place) for part, place in zip(maps, places, strict=True) if part is not None]
    complete = [part for part in pictures if part is not None]
    return Annotation(
        labels=every("labels", as_it_is),
        crowd=every("crowd", as_it_is),
        area_px=every("area_px", as_it_is),
        boxes_xyxy=every("boxes_xyxy", boxes),
        masks=every("masks", mask),
        attributes={
            name: torch.cat([part.attributes[name] for part in parts])
            for name in parts[0].attributes
            if all(name in part.attributes for part in parts)
        },
        keypoints=every("keypoints", points),
        class_map=_joined([part for part, _ in known], [place for _, place in known], size, IGNORED) if known else None,
        other=_joined(complete, places, size, 0) if len(complete) == len(parts) else None,
    )
