"""Data sets of labelled pictures: in memory, or as files that are decoded when they are asked for.

Both are torch map-style data sets of samples (uint8 C H W, int), and both can be cut: `subset`, `split`, `folds`, `limit`,
`few_shot`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lamina.core.errors import DataError, ShapeError
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.cache import DecodedCache
from lamina.data.cuttable import Labelled
from lamina.data.cutting import positions
from lamina.data.faults import all_unreadable, candidates, failures, named, too_many
from lamina.data.memory import free_bytes, processes_here
from lamina.data.origins import Origins
from lamina.data.paths import Paths
from lamina.data.pictures import read
from lamina.data.preprocess import Preprocess, pixels

Sample = tuple[Tensor, int | Tensor]
OnError = Literal["skip", "replace", "raise"]


class ImageDataset(Labelled, Dataset[Sample]):
    """Pictures in memory: uint8 images (N C H W), int64 labels (N). Raises DataError where they do not fit together.

    Where a picture may have several labels, or none, `labels` are 0 or 1 for each picture and class (N K). `sources` names
    for each picture where it came from, such as its file; empty where nobody knows.
    """

    task: ClassVar[str] = "classification"

    def __init__(
        self,
        images: UInt8[Tensor, "N C H W"],
        labels: Int64[Tensor, " N"],
        classes: Sequence[str],
        *,
        name: str = "",
        sources: Sequence[str] = (),
    ) -> None:
        self.images, self.labels, self.classes = (
            torch.as_tensor(images),
            _checked_labels(labels, classes),
            tuple(classes),
        )
        self.name, self.sources = name, tuple(sources)
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ShapeError(
                f"The images have the shape {tuple(self.images.shape)} and the type {self.images.dtype}.",
                "A data set holds uint8 images of shape N C H W, with values 0..255.",
                "Use images.reshape(...) and .to(torch.uint8); a grey set has C = 1.",
            )
        _check_count(len(self.images), self.labels)
        if self.sources and len(self.sources) != len(self.images):
            raise DataError(
                f"There are {len(self.images):,} images and {len(self.sources):,} sources.",
                "Each image has one source, or none of them has.",
                "Check how the two were cut.",
            )

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"<ImageDataset {self.name!r}, {len(self):,} pictures {shape}, {_classes_in_words(self.classes)}>"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return self.images[index], _label(self.labels[index])

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """The pictures at these positions, in this order, or where a mask (N) is true; copied."""
        chosen = positions(indices, len(self))
        _check_count(len(chosen), chosen)
        made = copy.copy(self)
        made.images, made.labels, made.cut = self.images[chosen], self.labels[chosen], {}
        made.sources = tuple(self.sources[index] for index in chosen.tolist()) if self.sources else ()
        return made

    def origin(self, index: int) -> str:
        """Where a picture came from: its source, or its number where nobody knows more."""
        return self.sources[index] if self.sources else f"{self.name or 'picture'} [{index}]"

    def _contents(self) -> Iterable[bytes]:
        return (image.tobytes() for image in self.images.cpu().numpy())


class FolderDataset(Labelled, Dataset[Sample]):
    """Picture files and labels, decoded at each access; `preprocess` gives them one size, without it they keep theirs.

    `origins` say where each sample was read, where that is not its own file. There is no Python object for each sample, so
    forked workers share what five million samples need.
    """

    task: ClassVar[str] = "classification"

    def __init__(
        self,
        paths: Sequence[str | Path],
        labels: Int64[Tensor, " N"] | Sequence[int],
        classes: Sequence[str],
        *,
        root: str | Path,
        preprocess: Preprocess | None = None,
        origins: Origins | None = None,
    ) -> None:
        self.paths = paths if isinstance(paths, Paths) else Paths(paths)
        self.origins = origins
        self.root, self.preprocess = Path(root), preprocess
        self.is_strict = False
        self._cache_at: Path | None = None
        self._cache: DecodedCache | None = None
        self._known: tuple[Paths, Int64[Tensor, " N"] | None] = (
            self.paths,
            None,
        )  # of the cache, and which of them these are
        self.labels, self.classes = _checked_labels(labels, classes), tuple(classes)
        _check_count(len(self.paths), self.labels)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.root.name

    def __repr__(self) -> str:
        return f"<FolderDataset {self.name!r}, {len(self):,} pictures, {_classes_in_words(self.classes)}>"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        if self.preprocess is None:
            return pixels(read(self.paths[index])), _label(self.labels[index])
        return self.picture(index).permute(2, 0, 1).contiguous(), _label(self.labels[index])

    def picture(self, index: int) -> UInt8[Tensor, "H W C"]:
        """The picture as `preprocess` makes it, channels last, from the cache where there is one. Raises DataError if unreadable."""
        assert self.preprocess is not None, "a data set without preprocess has pictures of many sizes"
        if self._cache is None:
            return self.preprocess.host_last(self.paths.name(index))
        rows = self._known[1]
        row = index if rows is None else int(rows[index])
        return self._cache.picture(row, self.paths.name(index), self.preprocess.host_last)

    def prepared(self, preprocess: Preprocess) -> FolderDataset:
        """The same files, given one size by `preprocess` when they are decoded."""
        made = self._with(preprocess=preprocess)
        if made._cache_at is not None:
            made._cache = DecodedCache(made._cache_at, made._known[0], preprocess)
        return made

    def cached(self, path: str | Path | None = None) -> FolderDataset:
        """The same files, each decoded once: what `prepared` makes of it is kept in the file `path`.

        A name without an ending is a folder, with a file for each set of pictures and each size; None is a hidden folder in
        `root`. A file takes H W C bytes a picture. Cuts of this data set share it, and so do later runs. A picture whose own
        file has another time or size is decoded anew.
        """
        where = self.root / ".decoded" if path is None else Path(path)
        made = self._with(_cache_at=where, _cache=None, _known=(self.paths, None))
        return made if self.preprocess is None else made.prepared(self.preprocess)

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """The files at these positions, in this order, or where a mask (N) is true."""
        chosen = positions(indices, len(self))
        _check_count(len(chosen), chosen)
        paths = self.paths.take(chosen)
        everything, rows = self._known
        cached = self._cache_at is not None  # what has no cache need not keep the names of all
        known = (everything, chosen if rows is None else rows[chosen]) if cached else (paths, None)
        origins = None if self.origins is None else self.origins.take(chosen)
        return self._with(paths=paths, labels=self.labels[chosen], origins=origins, cut={}, _known=known)

    def origin(self, index: int) -> str:
        """Where a sample was read: its file, or the line of the table that names it."""
        return self.paths.name(index) if self.origins is None else self.origins[index]

    def strict(self) -> Self:
        """The same files, of which one that cannot be read is a DataError for who trains on them, and not replaced by another."""
        return self._with(is_strict=True)

    def _with(self, **changes: Any) -> Self:
        made = copy.copy(self)
        vars(made).update(changes)
        return made

    def _contents(self) -> Iterable[bytes]:
        return (archive.read_bytes(self.paths.name(index)) for index in range(len(self)))

    def fits_in_memory(self, preprocess: Preprocess) -> bool:
        """Whether the decoded pictures, in each process that trains here, take less than a quarter of the memory that is free now."""
        wanted = len(self) * preprocess.channels * math.prod(preprocess.size) * processes_here()
        return wanted < free_bytes() / 4

    def in_memory(self, preprocess: Preprocess, *, on_error: OnError = "skip") -> ImageDataset:
        """Every picture decoded into one uint8 tensor (N C H W).

        Unreadable pictures are left out, or with "replace" others are drawn in their place, and named in one warning; with
        on_error="raise" they are a DataError.
        """
        return self.loaded(preprocess, on_error=on_error)[0]

    def loaded(self, preprocess: Preprocess, *, on_error: OnError = "skip") -> tuple[ImageDataset, Int64[Tensor, " M"]]:
        """As `in_memory`, and which of the files each picture is of."""
        if on_error not in ("skip", "replace", "raise"):
            raise DataError(
                f"on_error is {on_error!r}.",
                "It is 'skip', 'replace' or 'raise'.",
                "Pass 'skip' to leave unreadable pictures out.",
            )
        prepared = self if self.preprocess == preprocess else self.prepared(preprocess)
        images = torch.empty((len(self), preprocess.channels, *preprocess.size), dtype=torch.uint8)

        def decode(index: int) -> None:
            images[index] = prepared.picture(index).permute(2, 0, 1)

        problems = failures(len(self), decode)
        if problems and (on_error == "raise" or self.is_strict):
            raise problems[min(problems)]
        used = torch.arange(len(self))
        if problems:
            faults = {index: error.came for index, error in problems.items()}
            if len(faults) == len(self):
                raise all_unreadable(f"{len(self):,} pictures of {self.root}", faults)
            done = "are left out" if on_error == "skip" else "others are drawn in their place"
            warn(
                f"{len(faults):,} of {len(self):,} pictures of {self.root} cannot be read; {done}:\n{named(faults)}\n"
                "Repair these files, or delete them.",
            )
            used = self._without(problems, on_error)
            images = images[used]
        labels, sources = self.labels[used], [str(self.paths[index]) for index in used.tolist()]
        return ImageDataset(images, labels, self.classes, name=self.name, sources=sources), used

    def _without(self, problems: Container[int], on_error: str) -> Int64[Tensor, " M"]:
        """Positions that can be read: in the place of each of the others one that was drawn, or none."""
        if on_error == "skip":
            return torch.tensor([index for index in range(len(self)) if index not in problems])
        used = list(range(len(self)))
        for place in used:
            readable = (index for index in candidates(place, len(self)) if index not in problems)
            found = next(readable, None)
            if found is None:
                raise too_many(place)
            used[place] = found
        return torch.tensor(used)


def _classes_in_words(classes: Sequence[str]) -> str:
    return f"{len(classes):,} class{'' if len(classes) == 1 else 'es'}"


def _label(value: Tensor) -> int | Tensor:
    """One label as a number, 0 or 1 for each class as a tensor."""
    return int(value) if value.dim() == 0 else value


def _checked_labels(labels: Tensor | Sequence[int], classes: Sequence[str]) -> Int64[Tensor, " N"]:
    checked = torch.as_tensor(labels)
    several = checked.dim() == 2 and checked.shape[1] == len(classes) and not checked.is_floating_point()
    if several and bool(((checked == 0) | (checked == 1)).all()):
        return checked.to(torch.int64)
    if checked.is_floating_point() or checked.dim() != 1:
        raise DataError(
            f"The labels have the shape {tuple(checked.shape)} and the type {checked.dtype}.",
            "One integer for each picture was expected.",
            "Turn one-hot rows into integers with labels.argmax(1).",
        )
    checked = checked.to(torch.int64)
    outside = (checked < 0) | (checked >= len(classes))
    if outside.any():
        index = int(outside.nonzero()[0])
        raise DataError(
            f"Label {index} is {int(checked[index])}.",
            f"With {len(classes)} classes, labels lie in 0..{len(classes) - 1}.",
            "Name every class in `classes`, or let the labels start at 0.",
        )
    return checked


def _check_count(images: int, labels: Tensor) -> None:
    if images != len(labels):
        raise DataError(
            f"There are {images:,} images and {len(labels):,} labels.",
            "Each image needs one label.",
            "Check how the two were cut.",
        )
    if images == 0:
        raise DataError("The data set is empty.", "At least one picture was expected.", "Check the path or the filter.")
