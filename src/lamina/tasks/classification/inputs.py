"""What people call data (a name, a folder, arrays, a data set), made into data sets, and what a network is to see of them."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lamina import data as datasets
from lamina.core.errors import DataError, LaminaError, ShapeError, listed
from lamina.core.warnings import warn
from lamina.data import archive
from lamina.data.annotated import AnnotatedDataset
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.looking import refuse_misspelt
from lamina.data.preprocess import Normalize, Preprocess
from lamina.data.splits import Splits
from lamina.models import Model, borrowed, sizes
from lamina.models.graph import Graph
from lamina.models.pictures import as_images, in_memory, is_arrays, is_location, refuse_address
from lamina.models.streams import one_each
from lamina.networks import contract
from lamina.nn import Rescaling

HELD_OUT = 0.1  # of the training pictures, where neither the data nor the caller brings validation
SEED = 0  # of the hash by which they are chosen
_SIGNED = 500  # pictures by which a data set is known again
_DEFAULT_SIDE = 64  # px, for folders of pictures of many sizes
_NATIVE_SIDES = range(28, 129)  # px; equal square pictures of such a size are taken as they are
_DIVIDES = 0.04  # a scale or std below it, 10 / 255, is meant for values 0..255


def resolve(value: Any) -> Any:
    """Splits from a data set's name or a path; anything else as it is."""
    refuse_address(value)
    if not is_location(value):
        return value
    if isinstance(value, str) and value in datasets.names() and not Path(value).exists():
        return datasets.load(value)
    refuse_misspelt(value)
    return datasets.open(value)


def checked_set(value: Any) -> Any:
    """The value, where it is a data set with classes whose pictures can be prepared. Raises DataError for any other."""
    if isinstance(value, FolderDataset) or all(hasattr(value, name) for name in ("images", "labels", "classes")):
        return value
    refuse_annotated(value)
    raise DataError(
        f"{'Pictures' if is_arrays(value) else f'A {type(value).__name__}'} came without labels that name classes.",
        "A folder, a data set's name, a lamina data set (images, labels and classes), or arrays x and y were expected.",
        "Pass fit(x, y), or a data set, which has its labels."
        if is_arrays(value)
        else "Pass lamina.data.ImageDataset(images, labels, classes) with uint8 images (N C H W), or the arrays as x and y.",
    )


def refuse_annotated(value: Any) -> None:
    """Raises DataError, which says what the data is for, where pictures have boxes, masks or texts and no class of their own."""
    if isinstance(value, Splits | AnnotatedDataset) and value.task != "classification":
        raise DataError(
            f"{value.name} is a data set for {value.task}: its pictures have no class of their own.",
            "A classifier learns from pictures that have one label each, or several.",
            "Pass a folder with a folder of pictures for each class, or a table (CSV) of pictures and labels.",
        )


def labelled(x: Any, y: Any, classes: Sequence[str] | None, *, multi_label: bool = False) -> ImageDataset:
    """A data set of arrays. Classes that nobody named are "0", "1", ... up to the largest label, or one a column of labels."""
    if is_location(x) or isinstance(x, Splits | FolderDataset | ImageDataset):
        raise DataError(
            f"y came beside {x if is_location(x) else 'a data set'}.", "A data set brings its labels.", "Leave y out."
        )
    images = as_images(x)
    if multi_label:
        several = _several(y)
        if classes is not None and several.shape[1] != len(classes):
            raise DataError(
                f"The labels have {several.shape[1]} columns, and there are {len(classes)} classes: {listed(classes)}.",
                "With multi_label=True one column for each class was expected.",
                "Name as many classes, or bring a column for each.",
            )
        return ImageDataset(images, several, tuple(map(str, range(several.shape[1]))) if classes is None else classes)
    labels = _integers(y)
    if classes is not None and labels.numel() and int(labels.max()) >= len(classes):
        raise DataError(
            f"Label {int(labels.argmax())} is {int(labels.max())}.",
            f"With {len(classes)} classes ({listed(classes)}), labels lie in 0..{len(classes) - 1}.",
            "Name every class by Classifier(..., classes=[...]); it may begin from the file of a trained one: pretrained=PATH.",
        )
    if classes is None:
        classes = tuple(str(index) for index in range(int(labels.max()) + 1 if len(labels) else 0))
    return ImageDataset(images, labels, classes)


