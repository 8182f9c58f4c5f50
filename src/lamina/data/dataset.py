"""Data sets of labelled pictures: in memory, or as files that are decoded when they are asked for.

Both are torch map-style data sets of samples (uint8 C H W, int), and both can be cut: `subset`, `split`, `limit`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lamina.core.errors import DataError, ShapeError
from lamina.data.pictures import read
from lamina.data.preprocess import Preprocess, pixels

Sample = tuple[Tensor, int]


class ImageDataset(Dataset[Sample]):
    """Pictures in memory: uint8 images (N C H W), int64 labels (N). Raises DataError where they do not fit together."""

    task: ClassVar[str] = "classification"

    def __init__(
        self, images: UInt8[Tensor, "N C H W"], labels: Int64[Tensor, " N"], classes: Sequence[str], *, name: str = ""
    ) -> None:
        self.images, self.labels, self.classes = (
            torch.as_tensor(images),
            _checked_labels(labels, classes),
            tuple(classes),
        )
        self.name = name
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ShapeError(
                f"The images have the shape {tuple(self.images.shape)} and the type {self.images.dtype}.",
                "A data set holds uint8 images of shape N C H W, with values 0..255.",
                "Use images.reshape(...) and .to(torch.uint8); a grey set has C = 1.",
            )
        _check_count(len(self.images), self.labels)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"<ImageDataset {self.name!r}, {len(self):,} pictures {shape}, {len(self.classes)} classes>"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return self.images[index], int(self.labels[index])

    def subset(self, indices: Sequence[int] | Tensor) -> ImageDataset:
        """The pictures at these positions, in this order, copied."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return ImageDataset(self.images[chosen], self.labels[chosen], self.classes, name=self.name)

    def split(self, fraction: float, *, seed: int = 0) -> tuple[ImageDataset, ImageDataset]:
        """(rest, held out): about `fraction` of the pictures are held out, chosen by a hash of their pixels.

        Order does not matter, and equal pictures never land on both sides.
        """
        contents = (image.tobytes() for image in self.images.numpy())
        rest, held = _split_by_content(contents, len(self), fraction=fraction, seed=seed)
        return self.subset(rest), self.subset(held)

    def limit(self, count: int) -> ImageDataset:
        """The first `count` pictures, balanced over the classes: the first of each, then the second, and so on."""
        return self.subset(_balanced_prefix(self.labels, count)) if count < len(self) else self


