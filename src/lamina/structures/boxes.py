"""Arithmetic of boxes that torchvision.ops has not: formats of numpy arrays and of YOLO, clipping, boxes of no size, overlap with crowds.

Boxes are arrays or tensors (... 4) and come back as what they came. The formats, in pixels from the left and top edge:

    xyxy     left, top, right, bottom: the whole picture is (0, 0, W, H)
    xywh     left, top, width, height, as COCO writes them
    cxcywh   centre, width, height
    yolo     the same as shares of the picture's width and height

Of overlaps, suppression and generalised IoU of tensors see torchvision.ops.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lamina.core.errors import LaminaError, ShapeError, unknown_name

Boxes = TypeVar("Boxes", np.ndarray[Any, Any], Tensor)
BoxFormat = Literal["xyxy", "xywh", "cxcywh", "yolo"]

FORMATS = ("xyxy", "xywh", "cxcywh", "yolo")


def convert(
    boxes: Float[Boxes, "*N 4"], source: BoxFormat, target: BoxFormat, *, size: tuple[int, int] | None = None
) -> Float[Boxes, "*N 4"]:
    """The same boxes in another format. `size` is the picture's (H, W), which "yolo" needs.

    Raises ShapeError for anything but (... 4), LaminaError where the size is missing or nothing.
    """
    for name in (source, target):
        if name not in FORMATS:
            raise unknown_name("format of boxes", name, FORMATS)
    _check(boxes)
    if source == target:
        return boxes
    if source == "yolo":
        boxes = boxes * _shares(boxes, size)
    made = _from_corners(_corners(boxes, source), target)
    return made / _shares(boxes, size) if target == "yolo" else made


def clip(boxes_xyxy: Float[Boxes, "*N 4"], size: tuple[int, int]) -> Float[Boxes, "*N 4"]:
    """What of each box lies within a picture of this (H, W); of one outside nothing is left: its width or height is 0."""
    _check(boxes_xyxy)
    height, width = size
    x, y = boxes_xyxy[..., 0::2].clip(0, width), boxes_xyxy[..., 1::2].clip(0, height)
    return _stacked(x[..., 0], y[..., 0], x[..., 1], y[..., 1])


def is_degenerate(boxes_xyxy: Float[Boxes, "*N 4"]) -> Bool[Boxes, "*N"]:
    """Which boxes cover nothing: no width or height, swapped corners, or numbers that are not finite."""
    _check(boxes_xyxy)
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    covers: Any = (high > low) & (low > -float("inf")) & (high < float("inf"))
    nothing: Boxes = ~covers.all(-1)
    return nothing


def area_px(boxes_xyxy: Float[Boxes, "*N 4"]) -> Float[Boxes, "*N"]:
    """The area of each box, in square pixels; 0 for swapped corners."""
    _check(boxes_xyxy)
    sides: Boxes = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clip(0)
    area: Boxes = sides[..., 0] * sides[..., 1]
    return area


def overlap(
    boxes_xyxy: Float[Boxes, "*N 4"], others_xyxy: Float[Boxes, "*N 4"], crowd: Bool[Boxes, "*N"] | None = None
) -> Float[Boxes, "*N"]:
    """Intersection over union of each box with its counterpart, 0 to 1; with a `crowd`, intersection over the box's own area.

    So does COCO (cocodataset.org/#detection-eval): a box within a crowd is all of what it should be. Shapes are broadcast: of all
    pairs (N M) with `overlap(boxes[:, None], regions[None], crowd[None])`. Boxes of no size overlap nothing.
    """
    _check(boxes_xyxy)
    _check(others_xyxy)
    one, other = boxes_xyxy, others_xyxy
    if isinstance(one, Tensor):
        width = torch.minimum(one[..., 2], other[..., 2]) - torch.maximum(one[..., 0], other[..., 0])
        height = torch.minimum(one[..., 3], other[..., 3]) - torch.maximum(one[..., 1], other[..., 1])
    else:
        width = np.minimum(one[..., 2], other[..., 2]) - np.maximum(one[..., 0], other[..., 0])
        height = np.minimum(one[..., 3], other[..., 3]) - np.maximum(one[..., 1], other[..., 1])
    shared = width.clip(0) * height.clip(0)
    own = area_px(one)
    whole = own + area_px(other) - shared
    if crowd is not None:
        whole = torch.where(crowd, own, whole) if isinstance(one, Tensor) else np.where(crowd, own, whole)
    none = whole <= 0
    share: Boxes = shared / (whole + none)  # nothing by one is nothing
    return share


def _corners(boxes: Boxes, source: str) -> Boxes:
    if source == "xyxy":
        return boxes
    x, y, width, height = (boxes[..., place] for place in range(4))
    if source != "xywh":
        return _stacked(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return _stacked(x, y, x + width, y + height)


def _from_corners(boxes: Boxes, target: str) -> Boxes:
    if target == "xyxy":
        return boxes
    left, top, right, bottom = (boxes[..., place] for place in range(4))
    if target == "xywh":
        return _stacked(left, top, right - left, bottom - top)
    return _stacked((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def _stacked(*sides: Boxes) -> Boxes:
    return torch.stack(sides, -1) if isinstance(sides[0], Tensor) else np.stack(sides, -1)


def _shares(boxes: Boxes, size: tuple[int, int] | None) -> Boxes:
    if size is None or min(size) <= 0:
        raise LaminaError(
            f"The size of the picture is {size}.",
            "YOLO's boxes are shares of its height and width, both above 0.",
            "Pass size=(height, width).",
        )
    sides = (size[1], size[0], size[1], size[0])
    return boxes.new_tensor(sides) if isinstance(boxes, Tensor) else np.asarray(sides, boxes.dtype)


def _check(boxes: Boxes) -> None:
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ShapeError(
            f"Boxes have shape {tuple(boxes.shape)}.",
            "Four numbers each, (N, 4), were expected.",
            "Of no boxes the shape is (0, 4).",
        )
