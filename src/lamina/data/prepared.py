"""Annotated pictures as a network sees them: of one size, and what is known of each in one tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lamina.core.errors import DataError
from lamina.data.pictures import read
from lamina.data.preprocess import Preprocess, pixels
from lamina.structures.annotation import Annotation

if TYPE_CHECKING:
    from lamina.data.augment.sample import Letterbox, Resize, SampleTransforms

Picture = UInt8[Tensor, "C H W"]
Encode = Callable[[Annotation], Tensor]


class Prepared(Dataset[tuple[Tensor, Tensor]]):
    """The samples of an annotated data set as (uint8 picture C H W of the preprocessing's size, target tensor).

    `encode` makes one tensor, of one shape for all samples, of what is known in the pixels of that picture. `augment` acts on the
    picture as it lies on the disk, before it is given its size. `WorkerBatches` reads it.
    """

    def __init__(
        self,
        dataset: Any,
        preprocess: Preprocess,
        encode: Encode,
        *,
        augment: SampleTransforms | None = None,
    ) -> None:
        check_whole(preprocess)
        if augment is not None and hasattr(dataset, "changed"):
            augment = augment.for_points(dataset.point_names) if "keypoints" in dataset.columns else augment
        self.dataset, self.preprocess, self.encode, self.augment = dataset, preprocess, encode, augment

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Picture, Tensor]:
        picture, annotation = self.dataset[index]
        if self.augment is not None:
            picture, annotation = self.augment(picture, annotation)
        picture, annotation = fitted(picture, annotation, self.preprocess)
        return picture, self.encode(annotation)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.dataset.classes)

    @property
    def is_strict(self) -> bool:
        """Whether a sample that cannot be read ends a training."""
        return getattr(self.dataset, "is_strict", False)

    def augmented(self, augment: SampleTransforms | None) -> Self:
        """The same samples, changed as training sees them."""
        return type(self)(self.dataset, self.preprocess, self.encode, augment=augment)


def fitted(picture: Picture, annotation: Annotation, preprocess: Preprocess) -> tuple[Picture, Annotation]:
    """The picture as `preprocess.host` makes it, and what is known of it in its pixels: boxes, masks, map of classes, points.

    Raises DataError where the map of classes has another size than the picture.
    """
    from lamina.data.augment.sample import moved  # torchvision's transforms take seconds to import

    if annotation.class_map is not None and annotation.class_map.shape != picture.shape[1:]:
        (height, width), (tall, wide) = annotation.class_map.shape, picture.shape[1:]
        raise DataError(
            f"A map of classes has {width} x {height} pixels, and its picture {wide} x {tall}.",
            "Both have the same size.",
            "Resize the map by nearest neighbour, so that no values are mixed.",
        )
    if len(picture) != preprocess.channels:
        picture = _in_channels(picture, preprocess.channels)
    if preprocess.interpolation != "bilinear":
        # v2's bilinear is the preprocessing's; of others the picture is made by itself
        fit, known = preprocess.host(picture), moved(_whole(preprocess), picture, annotation)[1]
        return fit, known
    return moved(_whole(preprocess), picture, annotation)


def check_whole(preprocess: Preprocess) -> None:
    """Raises DataError for a preprocessing that cuts parts of a picture away, and with them what is to be found there."""
    if preprocess.resize == "crop":
        raise DataError(
            'The preprocessing has resize="crop".',
            'Pictures with annotations are used whole: "pad" or "stretch" was expected.',
            'Pass lamina.Preprocess(size=..., resize="pad").',
        )


def _whole(preprocess: Preprocess) -> Letterbox | Resize:
    from lamina.data.augment.sample import Letterbox, Resize

    return Letterbox(preprocess.size) if preprocess.resize == "pad" else Resize(preprocess.size)


def _in_channels(picture: Picture, channels: int) -> Picture:
    """The picture in grey or in three colours, as Pillow makes them."""
    return pixels(read(picture).convert("L" if channels == 1 else "RGB"))
