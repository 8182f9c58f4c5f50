"""Samples on a sheet: pictures with their labels, boxes, masks or captions, before and after augmentation."""

from __future__ import annotations

import html
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError, LaminaError, UnknownNameError, nearest_names
from lamina.data import datasets, formats
from lamina.data.annotated import AnnotatedDataset
from lamina.data.augment import Augment, augmented, composed, mixes
from lamina.data.augment.transform import Transform
from lamina.data.dataset import FolderDataset
from lamina.data.formats.image_folder import is_picture
from lamina.data.reader import undisturbed
from lamina.data.splits import Splits
from lamina.data.tree import nearest
from lamina.structures import draw, drawing
from lamina.structures.annotation import Annotation

USUAL = "usual"  # the augmentation that usually helps for the data set's task
_COUNT = 12
_SIDE, _SMALL = 512, 224  # px of what the usual augmentation makes, with and without annotations
Change = Callable[[Tensor, Any], tuple[Tensor, Any]]


def show(
    data: Any,
    count: int | None = None,
    *,
    part: str | None = None,
    augment: Augment | Change | None = None,
    seed: int = 0,
    columns: int | None = None,
    side_px: int = 256,
) -> Image.Image:
    """`count` samples drawn by chance (12, or all of a smaller set), each with what is known of it, on one Pillow picture.

    `data`: a data set, its Splits, a path or a name; of several parts the first, or the `part` of this name. `augment`: each
    sample is shown before and after it; names as `fit` takes them ("flip,color"), for annotated pictures those of `augment.sample`,
    "usual" for what usually helps, or the objects. Another `seed` shows others. `side_px` is the longer side of each. Raises
    DataError for more samples than there are.
    """
    dataset = part_of(data, part)
    if count is not None and not 1 <= count <= len(dataset):
        raise DataError(
            f"{count:,} samples are asked for, and the data set has {len(dataset):,}.",
            "A number from 1 up to that was expected.",
            f"Ask for {min(len(dataset), _COUNT)}.",
        )
    rows = random.order(random.key(seed), len(dataset))[: count or _COUNT].sort().values.tolist()
    change = None if augment is None else _change(augment, dataset)
    drawn = []
    with undisturbed():
        for number, row in enumerate(rows):
            try:
                picture, known = dataset[row]
                cells = [_drawn(picture, known, dataset, side_px, word="before" if change is not None else "")]
                if change is not None:
                    random.reseed_host(random.key(seed, number))
                    cells.append(_drawn(*change(picture, known), dataset, side_px, word="after"))
            except DataError as error:
                cells = [_refused(error.came, side_px)] * (1 if change is None else 2)
            drawn += cells
    if change is not None:  # before and after stay side by side
        drawn = [draw.grid(drawn[first : first + 2], columns=2) for first in range(0, len(drawn), 2)]
    return draw.grid(drawn, columns=columns)


def variants(
    change: Change, dataset: Any, index: int = 0, *, count: int = 8, seed: int = 0, side_px: int = 256
) -> Image.Image:
    """One sample as it is, and `count` times changed, on one Pillow picture."""
    if count < 1:
        raise DataError(f"count is {count}.", "At least one was expected.", "Pass 8.")
    with undisturbed():
        picture, known = dataset[index]
        drawn = [_drawn(picture, known, dataset, side_px, word="before")]
        for number in range(count):
            random.reseed_host(random.key(seed, number))
            drawn.append(_drawn(*change(picture, known), dataset, side_px))
    return draw.grid(drawn)


def html_of(dataset: Any, *, count: int = 6) -> str:
    """What a notebook shows of a data set: what it is, and a few of its samples."""
    told = f"<p>{html.escape(repr(dataset))}</p>"
    try:
        sheet = show(dataset, min(count, len(dataset)), columns=count, side_px=128)
    except (LaminaError, OSError):  # what cannot be drawn can still be named
        return told
    return f'{told}<img alt="a few samples" style="max-width:100%" src="{draw.encoded(sheet, "JPEG")}">'


def opened(data: Any, *, format: str | None = None, task: str | None = None) -> Any:
    """Splits from a path or the name of a data set; anything else as it is."""
    if not isinstance(data, str | os.PathLike):
        return data
    named = isinstance(data, str) and data in datasets.names() and not Path(data).exists()
    if named and format is None:
        return datasets.load(str(data), task=task)
    refuse_misspelt(data)
    return formats.open_path(Path(data), format, task=task)


def opened_or_loose(data: Any, *, format: str | None = None, task: str | None = None) -> Any:
    """As `opened`; a folder of loose pictures, or one picture, as a part `train` without labels."""
    paths = _loose(data) if format is None and task is None else []
    if not paths:
        return opened(data, format=format, task=task)
    try:
        return opened(data)
    except DataError:
        root = Path(paths[0]).parent
        unlabelled = FolderDataset(paths, torch.zeros(len(paths), 0, dtype=torch.int64), (), root=root)
        return Splits(unlabelled, None, name=root.name, format="pictures", recognised="without labels")


