"""What is known of a sample, as the JSON beside its picture in a shard; and the columns that are made of many such.

Keys are the fields of Annotation; masks are runs of pixels down the columns, first of background (COCO's uncompressed RLE).
Maps of classes and second pictures are PNG files beside it.
"""

from __future__ import annotations

import functools
import io
import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError
from lamina.data import archive
from lamina.data.columns import Beside, Column, Ragged, Texts, ends_of
from lamina.data.paths import Paths
from lamina.structures.annotation import Annotation

_KINDS = {"labels": "int64", "boxes_xyxy": "float32", "keypoints": "float32", "crowd": "bool", "area_px": "float32"}
_CODES = {"int64": "q", "float32": "f", "bool": "b"}
OTHER_THAN_LABELS = {*_KINDS, "captions", "masks"} - {"labels"}  # told of samples of other tasks than classification
PICTURES = ("class_map", "other")  # of an annotation, kept as files
_NAMED = ("attributes", "extras")


def to_json(annotation: Annotation, size: tuple[int, int]) -> dict[str, Any]:
    """What JSON can hold of an annotation of a picture of this (height, width)."""
    told: dict[str, Any] = {"height": size[0], "width": size[1]}
    for name in _KINDS:
        value = getattr(annotation, name)
        if value is not None:
            told[name] = value.tolist()
    if annotation.captions is not None:
        told["captions"] = list(annotation.captions)
    if annotation.masks is not None:
        told["masks"] = [_runs(mask.numpy()) for mask in annotation.masks]
    for field in _NAMED:
        if values := getattr(annotation, field):
            told[field] = {name: _plain(value) for name, value in values.items()}
    return told


def pictures(annotation: Annotation) -> dict[str, bytes]:
    """The maps and pictures of an annotation as PNG files, by their field."""
    held = {name: getattr(annotation, name) for name in PICTURES}
    return {name: png(value) for name, value in held.items() if value is not None}


def png(pixels: Tensor) -> bytes:
    """A picture (C H W) or a map (H W) as a PNG file."""
    values = pixels.numpy() if pixels.dim() == 2 else pixels.permute(1, 2, 0).numpy()
    made = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values[:, :, 0] if values.shape[2:] == (1,) else values)).save(made, "PNG")
    return made.getvalue()


