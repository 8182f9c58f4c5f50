"""What an answer of the network becomes: JSON, with a map of classes as runs of each, and a drawn PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.data.pictures import read_bytes
from lamina.serve.incoming import Upload
from lamina.structures import drawing
from lamina.structures.detections import Detections
from lamina.structures.segmentation import SegmentationMap

Rows = npt.NDArray[Any]
_DRAWN_PX = 640  # the longer side of a drawn picture
_LOCATING = ("detector", "segmenter")  # kinds of models whose answers say where in the picture things are
_LEAST = 0.5  # score of what is drawn


class Teller:
    """Makes of a model's answers (B ...) what clients get. `locates`: whether they say where in the picture things are."""

    def __init__(self, model: Any, description: Mapping[str, Any]) -> None:
        self._model = model
        self.kind = str(description.get("kind", "model"))
        self.locates = self.kind in _LOCATING
        shades = [drawing.colour(number) for number in range(len(description.get("classes", ())))]
        hexadecimal = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in shades]
        self.colours = hexadecimal if self.locates else []  # in which the classes are drawn

    def told(self, rows: Rows, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """The answers as JSON, in pixels of pictures of these sizes (height, width); maps of classes with the mask of each."""
        return [_json(result, size) for result, size in zip(self._results(rows, sizes), sizes, strict=True)]

    def drawn(self, row: Rows, upload: Upload) -> str:
        """The picture with its answer drawn on it, as a PNG in base64; of a detector what has a score of 0.5 or more."""
        image = read_bytes(upload.data(), upload.name)
        image.thumbnail((_DRAWN_PX, _DRAWN_PX))
        (result,) = self._results(row[None], [(image.height, image.width)], sources=[image])
        if isinstance(result, Detections):
            result = result.filtered(score=_LEAST)
        written = io.BytesIO()
        result.draw().save(written, "PNG")
        return base64.b64encode(written.getvalue()).decode()

    def example(self, row: Rows) -> dict[str, Any]:
        """An answer as JSON for readers: of a detector one with a box, of a segmenter one without the endless runs of noise."""
        (result,) = self._results(row[None], [(32, 32)])
        if isinstance(result, Detections):
            box = np.array([[12.5, 20.0, 140.25, 98.0]], np.float32)
            result = Detections(result.classes, box, np.array([0]), np.array([0.93], np.float32))
        if isinstance(result, SegmentationMap):
            halves = np.zeros((4, 6), np.uint8)
            halves[:, 3:] = len(result.classes) - 1
            result = SegmentationMap(halves, result.classes, np.full((4, 6), 0.9, np.float32))
        return _json(result, (120, 160))

    def _results(self, rows: Rows, sizes: Sequence[tuple[int, int]], **more: Any) -> Sequence[Any]:
        if self.locates:
            more["sizes"] = sizes
        found: Sequence[Any] = self._model.results(rows, **more)
        return found


def _json(result: Any, size: tuple[int, int]) -> dict[str, Any]:
    if isinstance(result, Detections):
        return {"height": size[0], "width": size[1], **result.to_dict()}
    told: dict[str, Any] = result.to_dict(masks=True) if isinstance(result, SegmentationMap) else result.to_dict()
    return told
