"""A transform of torchvision's v2 applied to a picture and all that is known of it, so that everything stays in its place.

What v2 does not do by itself is done here: objects that leave the picture go with all that belongs to them, what was
outside the picture is IGNORED in the map of classes, points of the left and the right are exchanged in a mirror image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torchvision import tv_tensors

from lamina.core.errors import DataError, ShapeError
from lamina.structures.annotation import Annotation

Picture = UInt8[Tensor, "C H W"]
Size = tuple[int, int]
_MARKS = 3  # along each side of the picture: from where they come to lie is seen what a transform did


def moved(
    transform: Callable[[Any], Any],
    picture: Picture,
    annotation: Annotation,
    *,
    point_names: Sequence[str] | None = None,
) -> tuple[Picture, Annotation]:
    """The picture and its annotation after a transform (v2): boxes, masks, class map, points and paired picture in their new places.

    An object stays while the centre of its box is in the picture, with an area, or, without boxes, a pixel of its mask or one of
    its points. `point_names` tell which points a mirror exchanges. Raises DataError where they are needed and not known.
    """
    size = _size(picture)
    if annotation.other is not None and _size(annotation.other) != size:
        raise ShapeError(
            f"The pictures of a pair are of {size} and {_size(annotation.other)} pixels.",
            "A transform moves both alike, so they are of one size.",
            "Resize them first.",
        )
    given = _wrapped(picture, annotation, size)
    after = transform(given)
    if len(after["boxes"]) != len(given["boxes"]):
        raise DataError(
            f"{type(transform).__name__} left out boxes by itself.",
            "Objects that leave the picture are left out here, with all their fields.",
            "Use RandomCrop of lamina.data.augment.sample, and leave SanitizeBoundingBoxes out.",
        )
    picture = after["picture"].as_subclass(Tensor)
    way = _way(given["points"], after["points"], size, _size(picture))
    if way.stays:
        return picture, annotation
    return picture, _followed(annotation, after, way, point_names)


@dataclass(frozen=True)
class _Way:
    """What a transform did to places: whether nothing, whether sides stayed upright, the share of area, whether it mirrored."""

    stays: bool
    straight: bool
    area: float
    mirrored: bool
    size: Size


def _wrapped(picture: Picture, annotation: Annotation, size: Size) -> dict[str, Any]:
    """The sample as v2 knows it. Points are boxes without a side: v2 mirrors its KeyPoints as the centres of pixels, W - 1 - x,
    and scales them as their edges; as boxes they mean one thing. One is added to classes, so that 0, which comes in from
    outside the picture, is IGNORED (255 + 1 in eight bits) whatever the transform."""
    boxes = annotation.boxes_xyxy if annotation.boxes_xyxy is not None else torch.zeros(0, 4)
    places = torch.zeros(0, 2) if annotation.keypoints is None else annotation.keypoints[..., :2].reshape(-1, 2)
    places = torch.cat([_marks(size), places.float()])
    sample = {
        "picture": tv_tensors.Image(picture),
        "boxes": _boxes(
            boxes.float(), size
        ),  # the first boxes of a sample are those of its objects: RandomCrop looks there
        "points": _boxes(torch.cat([places, places], dim=1), size),
    }
    if annotation.masks is not None:
        sample["masks"] = tv_tensors.Mask(annotation.masks.to(torch.uint8))
    if annotation.class_map is not None:
        sample["class_map"] = tv_tensors.Mask(annotation.class_map + 1)
    if annotation.other is not None:
        sample["other"] = tv_tensors.Image(annotation.other)
    return sample


def _boxes(values: Tensor, size: Size) -> tv_tensors.BoundingBoxes:
    boxes: tv_tensors.BoundingBoxes = tv_tensors.BoundingBoxes(
        values, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=size, clamping_mode=None
    )
    return boxes


def _marks(size: Size) -> Float[Tensor, "9 2"]:
    height, width = size
    ys, xs = torch.meshgrid(torch.linspace(0, height, _MARKS), torch.linspace(0, width, _MARKS), indexing="ij")
    return torch.stack([xs.flatten(), ys.flatten()], dim=1)


def _way(before: Tensor, after: Tensor, old: Size, new: Size) -> _Way:
    was = before.as_subclass(Tensor)[: _MARKS**2, :2]
    now = after.as_subclass(Tensor)[: _MARKS**2, :2]
    grid = now.view(_MARKS, _MARKS, 2)
    by_row, by_column = grid.diff(dim=0), grid.diff(dim=1)
    upright = max(float(by_column[..., 1].abs().max()), float(by_row[..., 0].abs().max())) < 1e-3
    turned = max(float(by_column[..., 0].abs().max()), float(by_row[..., 1].abs().max())) < 1e-3  # by a quarter
    right, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    determinant = float(right[0] * down[1] - right[1] * down[0])
    return _Way(
        stays=old == new and bool(torch.equal(was, now)),
        straight=upright or turned,
        area=abs(determinant) / (old[0] * old[1]),
        mirrored=determinant < 0,
        size=new,
    )


def _followed(
    annotation: Annotation, after: dict[str, Any], way: _Way, point_names: Sequence[str] | None
) -> Annotation:
    changes: dict[str, Any] = {}
    alive = torch.ones(len(annotation), dtype=torch.bool)
    shown = torch.full((len(annotation),), way.area)  # how the pixels that an object covers have grown
    if annotation.masks is not None:
        masks = after["masks"].as_subclass(Tensor).bool()
        was, now = annotation.masks.flatten(1).sum(1), masks.flatten(1).sum(1)
        alive &= (now > 0) | (was == 0)
        shown = torch.where(was > 0, now / was.clamp(min=1), shown)
        changes["masks"] = masks
    if annotation.keypoints is not None:
        changes["keypoints"] = _points(annotation.keypoints, after, way, point_names)
    if annotation.boxes_xyxy is not None:
        raw = after["boxes"].as_subclass(Tensor)
        inner = clipped(raw, way.size)
        if annotation.masks is not None and not way.straight:
            inner = _tightened(inner, changes["masks"])
        elif annotation.masks is None:
            shown = shown * (areas(inner) / areas(raw).clamp(min=1e-6)).clamp(max=1)
        alive &= centred(raw, way.size) & (areas(inner) > 0)
        changes["boxes_xyxy"] = inner
    elif annotation.masks is None and annotation.keypoints is not None:
        alive &= (changes["keypoints"][..., 2] > 0).any(1) | (annotation.keypoints[..., 2] == 0).all(1)
    if annotation.area_px is not None:
        changes["area_px"] = annotation.area_px * shown
    if annotation.class_map is not None:
        changes["class_map"] = after["class_map"].as_subclass(Tensor) - 1
    if annotation.other is not None:
        changes["other"] = after["other"].as_subclass(Tensor)
    followed = replace(annotation, **changes)
    return followed if bool(alive.all()) else followed.objects(alive)


def _points(keypoints: Tensor, after: dict[str, Any], way: _Way, names: Sequence[str] | None) -> Float[Tensor, "N P 3"]:
    places = after["points"].as_subclass(Tensor)[_MARKS**2 :, :2].reshape(*keypoints.shape[:2], 2)
    height, width = way.size
    x, y = places.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    seen = torch.where(inside, keypoints[..., 2], 0.0)
    points = torch.cat([torch.where((seen > 0)[..., None], places, 0.0), seen[..., None]], dim=-1).to(keypoints.dtype)
    return points[:, exchanged(names, keypoints.shape[1])] if way.mirrored else points


def exchanged(names: Sequence[str] | None, count: int) -> list[int]:
    """For each of `count` points the one whose place it takes in a mirror: right_eye for left_eye. Raises DataError for unknown names."""
    if names is not None and len(names) in (0, count):
        twins = {name.lower(): number for number, name in enumerate(names)}
        return [twins.get(_mirrored(name), number) for number, name in enumerate(names)] or list(range(count))
    told = "no names" if names is None else f"{len(names)} names"
    raise DataError(
        f"A picture with {count} points for each object was mirrored, and {told} came for them.",
        "Left and right are exchanged then, which their names tell: left_eye, right_eye.",
        "Pass point_names=dataset.point_names, or () where no point has a twin.",
    )


def _mirrored(name: str) -> str:
    other = {"left": "right", "right": "left", "l": "r", "r": "l"}
    word = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])")
    return word.sub(lambda found: other[found[0]], name.lower())


def clipped(boxes: Float[Tensor, "N 4"], size: Size) -> Float[Tensor, "N 4"]:
    """The parts of boxes that lie in a picture of this (height, width)."""
    height, width = size
    return torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height], dtype=boxes.dtype))


def areas(boxes: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """The areas of boxes, 0 for those that are none."""
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)


def centred(boxes: Float[Tensor, "N 4"], size: Size) -> Bool[Tensor, " N"]:
    """Which boxes have their centre in a picture of this (height, width)."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])


def _tightened(boxes: Tensor, masks: Bool[Tensor, "N H W"]) -> Float[Tensor, "N 4"]:
    """Boxes about turned boxes are too large: cut to what the masks cover, where there is a mask."""
    tight = boxes.clone()
    for number, mask in enumerate(masks):
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        if len(rows):
            around = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).to(boxes.dtype)
            tight[number, :2] = torch.maximum(boxes[number, :2], around[:2])
            tight[number, 2:] = torch.minimum(boxes[number, 2:], around[2:])
    return tight


def _size(picture: Tensor) -> Size:
    return int(picture.shape[-2]), int(picture.shape[-1])