class Gathered:
    """The columns of many samples, told one after the other: a few arrays that grow, and no object for any sample."""

    def __init__(self) -> None:
        self._values = {name: array(_CODES[kind]) for name, kind in _KINDS.items()}
        self._counts = {name: array("q") for name in _KINDS}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._letters, self._texts, self._groups = bytearray(), array("q", [0]), array("q", [0])
        self._captioned = False
        self._lazy: set[str] = set()

    def add(self, told: Mapping[str, Any], place: str) -> None:
        """One more sample. Raises DataError, naming `place`, where its values are of another kind than numbers or texts."""
        try:
            for name, kind in _KINDS.items():
                values = np.asarray(told.get(name, ()), dtype=kind)
                if len(values):
                    self._shapes.setdefault(name, values.shape[1:])
                    if values.shape[1:] != self._shapes[name]:
                        raise ValueError(f"{name} has the shape {values.shape}")
                elif name in told:
                    self._shapes.setdefault(name, {"boxes_xyxy": (4,), "keypoints": (0, 3)}.get(name, ()))
                self._values[name].frombytes(np.ascontiguousarray(values).tobytes())
                self._counts[name].append(len(values))
            captions = told.get("captions", ())
            self._captioned |= "captions" in told
            for text in captions:
                self._letters += text.encode("utf-8", "surrogatepass")
                self._texts.append(len(self._letters))
            self._groups.append(self._groups[-1] + len(captions))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                f"{place} is no annotation ({error}).",
                'Lists of numbers by "labels", "boxes_xyxy" ..., and of texts by "captions" were expected.',
                "Write the shard again, or leave it out.",
            ) from error
        self._lazy |= {f"{field}.{name}" for field in _NAMED for name in told.get(field, ())} | (
            {"masks"} & told.keys()
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it, as `columns` takes it."""
        made: dict[str, npt.NDArray[Any]] = {"lazy": np.array(sorted(self._lazy), dtype=np.str_)}
        for name, shape in self._shapes.items():
            values = np.frombuffer(self._values[name], dtype=_KINDS[name])
            made[f"{name}.values"] = values.reshape(-1, *shape) if 0 not in shape else np.zeros((0, *shape), np.float32)
            made[f"{name}.ends"] = ends_of(np.frombuffer(self._counts[name], dtype=np.int64))
        if self._captioned:
            made["captions.letters"] = np.frombuffer(bytes(self._letters), dtype=np.uint8)
            made["captions.ends"], made["captions.groups"] = np.array(self._texts), np.array(self._groups)
        return made


def columns(held: Mapping[str, npt.NDArray[Any]], files: Mapping[str, Paths]) -> dict[str, Column]:
    """The columns in the arrays of `Gathered`; `files` are those beside the pictures, by ending: "json", "class_map", "other"."""
    made: dict[str, Column] = {}
    for name in _KINDS:
        if f"{name}.values" in held:
            made[name] = Ragged(held[f"{name}.values"], held[f"{name}.ends"])
    if "captions.ends" in held:
        parts = (held["captions.letters"].tobytes(), held["captions.ends"], held["captions.groups"])
        made["captions"] = Texts.packed(*parts)
    for lazy in held["lazy"].tolist() if "json" in files else ():
        field, _, name = lazy.partition(".")
        read = functools.partial(_named, field=field, name=name) if name else masks
        made[name or field] = Beside(files["json"], read, of_objects=field == "attributes")
    for name in PICTURES:
        if name in files:
            made[name] = Beside(files[name], class_map if name == "class_map" else second)
    return made


@functools.lru_cache(maxsize=4)  # several columns ask for one sample's
def _told(path: str) -> dict[str, Any]:
    return parsed(archive.read_bytes(path), path)


def parsed(content: bytes, place: str) -> dict[str, Any]:
    """A sample's JSON. Raises DataError with its place."""
    try:
        told = json.loads(content)
    except ValueError as error:
        raise DataError(
            f"{place} is no JSON ({error}).", "An object was expected.", "Write the shard again."
        ) from error
    if not isinstance(told, dict):
        raise DataError(f"{place} is no object of JSON.", "{...} was expected.", "Write the shard again.")
    return told


def masks(path: str, size: tuple[int, int]) -> Tensor:
    """The masks (N H W) in a sample's JSON."""
    drawn = [_drawn(runs, path) for runs in _told(path).get("masks", ())]
    return torch.from_numpy(np.stack(drawn)) if drawn else torch.zeros((0, *size), dtype=torch.bool)


def _named(path: str, size: tuple[int, int], *, field: str, name: str) -> Any:
    """One of the attributes or extras in a sample's JSON."""
    del size
    return _revived(_told(path).get(field, {}).get(name))


def class_map(path: str, size: tuple[int, int]) -> Tensor:
    """A map of classes (H W) from its PNG file."""
    del size
    with Image.open(io.BytesIO(archive.read_bytes(path))) as picture:
        return torch.from_numpy(np.array(picture))


def second(path: str, size: tuple[int, int]) -> Tensor:
    """A second picture (C H W) from its PNG file."""
    values = class_map(path, size)
    return values[None] if values.dim() == 2 else values.permute(2, 0, 1).contiguous()


def _runs(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    flat = np.concatenate([[False], mask.ravel(order="F"), [True]])
    flat[-1] = not flat[-2]  # so that the last run ends too
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": np.diff(ends, prepend=0).tolist()}


def _drawn(runs: Mapping[str, Any], place: str) -> npt.NDArray[np.bool_]:
    height, width = runs["size"]
    counts: Sequence[int] = runs["counts"]
    if sum(counts) != height * width:
        raise DataError(
            f"{place} has a mask whose runs cover {sum(counts):,} pixels.",
            f"Its size is {height} x {width}.",
            "Write the shard again.",
        )
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.asarray(values.reshape((height, width), order="F"))


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": str(value.dtype).removeprefix("torch."), "shape": list(value.shape), "values": value.tolist()}
    return list(value) if isinstance(value, tuple) else value


def _revived(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"tensor", "shape", "values"}:
        return torch.tensor(value["values"], dtype=getattr(torch, value["tensor"])).reshape(value["shape"])
    return value
