"""What people call data (a name, a folder, files, arrays, a data set), made into data sets and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lamina import data as datasets
from lamina.core.errors import DataError, ShapeError
from lamina.data.dataset import FolderDataset, ImageDataset, Splits
from lamina.data.preprocess import Preprocess

HELD_OUT = 0.1  # of the training pictures, where neither the data nor the caller brings validation
_DEFAULT_SIDE = 64  # px, for folders of pictures of many sizes
_NATIVE_SIDES = range(28, 129)  # px; equal square pictures of such a size are taken as they are


def is_location(value: Any) -> bool:
    """Whether it is a path, or the name of a data set."""
    return isinstance(value, str | os.PathLike)


def is_arrays(value: Any) -> bool:
    """Whether it is arrays rather than a data set."""
    return isinstance(value, np.ndarray | Tensor | list)


def resolve(value: Any) -> Any:
    """Splits from a data set's name or a path; anything else as it is."""
    if not is_location(value):
        return value
    if isinstance(value, str) and value in datasets.names() and not Path(value).exists():
        return datasets.load(value)
    if isinstance(value, str) and not Path(value).exists() and os.sep not in value and "." not in value:
        return datasets.load(value)  # which tells the nearest names
    return datasets.open(value)


def training_sets(x: Any, y: Any, held: Any, fraction: float | None) -> tuple[Any, Any]:
    """(training, validation) from what `fit` was given."""
    x = resolve(x)
    validation = resolve(held)
    if isinstance(validation, Splits):
        validation = validation.validation or validation.test or validation.train
    if isinstance(x, Splits):
        if x.train is None:
            raise DataError(
                f"{x.name or 'The data'} has no training pictures.",
                "fit needs a training split.",
                "Name the split's folder train, or open that folder itself.",
            )
        x, validation = x.train, validation if validation is not None else x.validation
    if validation is None and fraction != 0 and y is None and hasattr(x, "split"):
        x, validation = x.split(fraction or HELD_OUT, seed=0)
    return x, validation


def one_set(value: Any, *, prefer: Sequence[str]) -> Any:
    """The data set that is meant: of several splits the first of `prefer` that is there. None for arrays."""
    value = resolve(value)
    if isinstance(value, Splits):
        found = [split for name in prefer if (split := getattr(value, name)) is not None]
        if not found:
            raise DataError("The data has no split.", f"One of {', '.join(prefer)} was expected.", "Check the folder.")
        return found[0]
    return None if is_arrays(value) else value


def in_memory(dataset: Any, preprocess: Preprocess) -> ImageDataset:
    """The pictures as one uint8 tensor of the size that the network takes."""
    if isinstance(dataset, FolderDataset):
        return dataset.in_memory(preprocess)
    images: Tensor = dataset.images
    if tuple(images.shape[1:]) != (preprocess.channels, *preprocess.size):
        images = preprocess.stack(list(images))
        return ImageDataset(images, dataset.labels, dataset.classes, name=getattr(dataset, "name", ""))
    return dataset  # type: ignore[no-any-return]


def fitting_preprocess(dataset: Any) -> Preprocess:
    """Channels and size of the pictures themselves where they are equal and small, else 64 px squares; their own mean and std."""
    if isinstance(dataset, FolderDataset):
        channels, size = _look(dataset)
        plain = Preprocess(channels=channels, size=size, mean=(0.0,) * channels, std=(1.0,) * channels)
        few = np.linspace(0, len(dataset) - 1, min(len(dataset), 500)).round().astype(int)
        return preprocess_for(dataset.subset(few.tolist()).in_memory(plain).images)
    return preprocess_for(dataset.images)


