"""Leaving the library: a model into a file for other programs, tried on pictures before it gets its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina import data as datasets
from lamina.core import progress
from lamina.core.errors import DataError
from lamina.data.archive import is_archive
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.formats import image_folder
from lamina.data.looking import refuse_misspelt
from lamina.data.preprocess import Preprocess
from lamina.data.splits import Splits
from lamina.export import Deployable, Exported, samples, write
from lamina.models import pictures


class Exporting:
    """The method `export` of whatever gives a Deployable."""

    def export(
        self: Any,
        path: str | os.PathLike[str],
        *,
        precision: str = "float32",
        data: Any = None,
        example: Any = None,
        tolerance: float | None = None,
        agreement: float | None = None,
        any_size: bool = True,
        engines: Sequence[str] | None = None,
    ) -> Exported:
        """Writes a file that runs without this library, and gives back how its answers compare; `str` of that is a few lines.

        The path's ending says which: .onnx (ONNX Runtime, OpenVINO ...), .pt2 (torch.export), both from pictures as they come (uint8
        B C H W, see Preprocess.from_onnx) to answers as `predict` has them; .safetensors, the weights alone under the keys of
        `net.state_dict()`. `precision` is "float32", "float16", "bfloat16" (in ONNX of the weights alone) or, of ONNX, "int8".
        Batches are open, and with `any_size` so are the sizes of pictures, where the network allows it.

        The file is run, and answers pictures of `data` (whatever `predict` takes, or a data set; at most 128) beside the network; int8
        takes its ranges from as many others. Without `data` pictures of gradients and noise are made, which int8 refuses.
        A model of other things than pictures takes arrays, and where it is a torch module an `example`: a batch of two.

        `tolerance` is the largest difference allowed: absolute for probabilities, for other answers a share of the largest. Without it
        1e-3 in float32, 0.02 in float16, 0.1 in bfloat16, 0.5 in int8, and values may on average lie a fifth of their standard deviation
        apart (with a `tolerance` that alone counts); of maps of classes a hundredth of the pixels may lie farther apart. `agreement` is
        the least share of pictures, or of pixels, that keep their class, without it 0.99 (of pixels in float32 0.999). An .onnx is
        compared in ONNX Runtime and, where it is installed, OpenVINO; `engines` ("onnxruntime", "openvino") names those that are to run
        it. Raises LaminaError, and leaves what was there, where it answers otherwise or cannot be expressed; MissingExtraError without
        "export".
        """
        shipped: Deployable = self.deployable(example)
        progress.step("reading pictures")
        count = samples.CHECKED * (2 if precision == "int8" else 1)
        return write(
            shipped,
            path,
            precision=precision,
            tried=None if data is None else tried(shipped, data, count),
            tolerance=tolerance,
            agreement=agreement,
            any_size=any_size,
            engines=engines,
        )


def tried(shipped: Deployable, data: Any, count: int) -> samples.Samples:
    """At most so many samples of the data, spread over it, as the network takes them."""
    if shipped.preprocess is not None:
        named = data if pictures.is_location(data) else getattr(data, "name", "")
        told = f"pictures of {named or 'the data'}"
        return samples.given(shipped, (some(data, shipped.preprocess, count).numpy(),), told)
    values = [np.asarray(value) for value in (data if isinstance(data, list | tuple) else [data])]
    if any(value.ndim == 0 or not len(value) for value in values):
        raise DataError(
            "data holds no samples.",
            f"An array for each input was expected: {', '.join(shipped.inputs)}.",
            "Pass data=x, as predict takes it.",
        )
    return samples.given(shipped, tuple(value[_spread(len(value), count)] for value in values), "samples of the data")


def some(data: Any, preprocess: Preprocess, count: int) -> Tensor:
    """At most so many pictures (uint8 N C H W), evenly spread over what there is; unreadable ones are left out, and named."""
    value = _opened(data)
    if isinstance(value, Splits):
        value = next(part for part in (value.validation, value.train, value.test, *value.others.values()) if part)
    if isinstance(value, FolderDataset | ImageDataset):
        images = pictures.in_memory(value.subset(_spread(len(value), count)), preprocess).images
    elif hasattr(value, "subset"):  # pictures with annotations
        images = preprocess.stack([value[index][0] for index in _spread(len(value), count)])
    else:
        if isinstance(value, list | tuple) or not pictures.is_single(value, preprocess.channels):
            places = _spread(len(value), count)
            value = [value[place] for place in places] if isinstance(value, Sequence) else value[places]
        images = pictures.read(value, preprocess, "skip")[0]
    if not len(images):
        raise DataError("data holds no pictures.", "At least one was expected.", "Check the path or the filter.")
    return images


def _opened(data: Any) -> Any:
    """The data set that a name or a path stands for, or the files of a folder of pictures; anything else as it is."""
    if not pictures.is_location(data):
        return data
    pictures.refuse_address(data)
    path = Path(data)
    if path.is_dir():
        return image_folder.picture_files(path) or datasets.open(path)
    if isinstance(data, str) and data in datasets.names() and not path.exists():
        return datasets.load(data)
    if path.is_file() and not is_archive(path) and image_folder.is_picture(path):
        return [path]
    refuse_misspelt(data)
    return datasets.open(data)


def _spread(there: int, count: int) -> list[int]:
    """The places of at most `count` of so many, with equal steps between."""
    return torch.linspace(0, there - 1, min(there, count)).round().long().tolist() if there else []
