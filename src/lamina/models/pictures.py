"""What a model of pictures is given (a file, files, a folder, arrays, a data set), made into one batch of pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError, ShapeError
from lamina.core.warnings import warn
from lamina.data.archive import is_archive
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.faults import failures
from lamina.data.formats import image_folder
from lamina.data.preprocess import Preprocess
from lamina.data.splits import Splits
from lamina.models.feed import is_batches

OnError = Literal["raise", "skip"]


def is_location(value: Any) -> bool:
    """Whether it is a path, or the name of a data set."""
    return isinstance(value, str | os.PathLike)


def is_arrays(value: Any) -> bool:
    """Whether it is arrays rather than a data set."""
    return isinstance(value, np.ndarray | Tensor | list)


def checked_names(argument: str, told: Sequence[str]) -> tuple[str, ...]:
    """The names of classes or numbers. Raises DataError where there are none, one comes twice, or they are one text."""
    names = () if isinstance(told, str) else tuple(told)
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if not names or twice or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{argument} is {told!r}." if len(names) <= 8 else f"{argument} has {len(names)} entries.",
            "A list of names, each of them once, was expected" + (f"; twice: {', '.join(twice)}." if twice else "."),
            f'Pass for example {argument}=["one", "other"].',
        )
    return names


def refuse_address(value: Any) -> None:
    """Raises DataError for the address of something on the network: nothing is fetched behind anybody's back."""
    if isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", value):
        raise DataError(
            f"{value} is an address.",
            "A file or folder on this machine was expected: lamina fetches no pictures.",
            "Download it first, and pass the path of the file.",
        )


def refuse_batches(model: str, *values: Any) -> None:
    """Raises for a DataLoader or another iterable of batches: their pictures have been prepared by somebody else."""
    for value in values:
        if is_batches(value[0] if isinstance(value, tuple) and value else value) and not isinstance(value, Splits):
            raise DataError(
                f"A {type(value).__name__} came as data.",
                f"A {model} prepares the pictures itself, so it takes a folder, a data set's name, a data set or arrays.",
                "Pass the pictures that it is made from, or train with lamina.models.Model(net), which takes batches.",
            )


def is_single(value: Any, channels: int) -> bool:
    """Whether it is one picture: a file, a PIL picture, or an array of H W, C H W or H W C.

    Three entries in front are the colours of one picture to a classifier of colour pictures, and three pictures to one of
    grey ones.
    """
    if not isinstance(value, np.ndarray | Tensor):
        return Path(value).is_file() if is_location(value) else isinstance(value, Image.Image)
    if value.ndim not in (2, 3):
        return False
    first, last = value.shape[0], value.shape[-1]
    return value.ndim == 2 or first == 1 or (first == 3 and channels == 3) or (first != 3 and last in (1, 3, 4))


def check_on_error(on_error: str) -> None:
    """Raises DataError for anything but "raise" and "skip"."""
    if on_error not in ("raise", "skip"):
        raise DataError(
            f"on_error is {on_error!r}.", "It is 'raise' or 'skip'.", "Pass 'skip' to leave unreadable pictures out."
        )


def read(value: Any, preprocess: Preprocess, on_error: OnError = "raise") -> tuple[Tensor, list[Any]]:
    """uint8 N C H W of the size that the network takes, from whatever `predict` was given, and what names each of them.

    Names are paths or PIL pictures; arrays have none (None, beside others). `on_error` is for unreadable ones among several files.
    """
    check_on_error(on_error)
    ready = (preprocess.channels, *preprocess.size)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape[1:] == ready and value.flags.carray:
        return torch.from_numpy(value), []  # at once: a picture takes some engines but milliseconds
    refuse_address(value)
    if not is_location(value) and is_single(value, preprocess.channels):
        return preprocess.host(value)[None], [value] if isinstance(value, Image.Image) else []
    named = files(value)
    if named is not None:
        return _together(named, preprocess, on_error)
    if hasattr(value, "images") or isinstance(value, FolderDataset | Splits):
        dataset = in_memory(_part(value), preprocess)
        return dataset.images, list(getattr(dataset, "sources", ()))
    if _is_mixed(value):
        return preprocess.stack(value), []
    if are_pictures(value):
        images, named = _together(list(value), preprocess, on_error)
        return images, [None if isinstance(each, np.ndarray | Tensor) else each for each in named]
    images = as_images(value)
    if tuple(images.shape[1:]) != (preprocess.channels, *preprocess.size):
        images = preprocess.stack(list(images))
    return images, []


def _is_mixed(value: Any) -> bool:
    """Whether it is arrays that are made alike one by one: a list of them, or a batch with alpha or of 16 bits."""
    if isinstance(value, list | tuple):
        return all(isinstance(each, np.ndarray | Tensor) and each.ndim in (2, 3) for each in value)
    return isinstance(value, np.ndarray) and (
        value.dtype == np.uint16 or (value.ndim == 4 and value.shape[1] not in (1, 3) and value.shape[3] == 4)
    )


