"""Several augmentations as one, their random numbers, and how they are applied to a batch with its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from lamina.core import random
from lamina.core.errors import DataError
from lamina.data.augment import table
from lamina.data.augment.mix import shares
from lamina.data.augment.transform import Augment, Images, Mixing, Transform, Uniforms, check
from lamina.structures.batch import Tensors

_OF_THE_SAMPLE = -1  # stands in the key where the epoch does, which is never negative


@dataclass(frozen=True)
class Compose:
    """One augmentation after the other, each with its own random numbers; a list of them means the same to `fit`.

    One that mixes samples changes their targets too. Where these are integer labels it needs to know of how many classes:
    `num_classes`, which `fit` fills in.
    """

    transforms: Sequence[Transform | Mixing]
    num_classes: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for transform in self.transforms:
            require_transform(transform)

    @property
    def draws(self) -> int:
        """Those of all the transforms together."""
        return sum(transform.draws for transform in self.transforms)

    @property
    def mixes(self) -> bool:
        """Whether targets change too, so that `mix` has to be called."""
        return any(mixes(transform) for transform in self.transforms)

    @property
    def alternates(self) -> tuple[int, ...]:
        """The columns of the random numbers that belong to the sample."""
        columns, first = [], 0
        for transform in self.transforms:
            columns += [first + column for column in getattr(transform, "alternates", ())]
            first += transform.draws
        return tuple(columns)

    def __call__(self, images: Images, uniforms: Uniforms) -> Images:
        """The images after the last transform. Raises DataError where one of them mixes samples."""
        if self.mixes:
            raise DataError(
                f"{self} was called with images alone.",
                "Mixing samples changes their targets too.",
                "Call mix(images, targets, uniforms), or leave Mixup and CutMix out.",
            )
        return self._apply(images, None, uniforms)[0]

    def mix(self, images: Images, targets: Tensor, uniforms: Uniforms) -> tuple[Images, Tensor]:
        """Images and targets after the last transform; integer labels become shares of the classes (B K)."""
        if self.num_classes is not None and not targets.is_floating_point() and targets.dim() == 1:
            targets = shares(targets, self.num_classes)
        images, mixed = self._apply(images, targets, uniforms)
        assert mixed is not None
        return images, mixed

    def _apply(self, images: Images, targets: Tensor | None, uniforms: Uniforms) -> tuple[Images, Tensor | None]:
        check(images, uniforms, self.draws)
        first = 0
        transform: Any  # of two kinds, told apart by whether they mix
        for transform in self.transforms:
            numbers = uniforms[:, first : first + transform.draws]
            first += transform.draws
            if not mixes(transform):
                images = transform(images, numbers)
            elif targets is not None:
                images, targets = transform.mix(images, targets, numbers)
        return images, targets


def composed(augment: Augment | None, num_classes: int | None = None) -> Any:
    """What was passed as `augment=` as one transform, told the number of classes; None stays None.

    Names stand for the augmentations of `table.AUGMENTATIONS`.
    """
    if augment is None:
        return None
    if isinstance(augment, str):
        return Compose(table.get(augment), num_classes)
    if isinstance(augment, Compose):
        return Compose(augment.transforms, augment.num_classes or num_classes)
    if isinstance(augment, Sequence):
        listed: list[Any] = []
        for entry in augment:
            listed += table.get([entry]) if isinstance(entry, str) else [entry]
        return Compose(listed, num_classes)
    require_transform(augment)
    return Compose((augment,), num_classes) if mixes(augment) else augment


def draw(
    augment: Any, positions: Int64[Tensor, " B"], *, seed: int, epoch: int, samples: Int64[Tensor, " B"] | None = None
) -> Uniforms:
    """The random numbers of a batch: functions of (seed, epoch, position in the epoch).

    Columns that belong to the sample are functions of (seed, its index in the data) instead, moved on by a half each epoch.
    """
    numbers = random.uniforms(random.key(seed, epoch), positions, augment.draws)
    columns = list(getattr(augment, "alternates", ()))
    if columns and samples is not None:
        own = random.uniforms(random.key(seed, _OF_THE_SAMPLE), samples, len(columns))
        numbers[:, columns] = (own + epoch % 2 / 2) % 1
    return numbers


def augmented(
    augment: Any, inputs: Tensors, targets: Tensors | None, uniforms: Uniforms
) -> tuple[Tensors, Tensors | None]:
    """Inputs (the first of several) and targets of a batch, changed as the numbers say, on the device of the inputs."""
    images = inputs if isinstance(inputs, Tensor) else inputs[0]
    uniforms = uniforms.to(images.device, non_blocking=True)
    floats = images if images.is_floating_point() else images.float()
    if mixes(augment):
        if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
            raise DataError(
                f"{augment} came to data with several inputs, or not exactly one target.",
                "Samples can be mixed where there is one input and one target.",
                "Leave Mixup and CutMix out.",
            )
        mixed: tuple[Tensor, Tensor] = augment.mix(floats, targets, uniforms)
        return mixed
    images = augment(floats, uniforms)
    return (images if isinstance(inputs, Tensor) else (images, *inputs[1:])), targets


def mixes(transform: object) -> bool:
    """Whether it changes targets too."""
    return bool(getattr(transform, "mixes", hasattr(transform, "mix")))


def require_transform(transform: object) -> None:
    """Raises DataError for what does not look like an augmentation of this kind."""
    named = transform.__name__ if isinstance(transform, type) else None
    works = hasattr(transform, "draws") and (callable(transform) or hasattr(transform, "mix"))
    if named is None and works:
        return
    raise DataError(
        f"augment holds {f'the class {named}' if named else repr(transform)}.",
        "Augmentations of lamina.data.augment, or your own with `draws` and a call of (images, uniforms), were expected.",
        f"Pass {named}(...)." if named and works else "Apply other transforms to the pictures when they are read.",
    )
