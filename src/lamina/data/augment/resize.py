"""Small images first: a step at half the side costs about a quarter, and early epochs lose little by it (Howard 2018, DAWNBench)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from lamina.core.errors import DataError, ShapeError
from lamina.structures.batch import Batch


@dataclass(frozen=True)
class ProgressiveResize:
    """Images at the share `start` of their side in the first epoch, growing on a line to all of it at the share `until` of training.

    Sides are multiples of `multiple` pixels, the same throughout an epoch: a function of the epoch and of nothing else. Targets are not
    resized, so the network must give the same shape for any size, as one with global pooling does.
    """

    start: float = 0.5
    until: float = 0.7
    multiple: int = 4

    def __post_init__(self) -> None:
        for name, value, lowest in (("start", self.start, 0.0), ("until", self.until, -1.0)):
            if not lowest < value <= 1.0 or value < 0:
                raise DataError(
                    f"{name} is {value}.", "A share from 0 to 1 was expected.", "Usual are start=0.5, until=0.7."
                )
        if self.multiple < 1 or self.multiple != int(self.multiple):
            raise DataError(f"multiple is {self.multiple}.", "A number of pixels, at least 1.", "1 allows any size.")

    def side(self, progress: float, full: int) -> int:
        """The side in pixels of images that are `full` pixels wide or high, at `progress` 0..1 of training."""
        share = 1.0 if progress >= self.until else self.start + (1.0 - self.start) * progress / self.until
        if share >= 1.0:
            return full
        return min(max(round(full * share / self.multiple), 1) * self.multiple, full)

    def __call__(self, images: Shaped[Tensor, "B C H W"], progress: float) -> Shaped[Tensor, "B C H2 W2"]:
        """The images at the size of `progress`, bilinear and without aliasing; in the type they came in, whole numbers rounded."""
        if images.dim() != 4:
            raise ShapeError(
                f"ProgressiveResize was given inputs of shape {tuple(images.shape)}.",
                "It resizes images (B C H W).",
                "Leave it out for other inputs.",
            )
        size = (self.side(progress, images.shape[2]), self.side(progress, images.shape[3]))
        if size == tuple(images.shape[2:]):
            return images
        exact = images if images.is_floating_point() else images.float()
        small = F.interpolate(exact, size=size, mode="bilinear", antialias=True)
        return small if images.is_floating_point() else small.round_().to(images.dtype)

    def check(self, forward: Callable[[Tensor], Any], images: Shaped[Tensor, "B C H W"]) -> None:
        """Raises ShapeError unless `forward` (a network in eval mode) gives one shape for images in full and in their first size."""
        small = self(images, 0.0)
        with torch.no_grad():
            wanted = _shapes(forward(images))
            try:
                given: object = _shapes(forward(small))
            except RuntimeError as error:
                given = str(error).splitlines()[0]
        if given != wanted:
            sizes = f"{tuple(images.shape[2:])} gives {wanted}, {tuple(small.shape[2:])}: {given}"
            raise ShapeError(
                f"The network does not take images of other sizes ({sizes}).",
                "Progressive resizing needs a network whose output has one shape for all of them.",
                "End it in global pooling (GlobalAveragePooling2D) instead of Flatten, or leave the resizing out.",
            )


class _Batches(Protocol):
    samples: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]: ...


class ResizedBatches:
    """The batches of a loader with their (first) inputs resized as their epoch wants it.

    `epochs` is the length of training and `first` the epoch at which it began, so a resumed run sees the sizes of one never interrupted.
    """

    def __init__(self, batches: _Batches, resize: ProgressiveResize, *, epochs: int, first: int = 0) -> None:
        self.batches, self.resize, self.epochs, self.first = batches, resize, epochs, first
        self.samples = batches.samples

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        """What else the batches tell: `rows`, `workers`, `waited_s`."""
        if name == "batches":  # not set yet, in a copy
            raise AttributeError(name)
        return getattr(self.batches, name)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)  # to look at, and to evaluate: as they are

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from the `start`-th on."""
        progress = (epoch - self.first) / max(self.epochs, 1)
        for batch in self.batches.epoch(epoch, start=start):
            inputs = batch.inputs
            if isinstance(inputs, Tensor):
                yield batch._replace(inputs=self.resize(inputs, progress))
            else:
                yield batch._replace(inputs=(self.resize(inputs[0], progress), *inputs[1:]))


def _shapes(outputs: Any) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in ((outputs,) if isinstance(outputs, Tensor) else outputs)]
