"""Data sets as shards: tar files of some thousand samples each, which disks and networks read at full speed (WebDataset's layout).

A folder for each part: `train/shard-000000.tar` ... In a shard the files of a sample follow each other and share their name up to
the first dot: `000000012-cat.jpg`, the picture's own bytes, and `000000012-cat.cls`, the number of its class, or
`000000012-cat.json`, its annotation (see `shard_samples`). Samples are written in a random order: shards of one class each
would train badly. Beside them lies an index, by which they are opened at once and read in any order (data.open), or
from their fronts to their backs, from web servers too (data.stream).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.core.files import replacing
from lamina.core.warnings import warn
from lamina.data import archive, shard_index, shard_samples
from lamina.data.annotated import AnnotatedDataset
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.faults import named
from lamina.data.shard_index import Places
from lamina.data.splits import Splits
from lamina.data.tree import printable

MEGABYTES = 256.0  # of a shard, where nobody says otherwise
_BLOCK = 512  # bytes; files in a tar begin at multiples of it
_RECORD = 10_240  # bytes; a tar's length is a multiple of it
_SIDEWAYS = range(5, 9)  # EXIF orientations that swap width and height
Dataset = ImageDataset | FolderDataset | AnnotatedDataset


@dataclass
class _Sample:
    name: str
    files: dict[str, bytes]  # by ending; the picture's first
    told: dict[str, Any] = field(default_factory=dict)


class _Hashed(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def write_shards(
    data: Dataset | Splits[Any],
    folder: str | os.PathLike[str],
    *,
    samples_per_shard: int | None = None,
    megabytes: float = MEGABYTES,
    seed: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Writes each part into a folder of its name (one data set alone is `train`); gives what their index files say.

    A shard ends after `samples_per_shard`, or with the sample that brings it to so many `megabytes`. The order is a function of
    `seed`. Pictures are not encoded again, but those that are in memory, as PNG. `told` hears a line about each shard. What was
    interrupted leaves no half shard under its name, and is begun anew. Samples that cannot be read are left out and named in
    a warning. Raises DataError where the folder holds anything else, or no sample can be read.
    """
    if (samples_per_shard is not None and samples_per_shard < 1) or megabytes <= 0:
        raise DataError(
            f"A shard is to have {samples_per_shard} samples and {megabytes} megabytes.",
            "At least one sample, and more than no megabytes, were expected.",
            "Leave both out for shards of 256 megabytes.",
        )
    parts = data.parts() if isinstance(data, Splits) else {"train": data}
    folders = {name: Path(folder) / name for name in parts}
    for each in folders.values():
        _check_free(each)
    most = (samples_per_shard or 1 << 62, int(megabytes * 1e6) if samples_per_shard is None else 1 << 62)
    for each in folders.values():  # until all are whole: who begins anew finds none that must not be replaced
        each.mkdir(parents=True, exist_ok=True)
        (each / shard_index.UNFINISHED).touch()
    made = {name: _write_part(part, folders[name], most, seed, told) for name, part in parts.items()}
    for each in folders.values():
        (each / shard_index.UNFINISHED).unlink()
    return made


def _check_free(folder: Path) -> None:
    """Removes what an interrupted writing has left. Raises DataError for whatever else is there."""
    if not folder.is_dir() or not os.listdir(folder):
        return
    if not (folder / shard_index.UNFINISHED).exists():
        raise DataError(
            f"{folder} is not empty.", "A new folder was expected.", "Name another one, or delete what is in it."
        )
    for path in [*folder.glob("shard-*.tar"), *folder.glob(".shard-*.tmp"), folder / shard_index.ARRAYS]:
        path.unlink(missing_ok=True)


def _write_part(
    dataset: Dataset, folder: Path, most: tuple[int, int], seed: int, told: Callable[[str], None]
) -> dict[str, Any]:
    order = random.order(random.key(seed), len(dataset))
    problems: dict[int, str] = {}
    samples = _Pending(_samples(dataset, order, problems))
    places: dict[str, Places] = {}
    gathered, rows, shards = shard_samples.Gathered(), array("q"), list[dict[str, Any]]()
    count = 0
    while not samples.done:
        name = f"shard-{len(shards):06d}.tar"
        began, hashed = count, hashlib.sha256()
        with replacing(folder / name) as path, path.open("wb") as stream:
            while not samples.done and count - began < most[0] and stream.tell() < most[1]:
                row, sample = samples.take()
                key = f"{count:09d}-{_plain(sample.name)}"
                for ending, content in sample.files.items():
                    kind = "picture" if ending == next(iter(sample.files)) else ending.partition(".")[0]
                    start = _write_file(stream, f"{key}.{ending}", content, hashed)
                    if kind != "cls":
                        places.setdefault(kind, Places()).fill(count)
                        places[kind].add(name, start, len(content), f"{key}.{ending}")
                if isinstance(dataset, AnnotatedDataset):
                    gathered.add(sample.told, sample.name)
                rows.append(row)
                count += 1
            _write_end(stream, hashed)
            size = stream.tell()
        shards.append({"name": name, "samples": count - began, "bytes": size, "sha256": hashed.hexdigest()})
        told(f"{folder / name}: {count - began:,} samples, {size / 1e6:,.1f} MB")
    if problems:
        warn(f"{len(problems):,} of {len(dataset):,} samples cannot be read, and were left out:\n{named(problems)}")
    if not count:
        raise DataError(
            f"None of the {len(dataset):,} samples for {folder} can be read.",
            "At least one was expected.",
            "Run `lamina check` on the data.",
        )
    held: dict[str, npt.NDArray[Any]] = {}
    for kind, each in places.items():
        each.fill(count)
        held |= each.arrays(kind)
    table: dict[str, Any] = {"task": dataset.task, "classes": list(dataset.classes), "samples": count, "shards": shards}
    if isinstance(dataset, AnnotatedDataset):
        held |= gathered.arrays()
        table["point_names"], table["skeleton"] = list(dataset.point_names), list(map(list, dataset.skeleton))
        table["things"] = None if dataset.things is None else list(dataset.things)
    else:
        held["labels"] = dataset.labels[torch.from_numpy(np.array(rows))].numpy()
    return shard_index.write(folder, table, held)


