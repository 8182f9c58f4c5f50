"""COCO's panoptic segmentation (Kirillov 2019, arXiv:1801.00868): a PNG for each picture, whose colours number the segments."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.data.columns import Column, Ragged, Size, ends_of, spans
from lamina.data.formats.coco_json import Categories, Faults, Pictures, Record
from lamina.data.left_out import KEPT
from lamina.data.paths import Paths
from lamina.data.tree import Tree

Rows = npt.NDArray[np.int64]


class Segments:
    """The annotations of a panoptic file as arrays: of each picture its PNG, of each segment number, category, crowd, area and box."""

    def __init__(self) -> None:
        self._pictures: list[Any] = []
        self._files: list[str] = []
        self._counts, self._numbers, self._crowd = array("q"), array("q"), array("b")
        self._measures = array("d")
        self._categories: list[Any] = []

    def add(self, record: Record, text: str, begin: int, end: int) -> str:
        """One entry of `annotations`, which is all that is said of a picture."""
        file, segments = record.get("file_name"), record.get("segments_info")
        if not isinstance(file, str) or not isinstance(segments, list):
            return "annotations without file_name or segments_info"
        try:
            hash(record["image_id"])
            told = [_segment(each) for each in segments]
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            return "annotations whose segments have no id and category_id"
        self._pictures.append(record["image_id"])
        self._files.append(file.replace("\\", "/").rpartition("/")[2])
        self._counts.append(len(told))
        for number, category, crowd, measures in told:
            self._numbers.append(number)
            self._categories.append(category)
            self._crowd.append(crowd)
            self._measures.extend(measures)
        return ""

    def finish(self, file: str, pictures: Pictures, categories: Categories, faults: Faults) -> None:
        """Once the file is read: which annotation is of which picture, and which segments are of known categories."""
        unlisted = [f"image_id {key}" for key in self._pictures if key not in pictures.rows]
        faults.add(file, "annotations of pictures that it does not list", unlisted)
        self._entries = {pictures.rows[key]: at for at, key in enumerate(self._pictures) if key in pictures.rows}
        again = len(self._pictures) - len(unlisted) - len(self._entries)
        faults.add(
            file,
            "annotations of pictures that it annotates again, where the last counts",
            ["-"],
            count=again,
            kind=KEPT,
        )
        self._labels = np.array([categories.rows.get(each, -1) for each in self._categories], dtype=np.int64)
        if (unknown := np.flatnonzero(self._labels < 0)).size:
            named = [f"id {self._categories[row]}" for row in unknown]
            faults.add(file, "segments of categories that it does not list", named)

    def columns(self, tree: Tree, file: str, kept: Rows, places: Rows) -> dict[str, Column]:
        """The columns of the pictures `kept`; those without an annotation have no segments."""
        folder = file.rpartition("/")[2][: -len(".json")].lower()
        pngs = {
            name.rpartition("/")[2]: tree.path(name)
            for name in tree.names
            if name.lower().endswith(".png") and folder in name.lower().split("/")[:-1]
        }
        entries = [self._entries.get(int(row)) for row in kept]
        ends = ends_of(np.asarray(self._counts, dtype=np.int64))
        listed = np.array([entry for entry in entries if entry is not None], dtype=np.int64)
        used, _ = spans(ends, listed)
        owners = np.repeat(
            np.array([at for at, entry in enumerate(entries) if entry is not None], np.int64), np.diff(ends)[listed]
        )
        known = self._labels[used] >= 0
        used, owners = used[known], owners[known]
        ends = ends_of(np.bincount(owners, minlength=len(kept)))
        paths = [
            "" if entry is None else pngs.get(self._files[entry], f"{tree.path(folder)}/{self._files[entry]}")
            for entry in entries
        ]
        measures = np.asarray(self._measures, dtype=np.float64).reshape(-1, 5)[used].astype(np.float32)
        made: dict[str, Column] = {
            "labels": Ragged(places[self._labels[used]], ends),
            "crowd": Ragged(np.asarray(self._crowd, dtype=np.bool_)[used], ends),
            "masks": SegmentMasks(Paths(paths), Ragged(np.asarray(self._numbers, dtype=np.int64)[used], ends)),
        }
        if np.isfinite(measures[:, 4]).all():
            made["area_px"] = Ragged(measures[:, 4], ends)
        if np.isfinite(measures[:, :4]).all():
            made["boxes_xyxy"] = Ragged(measures[:, :4], ends)
        return made


class SegmentMasks:
    """For each sample the masks of its segments, from the PNG whose colours are their numbers (red + 256 green + 65,536 blue)."""

    def __init__(self, paths: Paths, numbers: Ragged) -> None:
        self._paths, self._numbers = paths, numbers

    def __len__(self) -> int:
        return len(self._paths)

    def at(self, index: int, size: Size) -> Tensor:
        """The masks of one sample (n H W); empty ones where the PNG has no pixel of a number."""
        path, numbers = self._paths.name(index), self._numbers.at(index, size)
        if not path:
            return torch.zeros((0, *size), dtype=torch.bool)
        held = torch.from_numpy(_numbered(path))
        if tuple(held.shape) != tuple(size):
            raise DataError(
                f"{path} has {held.shape[0]} x {held.shape[1]} pixels (height x width), its picture {size[0]} x {size[1]}.",
                "Both were expected to be of one size.",
                "Take the pictures that were annotated: these may have been turned or scaled since.",
            )
        return held == numbers[:, None, None]

    def take(self, rows: Rows) -> SegmentMasks:
        """The column of these samples."""
        return SegmentMasks(self._paths.take(torch.from_numpy(rows)), self._numbers.take(rows))


def _numbered(path: str) -> npt.NDArray[np.int64]:
    """The number of each pixel (H W)."""
    try:
        with Image.open(io.BytesIO(archive.read_bytes(path))) as opened:
            colours = np.asarray(opened.convert("RGB"), dtype=np.int64)
    except DataError:
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise DataError(
            f"{path} cannot be read ({error}).",
            "A PNG whose colours number the segments was expected.",
            "Copy or download it again, or leave its picture out.",
        ) from error
    numbers: npt.NDArray[np.int64] = colours @ np.array([1, 256, 65536])
    return numbers


def _segment(told: Any) -> tuple[int, Any, int, Sequence[float]]:
    """(number, category, crowd, (box as corners, area)); a box or an area that is not told is not a number."""
    category = told["category_id"]
    hash(category)
    number = int(told["id"])
    if not 0 <= number < 1 << 24:
        raise ValueError(number)
    box, area = told.get("bbox"), told.get("area")
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError):
        x = y = width = height = math.nan
    covered = float(area) if isinstance(area, int | float) else math.nan
    return number, category, 1 if told.get("iscrowd") else 0, (x, y, x + width, y + height, covered)