def preprocess_for(images: Tensor) -> Preprocess:
    """For pictures of one size (uint8 N C H W): their size, and the mean and std of each channel, in 0..1 units."""
    step = max(len(images) // 5000, 1)  # 5,000 pictures give both to three digits
    values = images[::step].float().div_(255)
    mean = values.mean(dim=(0, 2, 3))
    std = values.std(dim=(0, 2, 3)).clamp_min(1 / 255)
    height, width = images.shape[-2:]
    return Preprocess(
        channels=images.shape[1],
        size=(height, width),
        mean=tuple(round(float(value), 4) for value in mean),
        std=tuple(round(float(value), 4) for value in std),
    )


def _look(dataset: FolderDataset) -> tuple[int, tuple[int, int]]:
    """Channels and size from up to 100 files' headers."""
    sizes, grey = set(), True
    for path in dataset.paths[:: max(len(dataset) // 100, 1)]:
        try:
            with Image.open(path) as picture:
                sizes.add((picture.height, picture.width))
                grey = grey and picture.mode in ("1", "L", "I;16", "I", "LA")
        except OSError:
            continue  # named when the pictures are read
    height, width = next(iter(sizes)) if len(sizes) == 1 else (0, 0)
    if height == width and height in _NATIVE_SIDES:
        return (1 if grey else 3), (height, width)
    return (1 if grey else 3), (_DEFAULT_SIDE, _DEFAULT_SIDE)


def as_images(value: Any) -> Tensor:
    """uint8 pictures N C H W from an array in that layout, N H W (grey) or N H W C. Raises for anything else."""
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    if tensor.dtype != torch.uint8:
        raise DataError(
            f"The pictures came as {str(tensor.dtype).removeprefix('torch.')}.",
            "A classifier takes pictures as they are, uint8 0..255, and scales them itself.",
            "Pass the unscaled array, or (x * 255).round().astype('uint8').",
        )
    if tensor.dim() == 3:
        return tensor[:, None]
    if tensor.dim() == 4 and tensor.shape[1] not in (1, 3) and tensor.shape[3] in (1, 3):
        return tensor.permute(0, 3, 1, 2)
    if tensor.dim() != 4 or tensor.shape[1] not in (1, 3):
        raise ShapeError(
            f"The pictures have the shape {tuple(tensor.shape)}.",
            "N C H W, N H W C or N H W (grey), with 1 or 3 channels, was expected.",
            "Add the missing axis, or reorder the axes.",
        )
    return tensor


def is_single(value: Any) -> bool:
    """Whether it is one picture: a file, a PIL picture, or an array of H W or H W C (C H W)."""
    if is_location(value):
        return Path(value).is_file()
    if isinstance(value, Image.Image):
        return True
    return isinstance(value, np.ndarray | Tensor) and (value.ndim == 2 or (value.ndim == 3 and 3 in value.shape))


def _files(value: Any) -> list[Any] | None:
    """Files or PIL pictures, one by one, where that is what was given; a folder without classes gives its pictures."""
    if is_location(value):
        path = Path(value)
        if path.is_dir():
            return sorted(entry for entry in path.rglob("*") if entry.suffix.lower() in Image.registered_extensions())
        if path.is_file():
            return [path]
        raise DataError(f"There is no file or folder {path}.", "A picture was expected.", "Check the path.")
    if isinstance(value, list | tuple) and value and all(is_location(v) or isinstance(v, Image.Image) for v in value):
        return list(value)
    return None


def pictures(value: Any, preprocess: Preprocess) -> Tensor:
    """uint8 N C H W of the size that the network takes, from whatever `predict` was given."""
    if isinstance(value, Image.Image) or (is_single(value) and not is_location(value)):
        return preprocess.host(value)[None]
    files = _files(value)
    if files is not None:
        if not files:
            raise DataError(
                f"{value} holds no pictures.", "Files such as .jpg or .png were expected.", "Check the path."
            )
        return preprocess.stack(files)
    if hasattr(value, "images") or isinstance(value, FolderDataset | Splits):
        dataset = one_set(value, prefer=("test", "validation", "train"))
        return in_memory(dataset, preprocess).images
    images = as_images(value)
    if tuple(images.shape[1:]) != (preprocess.channels, *preprocess.size):
        return preprocess.stack(list(images))
    return images


def sources(value: Any) -> list[Any]:
    """What a result names as its picture: paths or pictures, or nothing for arrays."""
    if is_location(value) or isinstance(value, list | tuple):
        return _files(value) or []
    return [value] if isinstance(value, Image.Image) else []


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many more."""
    shown = ", ".join(map(str, names[:8]))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