class _Pending:
    """Samples one by one, with a look at whether there is another: a shard is begun for those alone that come."""

    def __init__(self, samples: Iterator[tuple[Any, _Sample]]) -> None:
        self._samples = samples
        self._next = next(samples, None)

    @property
    def done(self) -> bool:
        return self._next is None

    def take(self) -> tuple[Any, _Sample]:
        assert self._next is not None
        taken, self._next = self._next, next(self._samples, None)
        return taken


def _samples(dataset: Dataset, order: Tensor, problems: dict[int, str]) -> Iterator[tuple[int, _Sample]]:
    for row in order.tolist():
        try:
            yield row, _sample(dataset, row)
        except DataError as error:
            problems[row] = error.came
        except OSError as error:
            problems[row] = f"{error.filename or dataset.paths.name(row)}: {error.strerror or error}"  # type: ignore[union-attr]


def _sample(dataset: Dataset, row: int) -> _Sample:
    if isinstance(dataset, ImageDataset):
        name = Path(dataset.sources[row]).name if dataset.sources else "picture"
        return _Sample(name, {"png": shard_samples.png(dataset.images[row]), **_label(dataset.labels[row])})
    path = dataset.paths.name(row)
    ending = os.path.splitext(path)[1].lower().lstrip(".") or "jpg"
    if isinstance(dataset, AnnotatedDataset) and type(dataset).picture is not AnnotatedDataset.picture:
        picture = dataset.picture(row)  # something else than the file: half of it, say
        ending, content, size = "png", shard_samples.png(picture), (picture.shape[1], picture.shape[2])
    else:
        content = archive.read_bytes(path)
        if not content:
            raise DataError(f"{path} is empty.", "A picture was expected.", "Copy it again, or leave it out.")
        size = _size(content, path) if isinstance(dataset, AnnotatedDataset) else (0, 0)
    if isinstance(dataset, FolderDataset):
        return _Sample(os.path.basename(path), {ending: content, **_label(dataset.labels[row])})
    annotation = dataset.annotation(row, size)
    told = shard_samples.to_json(annotation, size)
    files = {ending: content, "json": _json(told)}
    files |= {f"{kind}.png": made for kind, made in shard_samples.pictures(annotation).items()}
    return _Sample(os.path.basename(path), files, told)


def _label(label: Tensor) -> dict[str, bytes]:
    """A class as WebDataset has it; several as JSON."""
    if label.dim() == 0:
        return {"cls": b"%d" % int(label)}
    return {"json": _json({"labels": label.nonzero().flatten().tolist()})}


def _json(told: dict[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _size(content: bytes, path: str) -> tuple[int, int]:
    """(height, width) of a picture as it is seen, without decoding it."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
            sideways = picture.getexif().get(0x0112) in _SIDEWAYS
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise DataError(
            f"{path} cannot be read ({error}).", "A picture was expected.", "Copy it again, or leave it out."
        ) from error
    return (width, height) if sideways else (height, width)


def _plain(name: str) -> str:
    """Letters and digits of a file's name, which any system and reader takes; the number in front tells samples apart."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", printable(os.path.splitext(name)[0]))[:48]


def _write_file(stream: Any, name: str, content: bytes, hashed: _Hashed) -> int:
    """Where the bytes begin. Headers have no time and no owner, so that equal samples make equal shards."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    whole = entry.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % _BLOCK)
    start = int(stream.tell()) + _BLOCK
    stream.write(whole)
    hashed.update(whole)
    return start


def _write_end(stream: Any, hashed: _Hashed) -> None:
    end = bytes(2 * _BLOCK + -(stream.tell() + 2 * _BLOCK) % _RECORD)
    stream.write(end)
    hashed.update(end)
