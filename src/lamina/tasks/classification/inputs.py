"""What people call data (a name, a folder, files, arrays, a data set), made into data sets and pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lamina import data as datasets
from lamina.core.errors import DataError, ShapeError
from lamina.data.dataset import FolderDataset, ImageDataset, Splits
from lamina.data.formats import image_folder
from lamina.data.preprocess import Normalize, Preprocess
from lamina.models.feed import is_batches
from lamina.nn import Rescaling

HELD_OUT = 0.1  # of the training pictures, where neither the data nor the caller brings validation
SEED = 0  # of the hash by which they are chosen
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


def refuse_batches(*values: Any) -> None:
    """Raises for a DataLoader or another iterable of batches: their pictures have been prepared by somebody else."""
    for value in values:
        if is_batches(value[0] if isinstance(value, tuple) and value else value) and not isinstance(value, Splits):
            raise DataError(
                f"A {type(value).__name__} came as data.",
                "A Classifier prepares the pictures itself, so it takes a folder, a data set's name, a data set or arrays.",
                "Pass the pictures that it is made from, or train with lamina.models.Model(net), which takes batches.",
            )


def checked_set(value: Any) -> Any:
    """The value, where it is a data set with classes whose pictures can be prepared. Raises DataError for any other."""
    if isinstance(value, FolderDataset) or all(hasattr(value, name) for name in ("images", "labels", "classes")):
        return value
    remedy = (
        "Pass lamina.data.ImageDataset(images, labels, classes) with uint8 images (N C H W), or the arrays as x and y."
    )
    if is_arrays(value):
        remedy = "Pass fit(x, y), or a data set, which has its labels."
    raise DataError(
        f"{'Pictures' if is_arrays(value) else f'A {type(value).__name__}'} came without labels that name classes.",
        "A folder, a data set's name, a lamina data set (images, labels and classes), or arrays x and y were expected.",
        remedy,
    )


def labelled(x: Any, y: Any, classes: Sequence[str] | None) -> ImageDataset:
    """A data set of arrays. Classes that nobody named are "0", "1", ... up to the largest label."""
    if is_location(x) or isinstance(x, Splits | FolderDataset | ImageDataset):
        raise DataError(
            f"y came beside {x if is_location(x) else 'a data set'}.", "A data set brings its labels.", "Leave y out."
        )
    labels = _integers(y)
    images = as_images(x)
    if classes is None:
        classes = tuple(str(index) for index in range(int(labels.max()) + 1 if len(labels) else 0))
    return ImageDataset(images, labels, classes)


def _integers(y: Any) -> Tensor:
    """Labels as int64 (N); a column (N, 1) and whole numbers stored as floats are taken too."""
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind not in "biuf" or (values.dtype.kind == "f" and not (values == np.floor(values)).all()):
        raise DataError(
            f"The labels came as {values.dtype}{f', such as {values.flat[0]!r}' if values.size else ''}.",
            "The index of a class, 0 .. K-1, was expected for each picture.",
            "Number the classes: classes, y = numpy.unique(names, return_inverse=True), and Classifier(..., classes=classes).",
        )
    labels = torch.as_tensor(values.astype(np.int64))
    if labels.dim() == 1 and labels.numel() and int(labels.min()) < 0:
        raise DataError(
            f"Label {int(labels.argmin())} is {int(labels.min())}.",
            "Labels count the classes from 0.",
            "Leave out pictures without a class, and let the labels start at 0.",
        )
    return labels


def training_sets(x: Any, y: Any, held: Any, classes: Sequence[str] | None) -> tuple[Any, Any]:
    """(training, validation) from what `fit` was given; validation is None where neither the data nor the caller brings it."""
    validation = resolve(held)
    if isinstance(validation, Splits):
        validation = validation.validation or validation.test or validation.train
    if y is not None:
        return labelled(x, y, classes), validation
    x = resolve(x)
    if isinstance(x, Splits):
        if x.train is None:
            raise DataError(
                f"{x.name or 'The data'} has no training pictures.",
                "fit needs a training split.",
                "Name the split's folder train, or open that folder itself.",
            )
        x, validation = x.train, validation if validation is not None else x.validation
    return checked_set(x), validation


def hold_out(dataset: Any, fraction: float, weights: Any = None) -> tuple[Any, Any, Any]:
    """(rest, held out, the rest's weights): a fraction chosen by the pictures' content. With weights: (held out, None, its weights)."""
    if weights is None:
        rest, held = dataset.split(fraction, seed=SEED)
        return rest, held, None
    weights = torch.as_tensor(np.asarray(weights)).float().reshape(-1)
    if len(weights) != len(dataset):
        raise DataError(
            f"x has {len(dataset):,} samples and sample_weight has {len(weights):,}.",
            "Every picture needs one weight.",
            "Check how they were cut.",
        )
    count = len(dataset)  # the same split of the positions says whose weights go where
    positions: Any = (
        FolderDataset(dataset.paths, range(count), range(count), root=dataset.root)  # type: ignore[arg-type]
        if isinstance(dataset, FolderDataset)
        else ImageDataset(dataset.images, torch.arange(count), range(count))  # type: ignore[arg-type]
    )
    rest, held = (part.labels for part in positions.split(fraction, seed=SEED))
    return dataset.subset(rest), (dataset.subset(held), None, weights[held]), weights[rest]


def measured(value: Any, split: Mapping[str, Any]) -> tuple[str, Any]:
    """The name and the pictures of the part that a classifier is measured on: test, else validation, else what was held out.

    `split` says how pictures were held out of the training ones; where none were, these are all there is.
    """
    splits = resolve(value)
    if not isinstance(splits, Splits):
        return "data", splits
    for name in ("test", "validation"):
        if getattr(splits, name) is not None:
            return name, getattr(splits, name)
    assert splits.train is not None
    if was_split(splits.train, split):
        return "validation", splits.train.split(split["held_out"], seed=split["seed"])[1]
    return "train", splits.train


def was_split(train: Any, split: Mapping[str, Any]) -> bool:
    """Whether training held out some of these very pictures: other data, of another count, is measured whole."""
    return "held_out" in split and split["of"] == len(train)


def in_memory(dataset: Any, preprocess: Preprocess) -> ImageDataset:
    """The pictures as one uint8 tensor of the size that the network takes."""
    if isinstance(dataset, FolderDataset):
        return dataset.in_memory(preprocess)
    images: Tensor = dataset.images
    if tuple(images.shape[1:]) != (preprocess.channels, *preprocess.size):
        images = preprocess.stack(list(images))
        return ImageDataset(images, dataset.labels, dataset.classes, name=getattr(dataset, "name", ""))
    return dataset  # type: ignore[no-any-return]


def fitting_preprocess(dataset: Any, net: nn.Module | None = None) -> Preprocess:
    """Channels and size of the pictures themselves where they are equal and small, else 64 px squares; their own mean and std.

    A network that begins with Rescaling is given the values as they are, 0..255.
    """
    raw = net is not None and begins_with_scaling(net)
    if not isinstance(dataset, FolderDataset):
        fitting = preprocess_for(dataset.images)
    else:
        count, size = _look(dataset)
        fitting = Preprocess(channels=count, size=size, mean=(0.0,) * count, std=(1.0,) * count)
        if not raw:
            few = np.linspace(0, len(dataset) - 1, min(len(dataset), 500)).round().astype(int)
            fitting = preprocess_for(dataset.subset(few.tolist()).in_memory(fitting).images)
    return replace(fitting, mean=(0.0,), std=(1 / 255,)) if raw else fitting


def begins_with_scaling(net: nn.Module) -> bool:
    """Whether the first layer scales pixel values itself."""
    first = next((module for module in net.modules() if not list(module.children())), None)
    return isinstance(first, Rescaling | Normalize)


def channels_of(dataset: Any) -> int:
    """Channels of the pictures: 1 where all are grey, else 3."""
    return _look(dataset)[0] if isinstance(dataset, FolderDataset) else int(dataset.images.shape[1])


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
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The pictures came as {type(value).__name__}, which is no array ({error}).",
            "A uint8 array of pictures of one size (N C H W, N H W C, or N H W for grey) was expected.",
            "Resize them to one size, or pass files, a folder or a data set, which are resized.",
        ) from error
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


def is_single(value: Any, channels: int) -> bool:
    """Whether it is one picture: a file, a PIL picture, or an array of H W, C H W or H W C.

    Three entries in front are the colours of one picture to a classifier of colour pictures, and three pictures to one of
    grey ones.
    """
    if is_location(value):
        return Path(value).is_file()
    if isinstance(value, Image.Image):
        return True
    if not isinstance(value, np.ndarray | Tensor) or value.ndim not in (2, 3):
        return False
    first, last = value.shape[0], value.shape[-1]
    return value.ndim == 2 or first == 1 or (first == 3 and channels == 3) or (first != 3 and last in (1, 3, 4))


def _files(value: Any) -> list[Any] | None:
    """Files or PIL pictures, one by one, where that is what was given; a folder without classes gives its pictures."""
    if is_location(value):
        path = Path(value)
        if path.is_dir():
            return list(image_folder._pictures(path))
        if path.is_file():
            return [path]
        raise DataError(f"There is no file or folder {path}.", "A picture was expected.", "Check the path.")
    if isinstance(value, list | tuple) and value and all(is_location(v) or isinstance(v, Image.Image) for v in value):
        return list(value)
    return None


def pictures(value: Any, preprocess: Preprocess) -> Tensor:
    """uint8 N C H W of the size that the network takes, from whatever `predict` was given."""
    if not is_location(value) and is_single(value, preprocess.channels):
        return preprocess.host(value)[None]
    files = _files(value)
    if files is not None:
        if not files:
            raise DataError(
                f"{value} holds no pictures.", "Files such as .jpg or .png were expected.", "Check the path."
            )
        return preprocess.stack(files)
    if hasattr(value, "images") or isinstance(value, FolderDataset | Splits):
        dataset = measured(value, {})[1]
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
