"""Test-time augmentation: several views of one picture, whose answers are averaged.

Views are cut from what the preprocessing keeps before its crop, so they need pictures that are not cropped yet; flips, shifts and
augmentations of the network's own size work on any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from lamina.core.errors import DataError, ShapeError, unknown_name
from lamina.data.augment.compose import composed, draw, mixes, require_transform
from lamina.data.preprocess import Preprocess

USUAL_CROP = 0.875  # 224 of 256 pixels (Krizhevsky 2012), where the preprocessing itself crops nothing

Pictures = Shaped[Tensor, "B C H W"]
Answer = Callable[[Pictures], Float[np.ndarray, "B K"]]


class Views(Protocol):
    """Some views of each picture of a batch."""

    def reads(self, preprocess: Preprocess) -> Preprocess:
        """How pictures are prepared for being viewed, where `preprocess` prepares them for the network."""
        ...

    def __call__(self, images: Pictures, size: tuple[int, int], first: int, /) -> Iterator[Pictures]:
        """Batches of views of `size` (height, width), 0..255, from images that were read as `reads` says.

        `first` is the position of the first image among all that are asked about.
        """
        ...


@dataclass(frozen=True)
class Flip:
    """The picture and its mirror image."""

    def reads(self, preprocess: Preprocess) -> Preprocess:
        """As for the network."""
        return preprocess

    def __call__(self, images: Pictures, size: tuple[int, int], first: int = 0) -> Iterator[Pictures]:
        """Two views."""
        del size, first
        yield images
        yield images.flip(3)


@dataclass(frozen=True)
class Shift:
    """The picture, and moved by `px` pixels along both diagonals; with `mirror` the mirror images of these five too.

    What comes in at a border is the picture mirrored there.
    """

    px: int = 1
    mirror: bool = False

    def __post_init__(self) -> None:
        _require("px", self.px, isinstance(self.px, int) and self.px >= 1, "a whole number of pixels, at least 1")

    def reads(self, preprocess: Preprocess) -> Preprocess:
        """As for the network."""
        if self.px >= min(preprocess.size):
            raise ShapeError(
                f"Shift(px={self.px}) came to pictures of {_times(preprocess.size)} px.",
                "A shift is smaller than the picture.",
                "Pass fewer pixels.",
            )
        return preprocess

    def __call__(self, images: Pictures, size: tuple[int, int], first: int = 0) -> Iterator[Pictures]:
        """Five views, or ten."""
        del first
        padded = F.pad(images.float(), (self.px,) * 4, mode="reflect")
        for top, left in ((self.px, self.px), (0, 0), (0, 2 * self.px), (2 * self.px, 0), (2 * self.px, 2 * self.px)):
            yield from _both(padded[:, :, top : top + size[0], left : left + size[1]], self.mirror)


@dataclass(frozen=True)
class TenCrop:
    """The four corners and the centre of the picture before its crop, and their mirror images (Krizhevsky 2012, section 4.1).

    `crop` is how much of the picture's side a view is: by default what the preprocessing crops, or where it crops nothing
    0.875, the paper's 224 of 256 pixels. Without `mirror` there are five.
    """

    crop: float | None = None
    mirror: bool = True

    def __post_init__(self) -> None:
        _require("crop", self.crop, self.crop is None or 0 < self.crop < 1, "a share between 0 and 1")

    def reads(self, preprocess: Preprocess) -> Preprocess:
        """The picture before its crop."""
        return _before_crop(preprocess, self.crop)

    def __call__(self, images: Pictures, size: tuple[int, int], first: int = 0) -> Iterator[Pictures]:
        """The centre, then the corners."""
        del first
        (height, width), (down, right) = size, (images.shape[2] - size[0], images.shape[3] - size[1])
        for top, left in ((round(down / 2), round(right / 2)), (0, 0), (0, right), (down, 0), (down, right)):
            yield from _both(images[:, :, top : top + height, left : left + width], self.mirror)


@dataclass(frozen=True)
class MultiScale:
    """The centre of the picture at several scales, and its mirror image: `shares` say how much of the side each view shows."""

    shares: tuple[float, ...] = (1.0, 0.875, 0.75)
    mirror: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(self.shares))
        good = len(self.shares) > 0 and all(0 < share <= 1 for share in self.shares)
        _require("shares", self.shares, good, "one or more shares above 0 and up to 1")

    def reads(self, preprocess: Preprocess) -> Preprocess:
        """All of the picture, at the resolution of the largest scale."""
        return _before_crop(preprocess, min(self.shares))

    def __call__(self, images: Pictures, size: tuple[int, int], first: int = 0) -> Iterator[Pictures]:
        """A view of each share."""
        del first
        for share in self.shares:
            height, width = max(round(images.shape[2] * share), 1), max(round(images.shape[3] * share), 1)
            top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
            window = images[:, :, top : top + height, left : left + width]
            if (height, width) != tuple(size):
                window = F.interpolate(window.float(), size=tuple(size), mode="bilinear", antialias=True)
            yield from _both(window, self.mirror)


@dataclass(frozen=True)
class Augmented:
    """`times` random changes of each picture by an augmentation of lamina.data.augment, or a list of them.

    The random numbers are functions of (seed, view, the picture's place), so the same call gives the same answer. With
    `before_crop` the augmentation is given the picture before its crop, and has to cut it itself: RandomCrop(size=224).
    """

    augment: Any
    times: int = 10
    seed: int = 0
    before_crop: bool = False

    def __post_init__(self) -> None:
        _require("times", self.times, isinstance(self.times, int) and self.times >= 1, "a whole number, at least 1")
        made = composed(self.augment)
        require_transform(made)
        if mixes(made):
            raise DataError(
                f"{self.augment} came for test-time augmentation.",
                "It mixes pictures with one another, and each is to be answered by itself.",
                "Leave Mixup and CutMix out.",
            )
        object.__setattr__(self, "augment", made)

    def reads(self, preprocess: Preprocess) -> Preprocess:
        """As for the network, or before its crop."""
        return _before_crop(preprocess, None) if self.before_crop else preprocess

    def __call__(self, images: Pictures, size: tuple[int, int], first: int = 0) -> Iterator[Pictures]:
        """As many views as `times`."""
        places, floats = torch.arange(first, first + len(images)), images.float()
        for view in range(self.times):
            numbers = draw(self.augment, places, seed=self.seed, epoch=view, samples=places)
            made: Tensor = self.augment(floats, numbers)
            if tuple(made.shape[2:]) != tuple(size):
                raise ShapeError(
                    f"{self.augment} gave views of {_times(made.shape[2:])} px.",
                    f"The network takes {_times(size)} px.",
                    f"Let it cut to that size, such as RandomCrop(size={tuple(size)}).",
                )
            yield made


# What may be named on the command line and in `tta=`.
NAMES: dict[str, Callable[[], Views]] = {
    "flip": Flip,
    "multi-scale": MultiScale,
    "shift": Shift,
    "ten-crop": TenCrop,
}


def get(spec: Any) -> Views:
    """The views of a name ("ten-crop"), of views, or of an augmentation or a list of them (ten times)."""
    if isinstance(spec, str):
        if spec not in NAMES:
            raise unknown_name("test-time augmentation", spec, NAMES)
        return NAMES[spec]()
    if hasattr(spec, "reads") and callable(spec):
        views: Views = spec
        return views
    if isinstance(spec, Number):
        raise DataError(
            f"tta is {spec!r}.",
            f"A name ({', '.join(map(repr, NAMES))}), views of lamina.models.tta or an augmentation was expected.",
            'Pass for example tta="flip".',
        )
    return Augmented(spec)


def title(spec: Any) -> str:
    """What a table calls it."""
    return spec if isinstance(spec, str) else type(spec).__name__ if hasattr(spec, "reads") else "augmented"


def refuse_cropped(views: Views, value: Any, preprocess: Preprocess) -> None:
    """Raises DataError where views are cut from around the crop, and the pictures are arrays of the network's own size."""
    shape = tuple(getattr(getattr(value, "images", value), "shape", ()))
    sides = shape[-3:-1] if len(shape) >= 3 and shape[-1] in (1, 3, 4) else shape[-2:]
    if len(shape) < 2 or sides != preprocess.size or views.reads(preprocess).size == preprocess.size:
        return
    raise DataError(
        f"{type(views).__name__} came to pictures of {_times(sides)} px, the network's own size.",
        "It cuts its views from larger pictures, and of these nothing is left to cut.",
        'Pass the pictures as files or larger arrays, or use tta="flip", "shift" or an augmentation.',
    )


def averaged(
    views: Views, images: Pictures, *, size: tuple[int, int], answer: Answer, first: int = 0
) -> Float[np.ndarray, "B K"]:
    """The mean of the answers (probabilities) to all views; images as `views.reads` wants them."""
    total: Any = None
    count = 0
    for view in views(images, size, first):
        probs = answer(view.contiguous()).astype(np.float64)
        total, count = probs if total is None else total + probs, count + 1
    return np.asarray(total / count, dtype=np.float32)


def _both(images: Tensor, mirror: bool) -> Iterator[Tensor]:
    yield images
    if mirror:
        yield images.flip(3)


def _before_crop(preprocess: Preprocess, crop: float | None) -> Preprocess:
    share = crop or (preprocess.crop if preprocess.crop < 1 else USUAL_CROP)
    height, width = (int(side / share) for side in preprocess.size)
    return replace(preprocess, size=(height, width), crop=1.0)


def _require(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise DataError(f"{name} is {value!r}.", f"It is {expected}.", f"Pass another {name}.")


def _times(sides: Any) -> str:
    return " x ".join(map(str, sides))