class FolderDataset(Dataset[Sample]):
    """Picture files and labels, decoded at each access; `preprocess` gives them one size, without it they keep theirs."""

    task: ClassVar[str] = "classification"

    def __init__(
        self,
        paths: Sequence[str | Path],
        labels: Int64[Tensor, " N"] | Sequence[int],
        classes: Sequence[str],
        *,
        root: str | Path,
        preprocess: Preprocess | None = None,
    ) -> None:
        self.paths, self.root, self.preprocess = tuple(Path(path) for path in paths), Path(root), preprocess
        self.labels, self.classes = _checked_labels(labels, classes), tuple(classes)
        _check_count(len(self.paths), self.labels)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.root.name

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        path = self.paths[index]
        image = pixels(read(path)) if self.preprocess is None else self.preprocess.host(path)
        return image, int(self.labels[index])

    def prepared(self, preprocess: Preprocess) -> FolderDataset:
        """The same files, given one size by `preprocess` when they are decoded."""
        return FolderDataset(self.paths, self.labels, self.classes, root=self.root, preprocess=preprocess)

    def subset(self, indices: Sequence[int] | Tensor) -> FolderDataset:
        """The files at these positions, in this order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        paths = [self.paths[index] for index in chosen.tolist()]
        return FolderDataset(paths, self.labels[chosen], self.classes, root=self.root, preprocess=self.preprocess)

    def split(self, fraction: float, *, seed: int = 0) -> tuple[FolderDataset, FolderDataset]:
        """(rest, held out): about `fraction` of the files are held out, chosen by a hash of their bytes.

        Names and order do not matter, and copies of a file never land on both sides.
        """
        contents = (path.read_bytes() for path in self.paths)
        rest, held = _split_by_content(contents, len(self), fraction=fraction, seed=seed)
        return self.subset(rest), self.subset(held)

    def limit(self, count: int) -> FolderDataset:
        """The first `count` files, balanced over the classes: the first of each, then the second, and so on."""
        return self.subset(_balanced_prefix(self.labels, count)) if count < len(self) else self

    def in_memory(self, preprocess: Preprocess, *, on_error: Literal["skip", "raise"] = "skip") -> ImageDataset:
        """Every picture decoded into one uint8 tensor (N C H W).

        Unreadable pictures are left out and named in one warning, or raised as DataError with on_error="raise".
        """
        if on_error not in ("skip", "raise"):
            raise DataError(
                f"on_error is {on_error!r}.",
                "It is 'skip' or 'raise'.",
                "Pass 'skip' to leave unreadable pictures out.",
            )
        images = torch.empty((len(self), preprocess.channels, *preprocess.size), dtype=torch.uint8)
        problems: dict[int, DataError] = {}

        def decode(index: int) -> None:
            try:
                images[index] = preprocess.host(self.paths[index])
            except DataError as error:
                if on_error == "raise":
                    raise
                problems[index] = error

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(decode, range(len(self))))
        if not problems:
            return ImageDataset(images, self.labels, self.classes, name=self.name)
        listed = "\n".join(f"  {problems[index].came}" for index in sorted(problems))
        if len(problems) == len(self):
            raise DataError(
                f"None of the {len(self):,} pictures of {self.root} can be read:\n{listed}\n",
                "Picture files were expected.",
                "Check that the files were copied or downloaded completely.",
            )
        warnings.warn(
            f"{len(problems):,} of {len(self):,} pictures of {self.root} cannot be read and are left out:\n{listed}\n"
            "Repair or delete these files, or pass on_error='raise'.",
            UserWarning,
            stacklevel=2,
        )
        kept = torch.tensor([index for index in range(len(self)) if index not in problems])
        return ImageDataset(images[kept], self.labels[kept], self.classes, name=self.name)


D_co = TypeVar("D_co", bound=ImageDataset | FolderDataset, covariant=True)


@dataclass(frozen=True)
class Splits(Generic[D_co]):
    """The parts of a data set; a part that the source does not have is None."""

    train: D_co | None
    test: D_co | None
    validation: D_co | None = None
    name: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.train is None and self.test is None and self.validation is None:
            raise DataError(
                f"The data set {self.name!r} has no part.",
                "At least one of train, test, validation was expected.",
                "Pass one.",
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return next(part.classes for part in (self.train, self.test, self.validation) if part is not None)


def _checked_labels(labels: Tensor | Sequence[int], classes: Sequence[str]) -> Int64[Tensor, " N"]:
    checked = torch.as_tensor(labels)
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


def _split_by_content(
    contents: Iterable[bytes], count: int, *, fraction: float, seed: int
) -> tuple[Int64[Tensor, " R"], Int64[Tensor, " S"]]:
    """Positions of the rest and of the pictures with the smallest hashes."""
    if not 0.0 < fraction < 1.0:
        raise DataError(f"fraction is {fraction}.", "It lies between 0 and 1.", "Pass 0.1 to hold a tenth out.")
    salt = seed.to_bytes(16, "little", signed=True)
    digests = (hashlib.blake2b(content, digest_size=8, key=salt).digest() for content in contents)
    hashes = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    wanted = min(max(round(count * fraction), 1), max(count - 1, 1))
    held = torch.from_numpy(hashes <= np.partition(hashes, wanted - 1)[wanted - 1])
    if held.all():
        raise DataError(
            f"The {count:,} pictures cannot be split: those left over equal the ones held out.",
            "At least two different pictures were expected.",
            "Remove the duplicates or add pictures.",
        )
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _balanced_prefix(labels: Int64[Tensor, " N"], count: int) -> Int64[Tensor, " S"]:
    """The positions of the first `count` samples when classes take turns, in ascending order."""
    if count < 1:
        raise DataError(f"The limit is {count}.", "At least one sample was expected.", "Pass 1 or more.")
    by_class = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels)
    starts = torch.cumsum(sizes, 0) - sizes
    turn = torch.empty_like(labels)
    turn[by_class] = torch.arange(len(labels)) - starts[labels[by_class]]
    return torch.argsort(turn, stable=True)[:count].sort().values