def _loose(data: Any) -> list[str]:
    """The pictures in a folder that holds no other folder, or the one picture that is named."""
    if not isinstance(data, str | os.PathLike):
        return []
    path = Path(data).expanduser()
    if path.is_file():
        return [str(path)] * is_picture(path)
    if not path.is_dir() or any(each.is_dir() and not each.name.startswith(".") for each in path.iterdir()):
        return []
    return sorted(str(each) for each in path.iterdir() if is_picture(each))


def refuse_misspelt(data: str | os.PathLike[str]) -> None:
    """Raises UnknownNameError for what is no path, and no name of a data set."""
    if isinstance(data, str) and not Path(data).expanduser().exists() and os.sep not in data and "." not in data:
        near = ", ".join(map(repr, nearest_names(data, datasets.names())))
        raise UnknownNameError(
            f"There is no data set called {data!r}, and no folder {os.path.abspath(data)}.",
            f"The nearest known names: {near}.",
            f"Correct the name or the path. {nearest(data)}".strip(),
        )


def part_of(data: Any, part: str | None = None) -> Any:
    """A data set, of several parts the first or the one of this name. Raises UnknownNameError, and DataError for an empty one."""
    found = opened_or_loose(data)
    if isinstance(found, Splits):
        found = found[part] if part is not None else next(iter(found.parts().values()))
    elif part is not None:
        raise DataError(f"The part {part!r} of a data set came.", "It has no parts.", "Leave it out, or pass Splits.")
    if not hasattr(found, "__getitem__") or not hasattr(found, "__len__"):
        raise DataError(
            f"A {type(found).__name__} came as data.",
            "A data set, Splits, a path or a data set's name was expected.",
            "Pass lamina.data.open(path).",
        )
    if not len(found):
        raise DataError(f"The data set {found!r} is empty.", "At least one sample was expected.", "Check the filter.")
    return found


def _change(augment: Any, dataset: Any) -> Change:
    """What is done to one sample."""
    from lamina.data.augment import sample  # torchvision's transforms take a while to import

    annotated = isinstance(dataset, AnnotatedDataset)
    if isinstance(augment, str) and augment == USUAL:
        task, points = getattr(dataset, "task", "classification"), dataset.point_names if annotated else None
        side = (
            _SIDE if annotated else min(_SMALL, max(dataset.images.shape[2:])) if hasattr(dataset, "images") else _SMALL
        )
        signs = not annotated and all(len(name) == 1 for name in dataset.classes)  # digits or letters
        return sample.augmentation(task, size=side, point_names=points, mirrored=not signs)
    if isinstance(augment, sample.SampleTransforms):
        return augment
    names = isinstance(augment, str) or (isinstance(augment, list) and all(isinstance(each, str) for each in augment))
    if annotated and names:
        return sample.named(augment, dataset=dataset)
    if callable(augment) and not hasattr(augment, "draws"):
        given: Change = augment
        return given
    if annotated:
        raise DataError(
            f"{augment!r} came for annotated pictures.",
            "It changes whole batches, and leaves boxes and masks where they are.",
            "Pass augmentations of lamina.data.augment.sample, or their names.",
        )
    return _of_a_batch(composed(augment))


def _of_a_batch(transform: Transform) -> Change:
    if mixes(transform):
        raise DataError(
            f"{transform} mixes pictures of a batch.",
            "Single pictures are shown.",
            "Leave Mixup and CutMix out to look at the others.",
        )

    def change(picture: Tensor, known: Any) -> tuple[Tensor, Any]:
        uniforms = torch.rand(1, transform.draws)
        images, _ = augmented(transform, picture[None], None, uniforms)
        assert isinstance(images, Tensor)
        return images[0].round().clamp(0, 255).to(torch.uint8), known

    return change


def _drawn(picture: Tensor, known: Any, dataset: Any, side_px: int, *, word: str = "") -> Image.Image:
    if isinstance(known, Annotation):
        lines, classes = getattr(dataset, "skeleton", ()), dataset.classes
        return drawing.annotated(picture, known, classes=classes, caption=word, skeleton=lines, side_px=side_px)
    label = torch.as_tensor(known)
    several = label.flatten().nonzero().flatten().tolist() if label.dim() else [int(label)]
    names = ", ".join(dataset.classes[number] for number in several) or "no label"
    caption = f"{word}: {names}" if word else names
    return drawing.annotated(picture, Annotation(), caption=caption, side_px=side_px)


def _refused(why: str, side_px: int) -> Image.Image:
    """A cell for a sample that cannot be read."""
    empty = Image.new("RGB", (side_px, side_px // 2), (225, 222, 216))
    ImageDraw.Draw(empty).line((0, 0, side_px, side_px // 2), fill=(190, 60, 40), width=3)
    return drawing.annotated(empty, Annotation(captions=(why,)), caption="cannot be read", side_px=side_px)
