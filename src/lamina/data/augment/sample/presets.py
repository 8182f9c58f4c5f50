"""What usually helps, for each task, and single transforms by name. Printing one tells what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torchvision.transforms import v2

from lamina.core.errors import DataError, unknown_name
from lamina.data.annotated import AnnotatedDataset
from lamina.data.augment.sample.auto import AugMix, RandAugment, TrivialAugment
from lamina.data.augment.sample.compose import SampleTransforms
from lamina.data.augment.sample.geometry import (
    Letterbox,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomScaledCrop,
    Resize,
)
from lamina.data.augment.sample.mosaic import Mosaic

Size = int | tuple[int, int]
_USUAL = 640  # px of a mosaic's sides where nobody said


def _light() -> v2.Transform:
    return v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3)


def _detection(size: Size) -> list[Any]:
    return [RandomCrop(p=0.5), RandomFlip(), _light(), Letterbox(size)]


def _segmentation(size: Size) -> list[Any]:
    return [
        RandomScaledCrop(size, scale=(0.87, 2.0)),  # from 0.87 on, a quarter at most is border, which no loss counts
        RandomFlip(),
        _light(),
    ]


def _captioning(size: Size) -> list[Any]:
    """Not mirrored, and never much cut: the words may say left, and name what stands at the edge."""
    return [RandomCrop(scale=(0.8, 1.0)), _light(), Letterbox(size)]


def _translation(size: Size) -> list[Any]:
    """Both pictures alike, and their light left alone: it is what one is to be made of the other."""
    return [RandomCrop(scale=(0.7, 1.0), ratio=(1.0, 1.0)), RandomFlip(), Resize(size)]


def _keypoints(size: Size) -> list[Any]:
    return [RandomAffine(degrees=30, shift=0.1, zoom=(0.75, 1.25), p=0.7), RandomFlip(), _light(), Letterbox(size)]


def _classification(size: Size) -> list[Any]:
    return [v2.RandomResizedCrop(size, scale=(0.35, 1.0), antialias=True), RandomFlip(), TrivialAugment(wide=True)]


PRESETS: dict[str, Callable[[Size], list[Any]]] = {
    "captioning": _captioning,
    "classification": _classification,
    "detection": _detection,
    "keypoints": _keypoints,
    "panoptic": _segmentation,
    "segmentation": _segmentation,
    "translation": _translation,
}

SAMPLE_AUGMENTATIONS: dict[str, Callable[[], v2.Transform]] = {
    "affine": lambda: RandomAffine(degrees=10, shift=1 / 16, zoom=(0.9, 1.1)),
    "augmix": lambda: AugMix(),
    "color": _light,
    "crop": lambda: RandomCrop(),
    "flip": lambda: RandomFlip(),  # left and right
    "grayscale": lambda: v2.RandomGrayscale(),
    "rand": lambda: RandAugment(),
    "rotate": lambda: RandomAffine(degrees=15),
    "shift": lambda: RandomAffine(shift=0.1),
    "trivial": lambda: TrivialAugment(),
    "zoom": lambda: RandomAffine(zoom=(0.7, 1.4)),
}


def augmentation(
    task: str,
    *,
    size: Size,
    point_names: Sequence[str] | None = None,
    mosaic_of: AnnotatedDataset | None = None,
    mirrored: bool = True,
) -> SampleTransforms:
    """The usual augmentation for a task, which gives RGB pictures of `size` pixels (height, width): `dataset.changed(...)` takes it.

    Of a data set with points, pass its `point_names`. `mosaic_of`: half of the pictures are mosaics with others of that data
    set. Not `mirrored`: for letters, digits, and whatever else tells left from right. Raises UnknownNameError for a task without one.
    """
    if task not in PRESETS:
        raise unknown_name("augmentation for the task", task, PRESETS)
    first = [v2.RGB()]
    if mosaic_of is not None:
        first.append(Mosaic(mosaic_of, size, p=0.5))
    usual = [each for each in PRESETS[task](size) if mirrored or not isinstance(each, RandomFlip)]
    return SampleTransforms([*first, *usual], point_names, name=f"Augmentation for {task}")


def named(
    names: str | Sequence[str], *, dataset: AnnotatedDataset | None = None, size: Size | None = None
) -> SampleTransforms:
    """The transforms of some names ("flip,rotate", or a list), in this order. Raises UnknownNameError with the nearest.

    "mosaic" takes the others from `dataset`, at `size`; the points' names are the data set's too.
    """
    listed = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    made: list[Any] = []
    for name in listed:
        if name == "mosaic":
            if dataset is None:
                raise DataError("A mosaic came without a data set.", "It is made of four pictures.", "Pass dataset=.")
            made.append(Mosaic(dataset, size or _USUAL))
        elif name in SAMPLE_AUGMENTATIONS:
            made.append(SAMPLE_AUGMENTATIONS[name]())
        else:
            raise unknown_name("augmentation of samples", name, [*SAMPLE_AUGMENTATIONS, "mosaic"])
    return SampleTransforms(made, None if dataset is None else dataset.point_names, name=", ".join(listed))