def _several(y: Any) -> Tensor:
    """Labels as int64 (N K) of 0 and 1."""
    expected = "With multi_label=True 0 or 1 was expected for each picture and class (N K)."
    try:
        array = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    except ValueError:  # lists of several lengths
        array = np.asarray(["?"])
    if array.dtype.kind not in "biuf":
        raise DataError(
            "The labels came as names, or as lists of several lengths.",
            expected,
            "Make an array of them: [[name in picture for name in classes] for picture in y], with classes=classes.",
        )
    if array.ndim != 2:
        raise DataError(
            f"The labels came with the shape {tuple(array.shape)} and the type {array.dtype}.",
            expected,
            "For one class a picture make the Classifier without multi_label.",
        )
    wrong = array[(array != 0) & (array != 1)]
    if wrong.size:
        raise DataError(f"The labels hold {wrong[0]}.", expected, "Write 1 for a class that the picture has, else 0.")
    return torch.as_tensor(array.astype(np.int64))


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
    if labels.dim() != 1:
        raise DataError(
            f"The labels have the shape {tuple(labels.shape)}.",
            "The index of a class, 0 .. K-1, was expected for each picture.",
            "Turn one-hot rows into integers with labels.argmax(1); for several labels a picture use multi_label=True.",
        )
    if labels.numel() and int(labels.min()) < 0:
        raise DataError(
            f"Label {int(labels.argmin())} is {int(labels.min())}.",
            "Labels count the classes from 0.",
            "Leave out pictures without a class, and let the labels start at 0.",
        )
    return labels


def check_labels(dataset: Any, classes: Sequence[str] | None, *, multi_label: bool) -> None:
    """Raises where a data set has labels of the wrong kind, or other classes than a classifier knows (None: any)."""
    if dataset.labels.dim() != 1 + multi_label:
        came = "several labels for each picture" if dataset.labels.dim() == 2 else "one label for each picture"
        raise DataError(
            f"The data has {came} (labels of shape {tuple(dataset.labels.shape)}).",
            "Labels (N), or with multi_label=True 0 or 1 for each picture and class (N K), were expected.",
            "Make the Classifier without multi_label, or bring pictures and labels (N K) as x and y."
            if multi_label
            else "Make the Classifier with multi_label=True, or bring labels (N).",
        )
    if classes is not None and tuple(dataset.classes) != tuple(classes):
        raise LaminaError(
            f"The data has the classes {listed(dataset.classes)}.",
            f"This classifier knows {listed(classes)}, in this order.",
            "For other classes make a new Classifier; it may begin from this one's file: pretrained=PATH.",
        )


def training_sets(
    x: Any, y: Any, held: Any, classes: Sequence[str] | None, *, multi_label: bool = False
) -> tuple[Any, Any]:
    """(training, validation) from what `fit` was given; validation is None where neither the data nor the caller brings it."""
    validation = resolve(held)
    if isinstance(validation, Splits):
        validation = validation.validation or validation.test or validation.train
    if y is not None:
        return labelled(x, y, classes, multi_label=multi_label), validation
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
    weights = one_each(weights, len(dataset))
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
    refuse_annotated(splits)
    if not isinstance(splits, Splits):
        return "data", splits
    for name in ("test", "validation"):
        if getattr(splits, name) is not None:
            return name, getattr(splits, name)
    assert splits.train is not None
    if was_split(splits.train, split):
        if "fold" in split:
            return "validation", list(splits.train.folds(split["folds"], seed=split["seed"]))[split["fold"]][1]
        return "validation", splits.train.split(split["held_out"], seed=split["seed"])[1]
    if split.get("trained_on") == signature(splits.train):
        warn(
            "The model was trained on these very pictures, and none of them were held out. "
            "Its figures on them flatter it. Measure it on others."
        )
    return "train", splits.train


def signature(dataset: Any) -> str:
    """What tells one data set from another: a hash of its labels and of some pictures, of files their names and sizes."""
    hashed = hashlib.sha256(dataset.labels.detach().cpu().numpy().tobytes())
    some = np.linspace(0, len(dataset) - 1, min(len(dataset), _SIGNED)).round().astype(int).tolist()
    for index in some:
        if isinstance(dataset, FolderDataset):
            path = dataset.paths[index]
            size = archive.time_and_size(path)[1] if archive.is_file(path) else 0
            hashed.update(os.fsencode(f"{path.parent.name}/{path.name} {size}"))
        else:
            hashed.update(dataset.images[index].detach().cpu().numpy().tobytes())
    return hashed.hexdigest()[:16]


def was_split(train: Any, split: Mapping[str, Any]) -> bool:
    """Whether training held out some of these very pictures: other data, of another count, is measured whole."""
    return ("held_out" in split or "fold" in split) and split["of"] == len(train)


