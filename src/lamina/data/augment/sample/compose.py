"""Several transforms for samples as one, and a data set whose samples pass through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from lamina.core.errors import DataError, ShapeError
from lamina.data.annotated import AnnotatedDataset, Change
from lamina.data.augment.sample.geometry import RandomFlip
from lamina.data.augment.sample.moving import Picture, moved
from lamina.structures.annotation import Annotation

_MIRRORS = (RandomFlip, v2.RandomHorizontalFlip, v2.RandomVerticalFlip)


@dataclass(frozen=True)
class SampleTransforms:
    """One transform after the other, of a picture (uint8 C H W) and what is known of it: `dataset.changed(transforms)`.

    Each is one of torchvision's `transforms.v2` (or of this package), or a function of (picture, annotation). Boxes are cut to the
    picture; objects whose centre leaves it go, with all that is known of them. `point_names` are the data set's,
    needed where a picture with points may be mirrored: left and right are exchanged then; `dataset.changed` gives its own to
    transforms that have none. `extras` stay as they are.
    Other targets than an Annotation, such as the label of a class, stay as they are.
    """

    transforms: Sequence[v2.Transform | Change]
    point_names: Sequence[str] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        flat: list[Any] = []
        for transform in self.transforms:
            flat += transform.transforms if isinstance(transform, v2.Compose) else [transform]
        for transform in flat:
            if not callable(transform) or isinstance(transform, type):
                raise DataError(
                    f"The transforms hold {transform!r}.",
                    "Transforms of torchvision.transforms.v2, or functions of (picture, annotation), were expected.",
                    f"Pass {transform.__name__}(...)." if isinstance(transform, type) else "Leave it out.",
                )
        object.__setattr__(self, "transforms", tuple(flat))
        object.__setattr__(self, "point_names", None if self.point_names is None else tuple(self.point_names))

    def __call__(self, picture: Picture, annotation: Any) -> tuple[Picture, Any]:
        """The picture and what is known of it, changed as torch's own generator draws."""
        if picture.dtype != torch.uint8 or picture.dim() != 3:
            raise ShapeError(
                f"A picture of the shape {tuple(picture.shape)} and the type {picture.dtype} came.",
                "Samples are uint8, C H W.",
                "Pass pixels of 0..255, one picture at a time.",
            )
        known = annotation if isinstance(annotation, Annotation) else Annotation()
        for transform in self.transforms:
            if isinstance(transform, v2.Transform):
                picture, known = moved(transform, picture, known, point_names=self.point_names)
            else:
                picture, known = transform(picture, known)
        return picture, known if isinstance(annotation, Annotation) else annotation

    def for_points(self, names: Sequence[str]) -> SampleTransforms:
        """The same with a data set's names of points, where it has none of its own. Raises DataError where it mirrors and none came."""
        if self.point_names is not None:
            return self
        inner = [each.for_points(names) if isinstance(each, SampleTransforms) else each for each in self.transforms]
        if names:
            return replace(self, transforms=inner, point_names=tuple(names))
        if any(isinstance(each, _MIRRORS) for each in inner):
            raise DataError(
                "The transforms mirror pictures with points, and the data set has no names of its points.",
                "Left and right are exchanged then, which their names tell: left_eye, right_eye.",
                "Pass point_names=[...] to the transforms, () where no point has a twin, or leave mirroring out.",
            )
        return replace(self, transforms=inner)

    def show(self, dataset: Any, index: int = 0, *, count: int = 8, seed: int = 0) -> Image.Image:
        """One sample of a data set, and `count` times what this makes of it, with all that is known drawn: a Pillow picture."""
        from lamina.data import looking  # which imports this

        return looking.variants(self, dataset, index, count=count, seed=seed)

    def __str__(self) -> str:
        head = self.name or "Each picture"
        return "\n".join([f"{head}:", *(f"  {number}. {each}" for number, each in enumerate(self.transforms, 1))])


class ChangedDataset(Dataset[tuple[Tensor, Any]]):
    """The samples of any data set of pictures, such as a FolderDataset, each passed through `change` when it is read.

    For what acts on single pictures before a batch is made of them; `WorkerBatches` reads it. A data set of annotated pictures has
    `changed` of its own.
    """

    def __init__(self, dataset: Any, change: Callable[[Picture, Any], tuple[Picture, Any]]) -> None:
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Picture, Any]:
        return self.change(*self.dataset[index])

    def __getattr__(self, name: str) -> Any:
        """What else the data set knows: labels, classes, task ..."""
        if name.startswith("_") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


def changed(dataset: Any, change: Callable[[Picture, Any], tuple[Picture, Any]]) -> Any:
    """The data set with each sample passed through `change`."""
    return dataset.changed(change) if isinstance(dataset, AnnotatedDataset) else ChangedDataset(dataset, change)
