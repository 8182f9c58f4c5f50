"""What a model says of every pixel of a picture: its class, as areas, masks, outlines, an overlay, a file."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError, LaminaError, ShapeError, unknown_name
from lamina.core.files import replacing
from lamina.structures import draw, drawing
from lamina.structures.annotation import IGNORED, Annotation
from lamina.structures.masks import encode_runs, mask_box_xyxy
from lamina.structures.results import percent

_UNLABELLED: drawing.Colour = (0, 0, 0)  # in the palette of a file
_SMALLEST_PX, _LARGEST_PX = 320, 1600  # of a drawing's longer side: a legend needs room, and is to be read beside it


class Area(NamedTuple):
    """How many pixels a class has, and their share of the picture, 0 to 1."""

    pixels: int
    share: float


@dataclass(frozen=True, eq=False)
class SegmentationMap:
    """The class of each pixel of one picture, in the picture's own size (H W); IGNORED, 255, where there is none.

    `confidence` is the probability of that class in each pixel (H W), if known; `image` and `path` say which picture it was.
    Raises ShapeError where the sizes differ, DataError for a value that is neither a class nor IGNORED, and for more than 255 classes.
    """

    class_map: UInt8[np.ndarray, "H W"]
    classes: tuple[str, ...]
    confidence: Float[np.ndarray, "H W"] | None = None
    image: draw.Picture | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        classes = tuple(self.classes)
        if not 0 < len(classes) <= IGNORED:
            raise DataError(
                f"A map of {len(classes):,} classes came.",
                f"From 1 to {IGNORED} classes were expected: a map holds one byte for each pixel.",
                "Gather classes into fewer.",
            )
        object.__setattr__(self, "class_map", _checked_map(self.class_map, len(classes)))
        object.__setattr__(self, "classes", classes)
        if self.confidence is not None:
            confidence = np.asarray(_on_host(self.confidence))
            if confidence.shape != self.class_map.shape:
                raise ShapeError(
                    f"The confidence has shape {confidence.shape}, and the map of classes {self.class_map.shape}.",
                    "Both are (H, W), of one size.",
                    "Pass the largest probability of each pixel.",
                )
            object.__setattr__(self, "confidence", confidence)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.class_map.shape[0], self.class_map.shape[1]

    @property
    def areas(self) -> dict[str, Area]:
        """The pixels of each class that occurs and their share of the picture, the largest first."""
        counts = np.bincount(self.class_map.ravel(), minlength=IGNORED + 1)
        order = np.argsort(-counts[: len(self.classes)], kind="stable")
        whole = self.class_map.size
        return {self.classes[i]: Area(int(counts[i]), int(counts[i]) / whole) for i in order.tolist() if counts[i]}

    @property
    def unlabelled_px(self) -> int:
        """How many pixels have no class."""
        return int(np.count_nonzero(self.class_map == IGNORED))

    def mask(self, name: str) -> Bool[np.ndarray, "H W"]:
        """Where a class is. Raises UnknownNameError for a name that is none of the classes."""
        where: Bool[np.ndarray, "H W"] = self.class_map == self._index(name)
        return where

    def contours(self, name: str) -> list[Float[np.ndarray, "P 2"]]:
        """The outlines of a class, each as corners (x, y) in pixels from the left and top edge, without repeating the first.

        They run between the middles of pixels inside and outside, so that together, by the even-odd rule, they hold the middles
        of just its pixels. Around a hole the corners run the other way: there sum (x0 y1 - x1 y0) is negative.
        """
        from contourpy import contour_generator  # comes with matplotlib; slow to import, and needed only here

        mask = np.pad(self.mask(name), 1).astype(np.float64)
        lines = contour_generator(z=mask, name="serial").lines(0.5)
        return [_corners(np.asarray(line)[:-1] - 0.5) for line in lines]

    def overlay(self, *, alpha: float = drawing.COVER) -> Image.Image:
        """The picture in its own size under its classes' colours; `alpha` 0 is the picture, 1 the colours alone."""
        _require_alpha(alpha)
        pixels = np.asarray(self._picture())
        cover = (np.array([self._shade(number) for number in range(IGNORED + 1)]) * alpha).astype(np.uint8)
        rest = (np.arange(256) * (1 - alpha)).astype(np.uint8)[pixels]
        return Image.fromarray(np.where((self.class_map == IGNORED)[..., None], pixels, cover[self.class_map] + rest))

    def draw(self, *, alpha: float = drawing.COVER, side_px: int | None = None) -> Image.Image:
        """The picture under its classes' colours, with a legend of the classes and their shares below.

        A class has the same colour in every picture. The longer side is about `side_px`: without it the picture's own, but from 320 to
        1600.
        """
        _require_alpha(alpha)
        alpha = alpha if self._is_known else 1.0  # nothing to look through at
        side = min(max(*self.size, _SMALLEST_PX), _LARGEST_PX) if side_px is None else side_px
        known = Annotation(class_map=torch.from_numpy(self.class_map))
        return drawing.annotated(self._picture(), known, classes=self.classes, side_px=side, alpha=alpha)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the map as a PNG with a palette: a pixel's value is its class, or 255 for none; colours as drawn.

        `lamina.data.open` and every tool that reads VOC's maps read it back. Raises LaminaError for another ending than .png.
        """
        target = Path(path)
        if target.suffix.lower() != ".png":
            raise LaminaError(
                f"The map is to be saved as {target.name}.",
                "PNG was expected: other formats change the values of pixels, or keep no palette.",
                f"Use {target.with_suffix('.png').name}.",
            )
        shown = Image.fromarray(self.class_map)
        shown.putpalette([level for number in range(IGNORED + 1) for level in self._shade(number)])
        with replacing(target) as temporary:
            shown.save(temporary, "PNG", optimize=True)
        return target

    def to_coco(self, image_id: int, *, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """An entry of COCO's format for each class that occurs: runs, area and box, as one region.

        The category is the class's number, or that of `category_ids` (K). With a known confidence "score" is its mean within.
        Raises ShapeError where there are not as many categories as classes.
        """
        if category_ids is not None and len(category_ids) != len(self.classes):
            raise ShapeError(
                f"{len(category_ids)} category_ids came for {len(self.classes)} classes.",
                "One for each class was expected.",
                "Pass them in the order of the classes.",
            )
        entries = []
        for name, area in sorted(self.areas.items(), key=lambda each: self._index(each[0])):
            mask, number = self.mask(name), self._index(name)
            left, top, right, bottom = mask_box_xyxy(mask)
            entry = {
                "image_id": image_id,
                "category_id": number if category_ids is None else int(category_ids[number]),
                "segmentation": encode_runs(mask),
                "area": area.pixels,
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }
            if self.confidence is not None:
                entry["score"] = float(self.confidence[mask].mean())
            entries.append(entry)
        return entries

    def to_dict(self, *, masks: bool = False) -> dict[str, Any]:
        """What JSON needs: path (if known), size, and label, index, pixels and share of each class that occurs.

        `masks` adds the runs of each, as COCO has them.
        """
        where = {} if self.path is None else {"path": str(self.path)}
        found = []
        for name, area in self.areas.items():
            entry: dict[str, Any] = {"label": name, "index": self._index(name), **area._asdict()}
            if self.confidence is not None:
                entry["confidence"] = float(self.confidence[self.mask(name)].mean())
            if masks:
                entry["mask"] = encode_runs(self.mask(name))
            found.append(entry)
        height, width = self.size
        return {**where, "height": height, "width": width, "areas": found, "unlabelled_px": self.unlabelled_px}

    def _index(self, name: str) -> int:
        if name not in self.classes:
            raise unknown_name("class", name, self.classes)
        return self.classes.index(name)

    def _shade(self, number: int) -> drawing.Colour:
        return drawing.colour(number) if number < len(self.classes) else _UNLABELLED

    @property
    def _is_known(self) -> bool:
        return self.image is not None or self.path is not None

    def _picture(self) -> Image.Image:
        """The picture, or where none is known paper of its size."""
        shown = self.image if self.image is not None else self.path
        if shown is None:
            return Image.new("RGB", self.size[::-1], draw.PAPER)
        pixels = draw.picture(shown).convert("RGB")
        if pixels.size != self.size[::-1]:
            raise ShapeError(
                f"The picture has {pixels.width} x {pixels.height} pixels, and its map {self.size[1]} x {self.size[0]}.",
                "Both have one size (width x height).",
                "Resize the map by nearest neighbour, or make it with the picture that was predicted.",
            )
        return pixels

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        named = [f"{name} {percent(area.share)}" for name, area in self.areas.items()]
        rest = [f"and {len(named) - _TOLD} more"] if len(named) > _TOLD else []
        none = [f"no class {percent(self.unlabelled_px / self.class_map.size)}"] if self.unlabelled_px else []
        return where + ", ".join(named[:_TOLD] + rest + none)

    def __repr__(self) -> str:
        where = "" if self.path is None else f", path={str(self.path)!r}"
        height, width = self.size
        return f"SegmentationMap({width} x {height} pixels, {len(self.areas)} of {len(self.classes)} classes{where})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td><div style="width:1em;height:1em;background:rgb{self._shade(self._index(name))}"></div></td>'
            f'<td style="text-align:left">{html.escape(name)}</td><td>{percent(area.share)}</td></tr>'
            for name, area in self.areas.items()
        )
        shown = draw.data_url(self.overlay(), side_px=480)
        img = f'<img alt="" src="{shown}" style="max-width:480px;border-radius:6px">'
        return f'<div style="display:flex;gap:1em;align-items:center">{img}<table>{rows}</table></div>'


_TOLD = 5  # classes in a line of text


def _checked_map(class_map: Any, classes: int) -> UInt8[np.ndarray, "H W"]:
    values = np.asarray(_on_host(class_map))
    if values.ndim != 2 or 0 in values.shape:
        raise ShapeError(
            f"The map of classes has shape {values.shape}.",
            "One map is (H, W), and not empty.",
            "Pass one of a batch, logits.argmax(1)[0].",
        )
    if values.dtype.kind not in "iub":
        raise DataError(
            f"The map of classes holds {values.dtype} numbers.",
            "The class of each pixel was expected, as whole numbers.",
            "Pass the argmax over the classes.",
        )
    strange = (values != IGNORED) & ((values < 0) | (values >= classes))
    if strange.any():
        raise DataError(
            f"The map of classes holds {int(values[strange][0])}.",
            f"Classes from 0 to {classes - 1} were expected, or {IGNORED} for none.",
            "Pass the classes that the network was built with.",
        )
    return np.ascontiguousarray(values.astype(np.uint8))


def _on_host(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _corners(line: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, "P 2"]:
    """A closed line without the points at which it goes straight on."""
    before, after = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    corners: Float[np.ndarray, "P 2"] = line[turns]
    return corners


def _require_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise LaminaError(
            f"alpha is {alpha}.", "The share of the colours, from 0 to 1, was expected.", "Pass for example alpha=0.5."
        )