def fitting_preprocess(
    dataset: Any,
    net: nn.Module | None = None,
    *,
    shape: Sequence[int | None] = (None, None, None),
    side: int = _DEFAULT_SIDE,
) -> Preprocess:
    """Channels and size as in `shape`; where that leaves them open, the pictures' own, if they are equal and small, else
    squares of `side`. Mean and std are the pictures' own, but for a network that begins with Rescaling: it is given 0..255.
    A module says its channels by its first convolution, and one of timm's the rest too, but for the size of pictures in memory.
    """
    raw = net is not None and begins_with_scaling(net)
    folder = isinstance(dataset, FolderDataset)
    count, own = _look(dataset) if folder else (dataset.images.shape[1], tuple(dataset.images.shape[2:]))
    known = None if net is None else borrowed.brought(net)
    own = (known.size if known and folder else own) or (side, side)
    size = (shape[1] or own[0], shape[2] or own[1])
    channels = shape[0] or (
        known.channels if known else count if net is None else contract.suited_channels(net, count, size)
    )
    fitting = Preprocess(channels=channels, size=size, mean=(0.0,), std=(1 / 255,))
    if raw:
        return fitting
    if known is not None:
        return replace(known, size=size)
    if not folder and tuple(dataset.images.shape[1:]) == (channels, *size):
        return preprocess_for(dataset.images)
    few = np.linspace(0, len(dataset) - 1, min(len(dataset), 500)).round().astype(int)
    with warnings.catch_warnings():  # who trains or measures reads all, and tells which cannot be read
        warnings.simplefilter("ignore")
        seen = in_memory(dataset.subset(few.tolist()), fitting).images
    return preprocess_for(seen)


def sized_preprocess(dataset: Any, network: str | nn.Module | Model, size: tuple[int, int]) -> Preprocess:
    """As `fitting_preprocess`, for pictures of a (height, width) that a person chose."""
    graph, net = (network.graph, network.net) if isinstance(network, Model) else (None, network)
    channels, *own = declared_shape(graph)
    if any(side not in (None, asked) for side, asked in zip(own, size, strict=True)):
        raise ShapeError(
            f"The size {size[0]}x{size[1]} came.",
            f"The network says itself that it takes pictures of {own[0]}x{own[1]} px.",
            "Leave the size out, or describe the input with that shape.",
        )
    return fitting_preprocess(dataset, net if isinstance(net, nn.Module) else None, shape=(channels, *size))


def declared_shape(graph: Graph | None) -> tuple[int | None, ...]:
    """(channels, height, width) that a network made of layers says it takes; None where it leaves them open.

    Raises ShapeError where it takes something else than one picture (C, H, W).
    """
    if graph is None:
        return (None, None, None)
    first = graph.inputs[0]
    if len(graph.inputs) != 1 or len(first.shape) != 3 or first.permuted or first.shape[0] not in (1, 3, None):
        came = ", ".join(f"{symbol.shape}{' (channels last)' * symbol.permuted}" for symbol in graph.inputs)
        raise ShapeError(
            f"The network's input is {came}.",
            "A Classifier gives its network one picture: (channels, height, width) with 1 or 3 channels.",
            "Describe it as Input(shape=(3, 96, 96)), without data_format; for rows of numbers put layers.Flatten() behind it.",
        )
    return tuple(first.shape)


def warn_scaled_twice(net: nn.Module, preprocess: Preprocess) -> None:
    """Warns of a network that divides 0..255 itself, beside a preprocessing that has divided already."""
    first = _first_module(net)
    divides = isinstance(first, Normalize) or (isinstance(first, Rescaling) and float(first.scale) < _DIVIDES)
    if divides and min(preprocess.std) > _DIVIDES:
        warn(
            f"The preprocessing scales pixels (mean {preprocess.mean}, std {preprocess.std}), and the network's first "
            f"layer, {first}, scales them again. A network that scales expects 0..255. "
            "Leave preprocess out, pass one with mean=(0,), std=(1 / 255,), or take the layer away."
        )


def begins_with_scaling(net: nn.Module) -> bool:
    """Whether the first layer scales pixel values itself."""
    return isinstance(_first_module(net), Rescaling | Normalize)


def _first_module(net: nn.Module) -> nn.Module | None:
    return next((module for module in net.modules() if not list(module.children())), None)


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


def usual_side(network: object) -> int:
    """The side of the squares (px) that pictures of many sizes become where nobody says.

    64, or what a network by name was made for, such as 224, where that is more.
    """
    usual = min(sizes.usual_shape(network)[1:]) if isinstance(network, str) else 0
    return max(usual, _DEFAULT_SIDE)


def is_resized(dataset: Any, shape: Sequence[int | None]) -> bool:
    """Whether the size of the pictures was chosen for them: they have many or large ones, and the network names none."""
    return isinstance(dataset, FolderDataset) and None in shape[1:] and _look(dataset)[1] is None


def told_size(preprocess: Preprocess) -> str:
    """A line about pictures whose size was chosen for them."""
    height, width = preprocess.size
    return (
        f"Pictures are made {height} x {width} px. preprocess=lamina.Preprocess(size=...) (--size) says another size."
    )


def _look(dataset: FolderDataset) -> tuple[int, tuple[int, int] | None]:
    """Channels from up to 100 files' headers, and the size, where it is one that can be kept."""
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
    return (1 if grey else 3), None
