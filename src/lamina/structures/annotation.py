"""What is known of one picture: its boxes, masks, points, captions, the picture that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor

from lamina.core.errors import ShapeError

IGNORED = 255  # in a map of classes: a pixel that neither loss nor metric looks at

_OF_OBJECTS = ("labels", "boxes_xyxy", "masks", "keypoints", "crowd", "area_px")


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a data set says of one picture (C H W); None where it says nothing. Raises ShapeError where objects differ in number.

    Of N objects in the picture: `labels`, their classes 0 .. K-1; `boxes_xyxy`, absolute pixels from the left and top edge,
    so that the whole picture is (0, 0, W, H); `masks`, the pixels of each; `keypoints`, P points of each as (x, y, visibility),
    with visibility 0 where a point is not annotated, 1 where it is hidden and 2 where it is seen; `crowd`, true where it stands for a
    group or is too difficult, so that finding it is neither right nor wrong (COCO's iscrowd, VOC's difficult, Open Images'
    IsGroupOf); `area_px`, the pixels it covers, by which small, medium and large ones are told apart.

    `attributes` are further numbers of each object, by name (N ...): whether it is truncated, its pose.

    Of the picture: `class_map`, the class of each pixel, IGNORED where there is none; `captions`; `other`, the picture
    that it is paired with. `extras` are what few formats know, by name: tensors of any shape, numbers, texts.
    """

    labels: Int64[Tensor, " N"] | None = None
    boxes_xyxy: Float[Tensor, "N 4"] | None = None
    masks: Bool[Tensor, "N H W"] | None = None
    keypoints: Float[Tensor, "N P 3"] | None = None
    crowd: Bool[Tensor, " N"] | None = None
    area_px: Float[Tensor, " N"] | None = None
    attributes: Mapping[str, Shaped[Tensor, " N *A"]] = field(default_factory=dict)
    class_map: UInt8[Tensor, "H W"] | None = None
    captions: tuple[str, ...] | None = None
    other: UInt8[Tensor, "C H W"] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {name: len(value) for name in _OF_OBJECTS if (value := getattr(self, name)) is not None}
        counts |= {name: len(value) for name, value in self.attributes.items()}
        if len(set(counts.values())) > 1:
            raise ShapeError(
                f"An annotation has {', '.join(f'{count} {name}' for name, count in counts.items())}.",
                "Each object has one of each, or none has it.",
                "Cut all of them alike: annotation.objects(rows).",
            )

    def __len__(self) -> int:
        """How many objects are annotated."""
        told = (getattr(self, name) for name in _OF_OBJECTS)
        return next((len(value) for value in told if value is not None), 0)

    def objects(self, rows: Tensor) -> Annotation:
        """The same picture with these objects only: positions, or a mask (N). `extras` stay as they are."""
        held = {name: getattr(self, name) for name in _OF_OBJECTS}
        cut = {name: value[rows] for name, value in held.items() if value is not None}
        return replace(self, **cut, attributes={name: value[rows] for name, value in self.attributes.items()})

    def __repr__(self) -> str:
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        known = {
            name: value
            for name, value in told.items()
            if value is not None and (name not in ("attributes", "extras") or value)
        }
        return f"Annotation({', '.join(f'{name}={_brief(value)}' for name, value in known.items())})"


def _brief(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {'x'.join(map(str, value.shape))}"
    return str(list(value)) if isinstance(value, Mapping) else repr(value)