def are_pictures(value: Any) -> bool:
    """Whether it is a list of single pictures, of several kinds perhaps: files, arrays, PIL pictures."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(is_location(one) or isinstance(one, np.ndarray | Tensor | Image.Image) for one in value)


def files(value: Any) -> list[Any] | None:
    """Files or PIL pictures, one by one, where that is what was given; a folder without classes gives its pictures."""
    for each in value if isinstance(value, list | tuple) else [value]:
        refuse_address(each)
    if is_location(value):
        path = Path(value)
        if path.is_dir():
            found = image_folder.picture_files(path)
            if not found:
                raise DataError(
                    f"{value} holds no pictures.", "Files such as .jpg or .png were expected.", "Check the path."
                )
            return list(found)
        if path.is_file() and is_archive(path):
            raise DataError(
                f"{path} is an archive.", "A picture, or a folder of pictures, was expected.", "Unpack it first."
            )
        if path.is_file():
            return [path]
        raise DataError(f"There is no file or folder {path}.", "A picture was expected.", "Check the path.")
    if isinstance(value, list | tuple) and value and all(is_location(v) or isinstance(v, Image.Image) for v in value):
        return list(value)
    return None


def readable(named: Sequence[Any], preprocess: Preprocess) -> tuple[Tensor, dict[int, DataError]]:
    """The pictures that can be read, uint8 N C H W in their order, and what is wrong with each of the others."""
    images = torch.empty((len(named), preprocess.channels, *preprocess.size), dtype=torch.uint8)

    def decode(index: int) -> None:
        images[index] = preprocess.host(named[index])

    problems = failures(len(named), decode)
    return images[[index for index in range(len(named)) if index not in problems]] if problems else images, problems


def _together(named: list[Any], preprocess: Preprocess, on_error: OnError) -> tuple[Tensor, list[Any]]:
    images, problems = readable(named, preprocess)
    if not problems:
        return images, named
    if len(named) == 1:
        raise problems[0]
    faults = [problems[index].came for index in sorted(problems)]
    if on_error == "raise" or not len(images):
        raise unreadable(faults, len(named))
    tell_left_out(faults, len(named))
    return images, [source for index, source in enumerate(named) if index not in problems]


def unreadable(faults: Sequence[str], count: int) -> DataError:
    """The error that names all pictures, of so many, that cannot be read."""
    remedy = 'Repair them or leave them out, or pass on_error="skip".'
    return DataError(_named(faults, count), "Complete picture files were expected.", remedy)


def tell_left_out(faults: Sequence[str], count: int) -> None:
    """Warns of the pictures, of so many, that cannot be read."""
    warn(f"{_named(faults, count)}They are left out of the results.")


def _named(faults: Sequence[str], count: int) -> str:
    lines = "\n".join(f"  {fault}" for fault in faults)
    return f"{len(faults):,} of {count:,} pictures cannot be read:\n{lines}\n"


def in_memory(dataset: Any, preprocess: Preprocess) -> ImageDataset:
    """The pictures as one uint8 tensor of the size that the network takes."""
    if isinstance(dataset, FolderDataset):
        return dataset.in_memory(preprocess)
    images: Tensor = dataset.images
    if tuple(images.shape[1:]) != (preprocess.channels, *preprocess.size):
        images, told = (
            preprocess.stack(list(images)),
            {name: getattr(dataset, name, "") for name in ("name", "sources")},
        )
        return ImageDataset(images, dataset.labels, dataset.classes, **told)
    return dataset  # type: ignore[no-any-return]


def as_images(value: Any) -> Tensor:
    """uint8 pictures N C H W from an array in that layout, N H W (grey) or N H W C. Raises for anything else."""
    if isinstance(value, list | tuple) and not value:
        raise DataError("The list of pictures is empty.", "At least one was expected.", "Check the path or the filter.")
    try:
        # A picture of PIL's, as an array, may not be written to, of which torch would warn.
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(_forwards(np.require(value, requirements="W")))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The pictures came as {type(value).__name__}, which is no array ({error}).",
            "A uint8 array of pictures of one size (N C H W, N H W C, or N H W for grey) was expected.",
            "Resize them to one size, or pass files, a folder or a data set, which are resized.",
        ) from error
    if tensor.dtype != torch.uint8:
        raise DataError(
            f"The pictures came as {str(tensor.dtype).removeprefix('torch.')}.",
            "Pictures are taken as they are, uint8 0..255, and scaled by the model itself.",
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


def _forwards(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array, or a copy where an axis runs backwards in memory, which torch does not take."""
    return np.ascontiguousarray(value) if min(value.strides, default=0) < 0 else value


def _part(value: Any) -> Any:
    """Of a data set of several parts the one to answer for: test, else validation, else train."""
    if not isinstance(value, Splits):
        return value
    return next(part for part in (value.test, value.validation, value.train) if part is not None)
