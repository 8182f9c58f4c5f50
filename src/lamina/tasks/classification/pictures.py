"""What `predict` was given (a file, files, a folder, arrays, a data set), made into one batch of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lamina.core.errors import DataError
from lamina.core.warnings import warn
from lamina.data.dataset import FolderDataset, Splits
from lamina.data.faults import failures
from lamina.data.formats import image_folder
from lamina.data.preprocess import Preprocess
from lamina.tasks.classification import inputs

OnError = Literal["raise", "skip"]


def is_single(value: Any, channels: int) -> bool:
    """Whether it is one picture: a file, a PIL picture, or an array of H W, C H W or H W C.

    Three entries in front are the colours of one picture to a classifier of colour pictures, and three pictures to one of
    grey ones.
    """
    if inputs.is_location(value):
        return Path(value).is_file()
    if isinstance(value, Image.Image):
        return True
    if not isinstance(value, np.ndarray | Tensor) or value.ndim not in (2, 3):
        return False
    first, last = value.shape[0], value.shape[-1]
    return value.ndim == 2 or first == 1 or (first == 3 and channels == 3) or (first != 3 and last in (1, 3, 4))


def read(value: Any, preprocess: Preprocess, on_error: OnError = "raise") -> tuple[Tensor, list[Any]]:
    """uint8 N C H W of the size that the network takes, from whatever `predict` was given, and what names each of them.

    Names are paths or PIL pictures; there are none for arrays. `on_error` is for unreadable ones among several files.
    """
    if on_error not in ("raise", "skip"):
        raise DataError(
            f"on_error is {on_error!r}.", "It is 'raise' or 'skip'.", "Pass 'skip' to leave unreadable pictures out."
        )
    if not inputs.is_location(value) and is_single(value, preprocess.channels):
        return preprocess.host(value)[None], [value] if isinstance(value, Image.Image) else []
    named = files(value)
    if named is not None:
        return _together(named, preprocess, on_error)
    if hasattr(value, "images") or isinstance(value, FolderDataset | Splits):
        dataset = inputs.in_memory(inputs.measured(value, {})[1], preprocess)
        return dataset.images, list(getattr(dataset, "sources", ()))
    images = inputs.as_images(value)
    if tuple(images.shape[1:]) != (preprocess.channels, *preprocess.size):
        images = preprocess.stack(list(images))
    return images, []


def files(value: Any) -> list[Any] | None:
    """Files or PIL pictures, one by one, where that is what was given; a folder without classes gives its pictures."""
    if inputs.is_location(value):
        path = Path(value)
        if path.is_dir():
            found = image_folder.picture_files(path)
            if not found:
                raise DataError(
                    f"{value} holds no pictures.", "Files such as .jpg or .png were expected.", "Check the path."
                )
            return list(found)
        if path.is_file():
            return [path]
        raise DataError(f"There is no file or folder {path}.", "A picture was expected.", "Check the path.")
    if (
        isinstance(value, list | tuple)
        and value
        and all(inputs.is_location(v) or isinstance(v, Image.Image) for v in value)
    ):
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
    came = "\n".join(f"  {problems[index].came}" for index in sorted(problems))
    came = f"{len(problems):,} of {len(named):,} pictures cannot be read:\n{came}\n"
    if on_error == "raise" or not len(images):
        remedy = 'Repair them or leave them out, or pass on_error="skip".'
        raise DataError(came, "Complete picture files were expected.", remedy)
    warn(f"{came}They are left out of the results.")
    return images, [source for index, source in enumerate(named) if index not in problems]
